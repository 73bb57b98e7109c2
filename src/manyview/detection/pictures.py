"""Pictures of detections as files: one of each image, and a sheet of all."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from manyview.detection.dataset import DetectionData
from manyview.detection.detect import DetectionRuntime, detect
from manyview.detection.draw import GAP, PAPER, CaptionedPicture, draw_predictions
from manyview.detection.models import Detector
from manyview.errors import UserError
from manyview.images import ImageRoot, open_image
from manyview.images.name_forms import stem
from manyview.labels import Objects
from manyview.runs import atomic_write
from manyview.runs.files import make_folder

PREDICTIONS_FILE, PREDICTIONS_FOLDER = "predictions.png", "predictions"
ON_SHEET = 24
"""Pictures on a sheet, at most: with more it would be too long to look at."""

_SHEET_WIDTH = 1_680  # pixels that a screen shows at about their size
_ALONE, _IN_SHEET = 960, 400  # pixels of the longer side of an image
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_LONGEST_STEM = 60


@dataclass(frozen=True, slots=True)
class Drawing:
    """Which images are drawn, and with which detections."""

    count: int
    threshold: float | int

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            UserError: a negative number of images, or a threshold that is no score.
        """
        if self.count < 0:
            raise UserError(f"draw must be at least 0, not {self.count}")
        if not 0 <= self.threshold <= 1:
            raise UserError(f"draw_threshold must be from 0 to 1, not {self.threshold:g}")


@dataclass
class Pictures:
    """Draws images into a folder, and what becomes of them in words.

    Attributes:
        folder: for the single pictures; made with the first.
        detector: in eval mode, on the runtime's device.
        classes: names of its classes.
        images: folder of the images.
        runtime: device and precision.
        threshold: detections of a lower score are not drawn.
    """

    folder: Path
    detector: Detector
    classes: Sequence[str]
    images: ImageRoot
    runtime: DetectionRuntime
    threshold: float | int
    _small: list[Image.Image] = field(default_factory=list)
    _empty: list[float | None] = field(default_factory=list)
    _count: int = 0

    def draw(self, name: str, objects: Objects | None = None) -> None:
        """Draw an image with its detections, beside its labels if there are any.

        Raises:
            UnreadableImage: there is no such image, or it cannot be decoded.
            UserError: the disk is full or the folder not writable.
        """
        pixels = open_image(self.images / name, bit_depth=self.detector.bit_depth).decode()
        [output] = detect(self.detector, [torch.from_numpy(pixels.transpose(2, 0, 1).copy())], self.runtime)

        def drawn(side: int) -> CaptionedPicture:
            return draw_predictions(pixels, output, self.classes, objects, self.threshold, name, side)

        self._count += 1
        picture = drawn(_ALONE)
        make_folder(self.folder)
        save_picture(self.folder / picture_file(self._count, name), picture.picture)
        if self._count <= ON_SHEET:
            self._small.append(drawn(_IN_SHEET).picture)
        if not picture.shown:
            self._empty.append(picture.best)

    def save_sheet(self, file: Path) -> None:
        """Write the sheet of the first pictures.

        Raises:
            UserError: the disk is full or the folder not writable.
        """
        save_picture(file, draw_sheet(self._small))

    def __str__(self) -> str:
        """Such as "Drawn: 8 images; none above 0.5 in 3 of them, best 0.12: --draw-threshold 0.12 draws that."."""
        more = f" ({ON_SHEET} of them on the sheet)" if self._count > ON_SHEET else ""
        text = f"Drawn: {self._count:,} images{more}"
        if not self._empty:
            return f"{text}, with what scores {self.threshold:g} or more."
        best = max((score for score in self._empty if score is not None), default=None)
        them = "any of them" if len(self._empty) == self._count else f"{len(self._empty):,} of them"
        at_best = "" if best is None else f", best {best:.2f}"
        lower = "" if best is None or best < 0.01 else f": --draw-threshold {int(best * 100) / 100:g} draws that"
        return f"{text}; none above {self.threshold:g} in {them}{at_best}{lower}."


def draw_validation(
    folder: Path, detector: Detector, data: DetectionData, runtime: DetectionRuntime, drawing: Drawing
) -> str:
    """Draw the detections of a run's detector in evenly spaced validation images, beside their labels.

    Returns:
        what was drawn, as a sentence.

    Raises:
        UserError: an image cannot be read, or a picture cannot be written.
    """
    labels = data.val
    pictures = Pictures(
        folder / PREDICTIONS_FOLDER, detector, labels.classes, data.val_images, runtime, drawing.threshold
    )
    for index in spread(len(labels), drawing.count):
        pictures.draw(labels.names[index], labels.objects[index])
    pictures.save_sheet(folder / PREDICTIONS_FILE)
    return str(pictures)


def draw_names(pictures: Pictures, names: Sequence[str], sheet: Path, progress: Callable[[int, int, str], None]) -> str:
    """Draw images by name and their sheet; what was drawn, as a sentence."""
    for done, name in enumerate(names):
        progress(done, len(names), "drawing")
        pictures.draw(name)
    pictures.save_sheet(sheet)
    progress(len(names), len(names), "drawing")
    return str(pictures)


def spread(count: int, wanted: int) -> list[int]:
    """``wanted`` evenly spaced indices below ``count``, or all of them."""
    wanted = min(count, wanted)
    return [number * count // wanted for number in range(wanted)]


def draw_sheet(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures, at least one, in rows from left to right, as many in a row as fit on a screen.

    All have the width of the widest, and those of a row the height of its highest.
    """
    across = max(picture.width for picture in pictures) + GAP
    columns = max(1, min(len(pictures), (_SHEET_WIDTH - GAP) // across))
    rows = -(-len(pictures) // columns)
    columns = -(-len(pictures) // rows)  # five pictures as three and two, not as four and one
    lines = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(picture.height for picture in line) + GAP for line in lines]
    sheet = Image.new("RGB", (columns * across + GAP, sum(heights) + GAP), PAPER)
    for line, top in zip(lines, itertools.accumulate(heights, initial=GAP), strict=False):
        for column, picture in enumerate(line):
            sheet.paste(picture, (GAP + column * across, top))
    return sheet


def save_picture(file: Path, picture: Image.Image) -> None:
    """Write a picture as a PNG file, atomically.

    Raises:
        UserError: the disk is full or the folder not writable.
    """
    data = io.BytesIO()
    picture.save(data, format="PNG")
    atomic_write(file, data.getvalue())


def picture_file(number: int, name: str) -> str:
    """A file's name from an image's, with a number that tells those of several folders apart."""
    base = stem(name.rpartition("/")[2]).encode("utf-8", "replace").decode()
    return f"{number:03d}-{_NOT_IN_NAMES.sub('_', base)[:_LONGEST_STEM]}.png"
