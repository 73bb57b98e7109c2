"""Detections in COCO's result format (https://cocodataset.org/#format-results)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manyview.detection.metrics.paste_masks import encode_box_masks
from manyview.errors import UserError
from manyview.labels import DetectionLabels
from manyview.labels.identifiers import Identifier, Identifiers, as_identifier
from manyview.labels.instances import read_json
from manyview.labels.masks import to_rle
from manyview.labels.problems import Malformed
from manyview.runs import atomic_write

_LAYOUT = (
    "COCO's results are a list of entries with image_id, category_id, score and bbox (left, top, width, height) or "
    "segmentation (run lengths) or both"
)


def to_coco_results(
    outputs: Sequence[Mapping[str, Tensor]],
    image_ids: Sequence[Identifier],
    category_ids: Sequence[Identifier],
    sizes: Sequence[tuple[int, int]],
    *,
    mask_threshold: float = 0.5,
) -> list[dict[str, Any]]:
    """Convert a detector's outputs to entries of COCO's result format.

    Args:
        outputs: of each image, as ``Detector`` returns them: "boxes" (n, 4: left, top, right, bottom in the
            image's pixels), "labels" (n, from 1), "scores" (n), and perhaps "box_masks" (n, side, side).
        image_ids: of the images.
        category_ids: of the classes; the label i + 1 stands for the i-th.
        sizes: width and height of the images in pixels.
        mask_threshold: pixels with at least this probability belong to the object.

    Returns:
        Entries with "image_id", "category_id", "bbox" (left, top, width, height), "score", and "segmentation"
        (compressed run lengths) where there are masks; ready for JSON.

    Raises:
        UserError: there are masks, and pycocotools is not installed.
    """
    results: list[dict[str, Any]] = []
    for output, image, size in zip(outputs, image_ids, sizes, strict=True):
        boxes = output["boxes"].double()
        extents = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1).tolist()
        # One transfer of each tensor to the CPU instead of one for each entry.
        labels, scores = output["labels"].tolist(), output["scores"].double().tolist()
        entries = [
            {"image_id": image, "category_id": category_ids[label - 1], "bbox": box, "score": score}
            for box, label, score in zip(extents, labels, scores, strict=True)
        ]
        if "box_masks" in output:
            masks = encode_box_masks(output["box_masks"], output["boxes"], *size, mask_threshold)
            for entry, mask in zip(entries, masks, strict=True):
                entry["segmentation"] = {**mask, "counts": mask["counts"].decode()}
        results += entries
    return results


def write_results(file: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Write a result file atomically, one entry a line.

    Raises:
        UserError: the disk is full or the folder not writable.
    """
    lines = ",\n".join(json.dumps(result, allow_nan=False) for result in results)
    atomic_write(file, f"[\n{lines}\n]\n" if results else "[]\n")


def read_results(file: Path, labels: DetectionLabels) -> list[dict[str, Any]]:
    """Read a COCO result file of any origin, for the images and classes of some labels.

    Args:
        file: the ``.json``.
        labels: the ground truth to compare with.

    Returns:
        Its entries, masks as compressed run lengths, with the labels' ids. Entries of other categories are left out, as
        pycocotools does.

    Raises:
        UserError: the file is missing, or no result file, or for other images.
    """
    entries = read_json(file, "results")
    if not isinstance(entries, list):
        raise UserError(f"{file} is no list: {_LAYOUT}")
    sizes = dict(zip(labels.image_ids, labels.sizes, strict=True))
    images, categories = Identifiers(sizes), Identifiers(labels.category_ids)
    results = []
    for position, entry in enumerate(entries, start=1):
        try:
            result = _checked(entry, sizes, images)
            category = categories.find(entry["category_id"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            fault = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"entry {position} of {file} {fault}: {_LAYOUT}") from error
        if category is not None:
            results.append({**result, "category_id": category})
    return results


def _checked(entry: Any, sizes: Mapping[Identifier, tuple[int, int]], images: Identifiers) -> dict[str, Any]:
    """A result with its values checked, but its category as written."""
    if not isinstance(entry, dict):
        raise Malformed("is no object with names and values")
    image, score = images.find(entry["image_id"]), float(entry["score"])
    if image is None:
        raise Malformed(f"is for the image id {entry['image_id']}, which the labels do not have")
    if not math.isfinite(score):
        raise Malformed("has a score that is no number")
    result: dict[str, Any] = {"image_id": image, "category_id": as_identifier(entry["category_id"]), "score": score}
    if "bbox" not in entry and "segmentation" not in entry:
        raise KeyError("bbox")
    if "bbox" in entry:
        box = [float(value) for value in entry["bbox"]]
        if len(box) != 4 or not all(map(math.isfinite, box)) or min(box[2:]) < 0:
            raise Malformed("has a bbox that is none")
        result["bbox"] = box
    if "segmentation" in entry:
        result["segmentation"] = to_rle(entry["segmentation"], *sizes[image])
    return result
