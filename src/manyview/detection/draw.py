"""Pictures of what a detector finds, beside what the labels say."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from manyview.detection.checkpoint import load_detector
from manyview.detection.dataset import DetectionData
from manyview.detection.detect import DetectionRuntime, detect
from manyview.detection.metrics.paste_masks import encode_box_masks
from manyview.detection.models import Detector
from manyview.images import open_photograph
from manyview.labels import Objects, Rle, decode_masks
from manyview.runs import atomic_write

PREDICTIONS_FILE = "predictions.png"

_LONGER = 640  # pixels of the longer side of an image as it is shown
_TEXT, _TITLE = 14, 16  # pixels
_LINE, _GAP, _PAD = 3, 12, 2
_INK, _PAPER = "#222222", "white"
_COVER = 0.45  # of a mask over its object
_DARK = 120  # luma below which words are white
_GOLDEN = 0.61803  # of a turn between the hues of one class and the next, which keeps neighbours apart
_LABELED, _FOUND = "Labels", "Detections"

Pixels = UInt8[np.ndarray, "height width 3"]
Corners = tuple[float | int, float | int, float | int, float | int]


class _Shown(NamedTuple):
    """One box with its words, and perhaps its mask, which is decoded only while it is drawn."""

    box: Corners
    words: str
    colour: tuple[int, int, int]
    dashed: bool
    mask: Rle | None


def draw_validation(folder: Path, data: DetectionData, runtime: DetectionRuntime, count: int) -> None:
    """Draw what the detector saved in a folder finds in validation images, spread over them, beside the labels.

    Raises:
        UserError: an image cannot be read, or the picture not be written.
    """
    detector, labels = load_detector(folder)[0].to(runtime.device), data.val
    chosen = spread(len(labels), count)
    rows = [
        draw_image(detector, data.val_images, labels.names[place], labels.classes, runtime, labels.objects[place])
        for place in chosen
    ]
    save_sheet(folder / PREDICTIONS_FILE, rows)


def draw_image(
    detector: Detector,
    images: Path,
    name: str,
    classes: Sequence[str],
    runtime: DetectionRuntime,
    objects: Objects | None = None,
) -> Image.Image:
    """One image with what a detector finds in it, beside its labels if there are any.

    Raises:
        UnreadableImage: there is no such image.
    """
    pixels = open_photograph(images / name).decode()
    [output] = detect(detector, [torch.from_numpy(pixels.transpose(2, 0, 1).copy())], runtime)
    return draw_predictions(pixels, output, classes, objects, name=name)


def spread(count: int, wanted: int) -> list[int]:
    """So many of the indices up to ``count``, at even distances, or all."""
    wanted = min(count, wanted)
    return [place * count // wanted for place in range(wanted)]


def save_sheet(file: Path, rows: Sequence[Image.Image]) -> None:
    """Write pictures as one PNG, atomically.

    Raises:
        UserError: the disk is full or the place not writable.
    """
    data = io.BytesIO()
    draw_sheet(rows).save(data, format="PNG")
    atomic_write(file, data.getvalue())


def draw_predictions(
    photograph: Pixels,
    outputs: Mapping[str, Tensor],
    classes: Sequence[str],
    ground_truth: Objects | None = None,
    threshold: float | int = 0.5,
    name: str = "",
) -> Image.Image:
    """Draw what a detector found in an image, beside what the labels say if they are given.

    Args:
        photograph: RGB pixels.
        outputs: as ``Detector`` gives them, in the image's pixels: "boxes" (n, 4), "labels" (n, from 1), "scores"
            (n), and perhaps "box_masks" (n, side, side: probabilities).
        classes: names of the classes; the label i + 1 stands for the i-th.
        ground_truth: the objects of the labels. Crowds and difficult objects are dashed.
        threshold: results that score less are not drawn.
        name: of the image, for the line above it.

    Returns:
        The image enlarged or reduced to a longer side of 640 pixels, under a title; or two of them side by side,
        the labels and then the detections.
    """
    panels = []
    if ground_truth is not None:
        panels.append(_panel(photograph, _of_labels(ground_truth, classes), _title(name, _LABELED)))
        name = ""
    found = _of_outputs(outputs, photograph, classes, threshold)
    panels.append(_panel(photograph, found, _title(name, f"{_FOUND} that score {threshold:g} or more")))
    return _side_by_side(panels)


def draw_sheet(rows: Sequence[Image.Image], columns: int = 1) -> Image.Image:
    """One picture of several, in columns that are filled row by row.

    Args:
        rows: pictures by ``draw_predictions``; there are some.
        columns: how many stand side by side.
    """
    lines = [_side_by_side(rows[start : start + columns], 2 * _GAP) for start in range(0, len(rows), columns)]
    width = max(line.width for line in lines) + 2 * _GAP
    sheet = Image.new("RGB", (width, sum(line.height + _GAP for line in lines) + _GAP), _PAPER)
    top = _GAP
    for line in lines:
        sheet.paste(line, (_GAP, top))
        top += line.height + _GAP
    return sheet


def _of_labels(objects: Objects, classes: Sequence[str]) -> list[_Shown]:
    shown = []
    for place, label in enumerate(objects.labels.tolist()):
        marks = [word for word, flags in (("crowd", objects.crowd), ("difficult", objects.difficult)) if flags[place]]
        words = f"{classes[label - 1]} ({', '.join(marks)})" if marks else classes[label - 1]
        box: Corners = tuple(objects.boxes[place].tolist())
        mask = None if objects.segmentations is None else objects.segmentations[place]
        shown.append(_Shown(box, words, class_color(label), bool(marks), mask))
    return sorted(shown, key=_area, reverse=True)  # small ones on top


def _of_outputs(
    outputs: Mapping[str, Tensor], photograph: Pixels, classes: Sequence[str], threshold: float | int
) -> list[_Shown]:
    """Worst first, so that the best are on top."""
    order = outputs["scores"].argsort(stable=True)
    order = order[outputs["scores"][order] >= threshold]
    chosen = {key: values[order] for key, values in outputs.items()}
    boxes, labels, scores = (chosen[key].tolist() for key in ("boxes", "labels", "scores"))
    masks: Sequence[Rle | None] = [None] * len(boxes)
    if "box_masks" in chosen:
        height, width = photograph.shape[:2]
        masks = encode_box_masks(chosen["box_masks"], chosen["boxes"], width, height)
    return [
        _Shown(tuple(box), f"{classes[label - 1]} {score:.2f}", class_color(label), False, mask)
        for box, label, score, mask in zip(boxes, labels, scores, masks, strict=True)
    ]


def class_color(label: int) -> tuple[int, int, int]:
    """A color for each class, the same in every picture, none close to the next.

    Args:
        label: from 1.

    Returns:
        Red, green and blue, 0 to 255.
    """
    hue = (0.08 + (label - 1) * _GOLDEN) % 1
    light = (0.62, 0.74, 0.52)[(label - 1) // 7 % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, light, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def _area(shown: _Shown) -> float:
    left, top, right, bottom = shown.box
    return (right - left) * (bottom - top)


def _title(name: str, words: str) -> str:
    """Words above an image; a name whose bytes are no text is written with their numbers."""
    return f"{words}: {name.encode('utf-8', 'backslashreplace').decode()}" if name else words


def _panel(photograph: Pixels, shown: Sequence[_Shown], title: str) -> Image.Image:
    """An image with boxes, under its title."""
    height, width = photograph.shape[:2]
    covered = photograph.astype(np.float32)
    for thing in shown:
        if thing.mask is not None:
            inside = decode_masks([thing.mask], width, height)[0].astype(bool)
            covered[inside] += _COVER * (np.array(thing.colour, dtype=np.float32) - covered[inside])
    scale = _LONGER / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray((covered + 0.5).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    scaled = [_scaled(thing.box, scale, size) for thing in shown]
    for thing, box in zip(shown, scaled, strict=True):
        _outline(draw, box, thing.colour, thing.dashed)
    taken: list[Corners] = []
    for thing, box in zip(reversed(shown), reversed(scaled), strict=True):  # the best choose their place first
        _write(draw, thing, box, size, taken)
    return _under_title(picture, title)


def _scaled(box: Corners, scale: float, size: tuple[int, int]) -> Corners:
    """A box in the pixels of the picture, on which it can be drawn: not beyond it, and of at least one pixel."""
    left, top, right, bottom = (value * scale for value in box)
    left, top = (min(max(value, 0), side - 1) for value, side in zip((left, top), size, strict=True))
    right, bottom = (min(max(value, 0), side) - 1 for value, side in zip((right, bottom), size, strict=True))
    return left, top, max(right, left), max(bottom, top)


def _outline(draw: ImageDraw.ImageDraw, box: Corners, colour: tuple[int, int, int], dashed: bool) -> None:
    """The outline of a box with a dark rim, which keeps it visible on any ground."""
    draw.rectangle(box, outline=(0, 0, 0), width=_LINE + 2)
    left, top, right, bottom = box
    inner = (left + 1, top + 1, right - 1, bottom - 1)
    if right - left < 4 or bottom - top < 4:
        inner = box
    if not dashed:
        draw.rectangle(inner, outline=colour, width=_LINE)
        return
    left, top, right, bottom = (round(value) for value in inner)
    for start in range(left, right, 12):
        for row in (top, max(top, bottom - _LINE + 1)):
            draw.rectangle((start, row, min(start + 6, right), min(row + _LINE - 1, bottom)), fill=colour)
    for start in range(top, bottom, 12):
        for column in (left, max(left, right - _LINE + 1)):
            draw.rectangle((column, start, min(column + _LINE - 1, right), min(start + 6, bottom)), fill=colour)


def _write(draw: ImageDraw.ImageDraw, thing: _Shown, box: Corners, size: tuple[int, int], taken: list[Corners]) -> None:
    """The words of a box at one of its corners, where they cover no other words if there is such a place."""
    font = _font(_TEXT)
    across = draw.textlength(thing.words, font=font) + 2 * _PAD
    down = sum(font.getmetrics()) + 2 * _PAD
    left, top, right, bottom = box
    places = [(x, y) for x in (left, right - across) for y in (top - down, top, bottom - down, bottom)]
    inside = [(min(max(x, 0), max(0, size[0] - across)), min(max(y, 0), max(0, size[1] - down))) for x, y in places]
    free = (
        place for place in inside if not any(_overlap((*place, place[0] + across, place[1] + down), t) for t in taken)
    )
    x, y = next(free, inside[0])
    patch = (x, y, x + across, y + down)
    taken.append(patch)
    draw.rectangle(patch, fill=thing.colour, outline=(0, 0, 0))
    draw.text((x + _PAD, y + _PAD), thing.words, fill=_ink(thing.colour), font=font)


def _ink(ground: tuple[int, int, int]) -> str:
    """The color of words on a ground: dark unless that is dark itself (by the luma of ITU-R BT.601)."""
    red, green, blue = ground
    return _INK if 0.299 * red + 0.587 * green + 0.114 * blue > _DARK else _PAPER


def _overlap(one: Corners, other: Corners) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _under_title(picture: Image.Image, title: str) -> Image.Image:
    font = _font(_TITLE)
    height = sum(font.getmetrics()) + 2 * _PAD
    panel = Image.new("RGB", (picture.width, picture.height + height), _PAPER)
    draw = ImageDraw.Draw(panel)
    while draw.textlength(title, font=font) > picture.width and len(title) > 1:
        title = title[:-2] + "…"
    draw.text((0, _PAD), title, fill=_INK, font=font)
    panel.paste(picture, (0, height))
    return panel


def _side_by_side(pictures: Sequence[Image.Image], gap: int = _GAP) -> Image.Image:
    width = sum(picture.width + gap for picture in pictures) - gap
    row = Image.new("RGB", (width, max(picture.height for picture in pictures)), _PAPER)
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that matplotlib brings, which has more scripts than Pillow's own."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)
