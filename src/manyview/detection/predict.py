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
from manyview.detection.detect import DetectionRuntime, Output, detect
from manyview.detection.metrics import to_coco_results, write_results
from manyview.detection.models import Detector
from manyview.detection.models.roi_heads import SCORE_THRESHOLD
from manyview.detection.pictures import Drawing, Pictures, draw_names, spread
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

_DIGITS_OF_BOXES, _DIGITS_OF_SCORES = 2, 5


@verb(PredictOptions)
def predict(run: StrPath, *, progress: Progress = no_progress, **options: Unpack[PredictOptions]) -> dict[str, Any]:
    """Detect objects in all images of a folder, and write them in COCO's result format.

    For ``out`` "found.json" these are written: the results; "found-images.json" with what the numbers in them mean, as
    COCO's instances files have it (``images``, ``categories``, no ``annotations``), so that
    ``COCO("found-images.json").loadRes("found.json")`` of pycocotools works; and if asked the pictures in
    "found-pictures" with their sheet "found.png". Of each image the results are at most ``detections``, none below
    ``score_threshold``; boxes are rounded to hundredths of a pixel, scores to five digits.

    Args:
        run: the folder of a fine-tuning run, or its detector.safetensors.
        progress: called as work goes on.
        **options: as ``PredictOptions`` declares them.

    Returns:
        "results" (the file), "images" (the file), "picture" (the file of the sheet or None), "pictures" (the folder or
        None), "photographs" (number of images read), "objects" (number of detections), "below" and "beyond" (numbers
        of those that were left out for their score or as too many of their image), "kept" and "drawn" (sentences on
        both, the latter perhaps None), "skipped" (a sentence for each image that cannot be read), and "left_out" (on
        other files of the folder).

    Raises:
        UserError: no detector, no images or none that can be read, a setting out of range, or ``out`` is there
            already or cannot be written.
    """
    file, images, drawing = Path(options["out"]), options["images"], Drawing(options["draw"], options["draw_threshold"])
    described, sheet = file.with_name(f"{file.stem}-images.json"), file.with_suffix(".png")
    folder = file.with_name(f"{file.stem}-pictures")
    drawing.check()
    found = _Predictions(options["score_threshold"], options["detections"])
    _check_output(file, [file, described, *([sheet, folder] if drawing.count else [])])
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("predictions are made by one process: start the command without torchrun")
    device, precision = resolve_device(options["device"]), resolve_precision(options["precision"])
    runtime = DetectionRuntime(device, precision, options["workers"])
    detector, description = load_detector(Path(run), test_short_side=options["test_short_side"])
    detector = found.widen(detector.to(runtime.device))
    files = find_images(images)
    _search(detector, files, description.category_ids, runtime, progress, found)
    if not found.seen:
        raise UserError(f"none of the {len(files)} images in {images} can be read, such as {found.skipped[0]}")
    categories = zip(description.category_ids, description.classes, strict=True)
    _write(found, [{"id": number, "name": name} for number, name in categories], file, described)
    drawn = None
    if drawing.count:
        names = [found.seen[index]["file_name"] for index in spread(len(found.seen), drawing.count)]
        pictures = Pictures(folder, detector, description.classes, files.root, runtime, drawing.threshold)
        drawn = draw_names(pictures, names, sheet, progress)
    return {
        "results": str(file),
        "images": str(described),
        "picture": str(sheet) if drawn else None,
        "pictures": str(folder) if drawn else None,
        "photographs": len(found.seen),
        "objects": len(found.results),
        "below": found.below,
        "beyond": found.beyond,
        "kept": str(found),
        "drawn": drawn,
        "skipped": found.skipped,
        "left_out": files.left_out,
    }


@dataclass
class _Predictions:
    """Detections, the images they were searched in, and images that cannot be read.

    Attributes:
        threshold: lowest score of a detection that is kept.
        most: detections of an image that are kept, at most.
        below: number of those left out for their score, of the detector's own, which begin at .05.
        beyond: number of those left out as too many in their image.
    """

    threshold: float | int
    most: int
    below: int = 0
    beyond: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UserError(f"score_threshold must be from 0 to 1, not {self.threshold:g}")
        if self.most < 1:
            raise UserError(f"detections must be at least 1, not {self.most}")

    def widen(self, detector: Detector) -> Detector:
        """Let a detector give as many detections and as low scores as are kept."""
        heads = detector.roi_heads
        heads.score_thresh = min(heads.score_thresh, self.threshold)
        heads.detections_per_img = max(heads.detections_per_img, self.most)
        return detector

    def chosen(self, output: Output) -> Output:
        """The detections of an image that are kept; the others are counted."""
        enough = int((output["scores"] >= self.threshold).sum())  # they are in descending order of score
        kept = min(enough, self.most)
        self.below += len(output["scores"]) - enough
        self.beyond += enough - kept
        return {key: values[:kept] for key, values in output.items()}

    def __str__(self) -> str:
        """What is kept, and what is not."""
        least = f"those that score {self.threshold:g} or more, at most {self.most:,} an image"
        text = f"{len(self.results):,} detections in {len(self.seen):,} images: {least}."
        parts = []
        if self.below:
            parts.append(f"{self.below:,} that score less (from {SCORE_THRESHOLD:g} on; --score-threshold)")
        if self.beyond:
            parts.append(f"{self.beyond:,} as too many in their image (--detections)")
        return f"{text} Left out: {' and '.join(parts)}." if parts else text


def _search(
    detector: Detector,
    files: ImageFiles,
    category_ids: Sequence[Identifier],
    runtime: DetectionRuntime,
    progress: Progress,
    found: _Predictions,
) -> None:
    """Detect objects in all images, which are numbered from 1 in the order of their names."""
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
            [output] = detect(detector, [pixels], runtime)
            results = to_coco_results([found.chosen(output)], [number], category_ids, [(width, height)])
            found.results += map(_rounded, results)
            found.seen.append({"id": number, "file_name": name, "width": width, "height": height})
    progress(len(files), len(files), "detecting")


def _write(found: _Predictions, categories: list[dict[str, Any]], file: Path, described: Path) -> None:
    """Write the results and what their numbers mean; neither, where there is no room for one."""
    about = {"images": found.seen, "categories": categories, "annotations": [], "skipped": found.skipped}
    atomic_write(described, json.dumps(about, indent=1) + "\n")
    try:
        write_results(file, found.results)
    except BaseException:
        described.unlink(missing_ok=True)
        raise


def _rounded(result: dict[str, Any]) -> dict[str, Any]:
    """A result with no more digits than mean anything, which halves its file."""
    box = [round(value, _DIGITS_OF_BOXES) for value in result["bbox"]]
    return {**result, "bbox": box, "score": round(result["score"], _DIGITS_OF_SCORES)}


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
