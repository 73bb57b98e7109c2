"""Pictures of detections beside the labels."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from manyview.detection.metrics.paste_masks import encode_box_masks
from manyview.labels import Objects, Rle, decode_masks
from manyview.text import printable

GAP, PAPER = 12, "white"
"""Pixels between pictures, and the color behind them."""

_TEXT, _TITLE = 14, 16  # pixels
_LINE, _PAD = 3, 2
_INK = "#222222"
_COVER = 0.45  # opacity of a mask
_DARK = 120  # luma of a background below which text is white
_GOLDEN = 0.61803  # of a turn between the hues of consecutive classes, which keeps them apart
_LABELED, _FOUND = "Labels", "Detections"

Pixels = UInt8[np.ndarray, "height width 3"]
Corners = tuple[float | int, float | int, float | int, float | int]


class _DrawnBox(NamedTuple):
    """A box with its caption, and perhaps its mask, which is decoded only while it is drawn."""

    box: Corners
    caption: str
    color: tuple[int, int, int]
    dashed: bool
    mask: Rle | None


class CaptionedPicture(NamedTuple):
    """A drawn image, how many detections it shows, and the best score of all, drawn or not; None without any."""

    picture: Image.Image
    shown: int
    best: float | None


def draw_predictions(
    image: Pixels,
    outputs: Mapping[str, Tensor],
    classes: Sequence[str],
    ground_truth: Objects | None = None,
    threshold: float | int = 0.5,
    name: str = "",
    side: int = 640,
) -> CaptionedPicture:
    """Draw detections in an image, beside its labels if they are given.

    Args:
        image: RGB pixels.
        outputs: as ``Detector`` gives them, in the image's pixels: "boxes" (n, 4), "labels" (n, from 1), "scores"
            (n), and perhaps "box_masks" (n, side, side: probabilities).
        classes: names of the classes; the label i + 1 stands for the i-th.
        ground_truth: the objects of the labels. Crowds and difficult objects are dashed.
        threshold: detections of a lower score are not drawn; if none is left, the title says what the best scores.
        name: of the image, for the line above it.
        side: longer side in pixels to which the image is resized.

    Returns:
        The image under a title, or two of them side by side, the labels and then the detections; and what is shown.
    """
    panels = []
    if ground_truth is not None:
        panels.append(_panel(image, _of_labels(ground_truth, classes), _title(name, _LABELED), side))
        name = ""
    found = _of_outputs(outputs, image, classes, threshold)
    best = max(outputs["scores"].tolist(), default=None)
    if found:
        words = f"{_FOUND} ≥ {threshold:g}"
    else:
        words = f"None above {threshold:g}" + ("" if best is None else f", best {best:.2f}")
    panels.append(_panel(image, found, _title(name, words), side))
    return CaptionedPicture(_side_by_side(panels), len(found), best)


def _of_labels(objects: Objects, classes: Sequence[str]) -> list[_DrawnBox]:
    shown = []
    for index, label in enumerate(objects.labels.tolist()):
        marks = [word for word, flags in (("crowd", objects.crowd), ("difficult", objects.difficult)) if flags[index]]
        words = f"{_name(classes, label)} ({', '.join(marks)})" if marks else _name(classes, label)
        box: Corners = tuple(objects.boxes[index].tolist())
        mask = None if objects.segmentations is None else objects.segmentations[index]
        shown.append(_DrawnBox(box, words, class_color(label), bool(marks), mask))
    return sorted(shown, key=_area, reverse=True)  # small ones on top


def _of_outputs(
    outputs: Mapping[str, Tensor], image: Pixels, classes: Sequence[str], threshold: float | int
) -> list[_DrawnBox]:
    """Detections in ascending order of their scores, so that the best are drawn on top."""
    order = outputs["scores"].argsort(stable=True)
    order = order[outputs["scores"][order] >= threshold]
    chosen = {key: values[order] for key, values in outputs.items()}
    boxes, labels, scores = (chosen[key].tolist() for key in ("boxes", "labels", "scores"))
    masks: Sequence[Rle | None] = [None] * len(boxes)
    if "box_masks" in chosen:
        height, width = image.shape[:2]
        masks = encode_box_masks(chosen["box_masks"], chosen["boxes"], width, height)
    return [
        _DrawnBox(tuple(box), f"{_name(classes, label)} {score:.2f}", class_color(label), False, mask)
        for box, label, score, mask in zip(boxes, labels, scores, masks, strict=True)
    ]


def _name(classes: Sequence[str], label: int) -> str:
    """A class in a caption, which is one line: Pillow cannot measure others."""
    return printable(classes[label - 1], kept="")


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


def _area(shown: _DrawnBox) -> float:
    left, top, right, bottom = shown.box
    return (right - left) * (bottom - top)


def _title(name: str, words: str) -> str:
    """The line above an image; characters of a name that cannot be printed are written as escape sequences."""
    return f"{words}: {printable(name, kept='')}" if name else words


def _panel(image: Pixels, shown: Sequence[_DrawnBox], title: str, longer: int) -> Image.Image:
    """An image with boxes, under its title."""
    height, width = image.shape[:2]
    covered = image.astype(np.float32)
    for shown_box in shown:
        if shown_box.mask is not None:
            inside = decode_masks([shown_box.mask], width, height)[0].astype(bool)
            covered[inside] += _COVER * (np.array(shown_box.color, dtype=np.float32) - covered[inside])
    scale = longer / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray((covered + 0.5).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    scaled = [_scaled(shown_box.box, scale, size) for shown_box in shown]
    for shown_box, box in zip(shown, scaled, strict=True):
        _outline(draw, box, shown_box.color, shown_box.dashed)
    taken: list[Corners] = []
    # The best scores choose their corner first.
    for shown_box, box in zip(reversed(shown), reversed(scaled), strict=True):
        _write(draw, shown_box, box, size, taken)
    return _under_title(picture, title)


def _scaled(box: Corners, scale: float, size: tuple[int, int]) -> Corners:
    """A box in pixels of the picture, clipped to it and at least one pixel large."""
    left, top, right, bottom = (value * scale for value in box)
    left, top = (min(max(value, 0), side - 1) for value, side in zip((left, top), size, strict=True))
    right, bottom = (min(max(value, 0), side) - 1 for value, side in zip((right, bottom), size, strict=True))
    return left, top, max(right, left), max(bottom, top)


def _outline(draw: ImageDraw.ImageDraw, box: Corners, color: tuple[int, int, int], dashed: bool) -> None:
    """Draw the outline of a box with a dark rim, which keeps it visible on any background."""
    draw.rectangle(box, outline=(0, 0, 0), width=_LINE + 2)
    left, top, right, bottom = box
    inner = (left + 1, top + 1, right - 1, bottom - 1)
    if right - left < 4 or bottom - top < 4:
        inner = box
    if not dashed:
        draw.rectangle(inner, outline=color, width=_LINE)
        return
    left, top, right, bottom = (round(value) for value in inner)
    for start in range(left, right, 12):
        for row in (top, max(top, bottom - _LINE + 1)):
            draw.rectangle((start, row, min(start + 6, right), min(row + _LINE - 1, bottom)), fill=color)
    for start in range(top, bottom, 12):
        for column in (left, max(left, right - _LINE + 1)):
            draw.rectangle((column, start, min(column + _LINE - 1, right), min(start + 6, bottom)), fill=color)


def _write(
    draw: ImageDraw.ImageDraw, shown_box: _DrawnBox, box: Corners, size: tuple[int, int], taken: list[Corners]
) -> None:
    """Draw the caption of a box at one of its corners, without overlap with other captions if possible."""
    font = _font(_TEXT)
    across = draw.textlength(shown_box.caption, font=font) + 2 * _PAD
    down = sum(font.getmetrics()) + 2 * _PAD
    left, top, right, bottom = box
    corners = [(x, y) for x in (left, right - across) for y in (top - down, top, bottom - down, bottom)]
    inside = [(min(max(x, 0), max(0, size[0] - across)), min(max(y, 0), max(0, size[1] - down))) for x, y in corners]
    free = (
        corner
        for corner in inside
        if not any(_overlap((*corner, corner[0] + across, corner[1] + down), t) for t in taken)
    )
    x, y = next(free, inside[0])
    patch = (x, y, x + across, y + down)
    taken.append(patch)
    draw.rectangle(patch, fill=shown_box.color, outline=(0, 0, 0))
    draw.text((x + _PAD, y + _PAD), shown_box.caption, fill=_ink(shown_box.color), font=font)


def _ink(ground: tuple[int, int, int]) -> str:
    """The color of text on a background: white on a dark one, else dark (by the luma of ITU-R BT.601)."""
    red, green, blue = ground
    return _INK if 0.299 * red + 0.587 * green + 0.114 * blue > _DARK else PAPER


def _overlap(one: Corners, other: Corners) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _under_title(picture: Image.Image, title: str) -> Image.Image:
    font = _font(_TITLE)
    height = sum(font.getmetrics()) + 2 * _PAD
    panel = Image.new("RGB", (picture.width, picture.height + height), PAPER)
    draw = ImageDraw.Draw(panel)
    while draw.textlength(title, font=font) > picture.width and len(title) > 1:
        title = title[:-2] + "…"
    draw.text((0, _PAD), title, fill=_INK, font=font)
    panel.paste(picture, (0, height))
    return panel


def _side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    width = sum(picture.width + GAP for picture in pictures) - GAP
    row = Image.new("RGB", (width, max(picture.height for picture in pictures)), PAPER)
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + GAP
    return row


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font shipped with matplotlib, which covers more scripts than Pillow's own."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)
