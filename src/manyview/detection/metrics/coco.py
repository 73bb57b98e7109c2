"""Average precision as COCO measures it, by pycocotools (https://cocodataset.org/#detection-eval)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from manyview.errors import UserError
from manyview.labels import DetectionLabels
from manyview.labels.identifiers import Identifier

ResultType = Literal["bbox", "segm"]

_NAMES: dict[ResultType, str] = {"bbox": "box", "segm": "mask"}
_SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl")  # the first of what pycocotools sums up
_UNDEFINED = -1
_LARGEST = 2**63


def coco_average_precision(
    labels: DetectionLabels, results: Sequence[Mapping[str, Any]], kinds: Sequence[ResultType] = ("bbox", "segm")
) -> dict[str, dict[str, Any]]:
    """COCO's average precision: over IoU .5 to .95, at .5 and at .75, and of small, medium and large objects.

    The numbers are pycocotools' own for the label file as it stands. Boxes are compared as labeled, beyond the
    image or without area as they may be. Crowds are ignored; VOC's difficult objects are not, as COCO knows none.
    At most the 100 best results of each class in an image count. For masks, the size of a result is that of its
    mask, not of its box.

    Args:
        labels: the ground truth.
        results: entries of COCO's result format, with ``bbox`` or ``segmentation`` or both, as ``to_coco_results``
            and ``read_results`` return them; not modified.
        kinds: "bbox" for boxes, "segm" for masks.

    Returns:
        By "box" and "mask": "AP", "AP50", "AP75", "APs", "APm", "APl", fractions of 1, "AP_by_class" and
        "AP50_by_class", those of each class in the order of ``labels.classes``; nan where there is no object.

    Raises:
        UserError: pycocotools is not installed.
    """
    assert "segm" not in kinds or labels.has_masks, "masks are compared with masks: read the labels with masks=True"
    return {_NAMES[result_type]: _measure(labels, results, result_type) for result_type in kinds}


def _measure(labels: DetectionLabels, results: Sequence[Mapping[str, Any]], result_type: ResultType) -> dict[str, Any]:
    try:
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise UserError("COCO's average precision needs pycocotools: pip install 'manyview[detect]'") from error
    images, categories = _numbered(labels.image_ids), _numbered(labels.category_ids)
    labels = replace(labels, image_ids=tuple(images.values()), category_ids=tuple(categories.values()))
    results = [
        {**result, "image_id": images[result["image_id"]], "category_id": categories[result["category_id"]]}
        for result in results
        if result["category_id"] in categories
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth = _indexed(labels, _objects(labels))
        entries = _of_type(results, result_type)
        found = truth.loadRes(entries) if entries else _indexed(labels, [])  # it cannot load none
        evaluation = COCOeval(truth, found, result_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    defined = [_nan(float(value)) for value in evaluation.stats[: len(_SUMMARY)]]
    # IoU, recall, class, size of objects (all), number of results (100); classes in the order of their ids.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    columns = [evaluation.params.catIds.index(number) for number in labels.category_ids]
    by_class = {
        "AP_by_class": [_mean(precision[:, :, column]) for column in columns],
        "AP50_by_class": [_mean(precision[0, :, column]) for column in columns],  # the first IoU is .5
    }
    return {**dict(zip(_SUMMARY, defined, strict=True)), **by_class}


def _numbered(identifiers: Sequence[Identifier]) -> dict[Identifier, int]:
    """Ids as numbers, for pycocotools: as they are where all are numbers of 64 bits, otherwise counted from 1."""
    if all(isinstance(each, int) and abs(each) < _LARGEST for each in identifiers):
        return {each: int(each) for each in identifiers}
    return {each: number for number, each in enumerate(identifiers, start=1)}


def _indexed(labels: DetectionLabels, annotations: Iterable[dict[str, Any]]) -> Any:
    """A pycocotools index of annotations."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {
        "images": [
            {"id": number, "width": width, "height": height}
            for number, (width, height) in zip(labels.image_ids, labels.sizes, strict=True)
        ],
        "categories": [
            {"id": number, "name": name} for number, name in zip(labels.category_ids, labels.classes, strict=True)
        ],
        "annotations": list(annotations),
    }
    coco.createIndex()
    return coco


def _objects(labels: DetectionLabels) -> list[dict[str, Any]]:
    """All objects as COCO's annotations. Their ids count from 1, as pycocotools takes 0 for "matched with none"."""
    annotations: list[dict[str, Any]] = []
    for image, objects in zip(labels.image_ids, labels.objects, strict=True):
        for index in range(len(objects)):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": labels.category_ids[objects.labels[index] - 1],
                "bbox": objects.labeled_boxes[index].tolist(),
                "area": float(objects.area[index]),
                "iscrowd": int(objects.crowd[index]),
            }
            if objects.segmentations is not None:
                annotation["segmentation"] = objects.segmentations[index]
            annotations.append(annotation)
    return annotations


def _of_type(results: Sequence[Mapping[str, Any]], result_type: ResultType) -> list[dict[str, Any]]:
    """Copies with the box or the mask only: pycocotools would take a mask's size from its box."""
    content = "bbox" if result_type == "bbox" else "segmentation"
    keys = ("image_id", "category_id", content, "score")
    return [{key: result[key] for key in keys} for result in results if content in result]


def _nan(value: float) -> float:
    return float("nan") if value == _UNDEFINED else value


def _mean(precision: np.ndarray) -> float:
    defined = precision[precision != _UNDEFINED]
    return float(defined.mean()) if defined.size else float("nan")
