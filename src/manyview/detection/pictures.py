"""Pictures of what a fine-tuned detector finds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from manyview.detection.checkpoint import load_detector
from manyview.detection.detect import Computing, detect
from manyview.detection.detection_data import DetectionData
from manyview.detection.models import Detector
from manyview.images import open_photograph
from manyview.labels import Objects
from manyview.runs import atomic_write

if TYPE_CHECKING:
    from PIL import Image

PREDICTIONS_FILE = "predictions.png"


def draw_validation(folder: Path, data: DetectionData, computing: Computing, count: int) -> None:
    """Draw what the detector saved in a folder finds in validation photographs, spread over them, beside the labels.

    Raises:
        UserError: a photograph cannot be read, or the picture not be written.
    """
    detector, labels = load_detector(folder)[0].to(computing.device), data.val
    chosen = spread(len(labels), count)
    rows = [
        draw_photograph(
            detector, data.val_images, labels.names[place], labels.classes, computing, labels.objects[place]
        )
        for place in chosen
    ]
    save_sheet(folder / PREDICTIONS_FILE, rows)


def draw_photograph(
    detector: Detector,
    images: Path,
    name: str,
    classes: Sequence[str],
    computing: Computing,
    objects: Objects | None = None,
) -> Image.Image:
    """One photograph with what a detector finds in it, beside its labels if there are any.

    Raises:
        UnreadableImage: there is no such photograph.
    """
    from manyview.detection.draw import draw_predictions

    pixels = open_photograph(images / name).decode()
    [output] = detect(detector, [torch.from_numpy(pixels.transpose(2, 0, 1).copy())], computing)
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
    from manyview.detection.draw import draw_sheet

    data = io.BytesIO()
    draw_sheet(rows).save(data, format="PNG")
    atomic_write(file, data.getvalue())
