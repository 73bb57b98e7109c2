"""Detection of objects in new images with a fine-tuned detector."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from manyview.detection.checkpoint import load_detector
from manyview.detection.detect import DetectionRuntime, detect
from manyview.detection.draw import draw_image, save_sheet, spread
from manyview.detection.metrics import to_coco_results, write_results
from manyview.detection.models import Detector
from manyview.errors import UserError
from manyview.images import ImageFiles, Unreadable, UnreadableImage, find_images, open_image
from manyview.images.loading import load_in_workers
from manyview.labels.identifiers import Identifier
from manyview.options.base import StrPath, verb
from manyview.options.detection import PredictOptions
from manyview.runs import atomic_write
from manyview.runs.files import make_folder
from manyview.runs.progress import Progress, no_progress
from manyview.runtime import resolve_device, resolve_precision


@verb(PredictOptions)
def predict(run: StrPath, *, progress: Progress = no_progress, **options: Unpack[PredictOptions]) -> dict[str, Any]:
    """Detect objects in all images of a folder, and write them in COCO's result format.

    Three files may be written, here for ``out`` "found.json": the results; "found-images.json" with what the numbers in
    them mean, as COCO's instances files have it (``images``, ``categories``, no ``annotations``), so that
    ``COCO("found-images.json").loadRes("found.json")`` of pycocotools works; and the picture "found.png".

    Args:
        run: the folder of a fine-tuning run, or its detector.safetensors.
        progress: called as work goes on.
        **options: as ``PredictOptions`` declares them.

    Returns:
        "results" (the file), "images" (the file), "picture" (the file or None), "photographs" (number of images read),
        "objects" (number of detections), and "skipped" (a sentence for each image that cannot be read).

    Raises:
        UserError: no detector, no images or none that can be read, a setting out of range, or ``out`` is there
            already or cannot be written.
    """
    file, images, draw = Path(options["out"]), options["images"], options["draw"]
    described, picture = file.with_name(f"{file.stem}-images.json"), file.with_suffix(".png")
    _check_output(file, [file, described, *([picture] if draw else [])])
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("predictions are made by one process: start the command without torchrun")
    if draw < 0:
        raise UserError(f"draw must be at least 0, not {draw}")
    device, precision = resolve_device(options["device"]), resolve_precision(options["precision"])
    runtime = DetectionRuntime(device, precision, options["workers"])
    detector, description = load_detector(Path(run), test_short_side=options["test_short_side"])
    detector = detector.to(runtime.device)
    files = find_images(images)
    found = _search(detector, files, description.category_ids, runtime, progress)
    if not found.seen:
        raise UserError(f"none of the {len(files)} images in {images} can be read, such as {found.skipped[0]}")
    categories = zip(description.category_ids, description.classes, strict=True)
    about = {"images": found.seen, "categories": [{"id": number, "name": name} for number, name in categories]}
    atomic_write(described, json.dumps({**about, "annotations": [], "skipped": found.skipped}, indent=1) + "\n")
    write_results(file, found.results)
    if draw:
        names = [found.seen[index]["file_name"] for index in spread(len(found.seen), draw)]
        classes = description.classes
        save_sheet(picture, [draw_image(detector, files.root, name, classes, runtime) for name in names])
    return {
        "results": str(file),
        "images": str(described),
        "picture": str(picture) if draw else None,
        "photographs": len(found.seen),
        "objects": len(found.results),
        "skipped": found.skipped,
        "left_out": files.left_out,
    }


@dataclass
class _Predictions:
    """Detections, the images they were searched in, and images that cannot be read."""

    results: list[dict[str, Any]] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def _search(
    detector: Detector,
    files: ImageFiles,
    category_ids: Sequence[Identifier],
    runtime: DetectionRuntime,
    progress: Progress,
) -> _Predictions:
    """Detect objects in all images, which are numbered from 1 in the order of their names."""
    found = _Predictions()
    pin = runtime.device.type == "cuda"
    each = ((index,) for index in range(len(files)))
    loaded = load_in_workers(
        _DecodedImages(files, detector.bit_depth),
        each,
        workers=runtime.workers,
        pin=pin,
        collate=itemgetter(0),
        name=lambda index: str(files.path(index)),
    )
    with closing(loaded) as decoded:
        for number, (name, pixels) in enumerate(zip(files, decoded, strict=True), start=1):
            progress(number - 1, len(files), "detecting")
            if isinstance(pixels, Unreadable):
                found.skipped.append(f"{name}: {pixels.reason}")
                continue
            height, width = pixels.shape[1:]
            outputs = detect(detector, [pixels], runtime)
            found.results += to_coco_results(outputs, [number], category_ids, [(width, height)])
            found.seen.append({"id": number, "file_name": name, "width": width, "height": height})
    progress(len(files), len(files), "detecting")
    return found


def _check_output(file: Path, written: list[Path]) -> None:
    """Refuse output files that could not be written, before any work."""
    if file.suffix.lower() != ".json":
        raise UserError(f"--out must name a .json file for the results, not {file}")
    for each in written:
        if os.path.lexists(each):
            raise UserError(f"{each} is already there: choose another name")
    make_folder(file.parent)


class _DecodedImages(Dataset[Tensor | Unreadable]):
    """Dataset of decoded images, or why one cannot be read."""

    def __init__(self, files: ImageFiles, bit_depth: int | None) -> None:
        self.files, self.bit_depth = files, bit_depth

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor | Unreadable:
        path = self.files.path(index)
        try:
            pixels = open_image(path, bit_depth=self.bit_depth).decode()
        except UnreadableImage as error:
            return Unreadable(index, path, error.reason)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
