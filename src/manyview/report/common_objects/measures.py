"""Overlap and common objects of the two crops of a positive pair, from boxes alone, without reading pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from manyview.errors import UserError
from manyview.labels.boxes import ImageBoxes
from manyview.report.common_objects.croppings import Cropping, Crops, sample_crops

PER_PAIR = ("area", "iou")
PER_SHARE = ("common", "objects", "different")
_CHUNK = 512  # images at a time, which bounds the memory

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PairMeasures:
    """Measures of each image, as means over its positive pairs and over epochs.

    Attributes:
        croppings: types of cropping.
        shares: least shares of a box's area that must lie inside a crop for the crop to show the object.
        per_pair: by cropping, measure (``PER_PAIR``) and image: area of a crop as a share of the image's;
            intersection over union of the two crops.
        per_share: by cropping, share, measure (``PER_SHARE``) and image: whether the two views have an object in
            common; the number of common objects; whether each of them shows an object, but none in common.
        has_object: whether the image has any object.
    """

    croppings: tuple[Cropping, ...]
    shares: tuple[float, ...]
    per_pair: Float64[np.ndarray, "croppings 2 images"]
    per_share: Float64[np.ndarray, "croppings shares 3 images"]
    has_object: Bool[np.ndarray, " images"]


def measure_pairs(
    boxes: ImageBoxes,
    croppings: Sequence[Cropping],
    *,
    shares: Sequence[float],
    seed: int,
    epochs: Sequence[int],
    indices: Sequence[int],
    progress: Progress = lambda done, total: None,
) -> PairMeasures:
    """Sample the crops of every positive pair and measure which objects they show.

    A crop shows an object if at least a given share of its box's area lies inside; the object is common to a pair if
    both crops show it. Crowds count like other objects here.

    Args:
        boxes: the images and their objects.
        croppings: types of cropping, all with the same random numbers, so that they differ by their type alone.
        shares: least shares of a box's area, above 0, at most 1.
        seed: the run's seed.
        epochs: the epochs whose views are sampled.
        indices: index of each image in the run.
        progress: called with the rounds of sampling done and their number.

    Raises:
        UserError: a share is out of range.
    """
    wrong = next((share for share in shares if not 0 < share <= 1), None)
    if wrong is not None:
        raise UserError(f"the share of a box that a view must show is {wrong:g}: give a number above 0, at most 1")
    images = len(boxes.names)
    per_pair = np.zeros((len(croppings), len(PER_PAIR), images))
    per_share = np.zeros((len(croppings), len(shares), len(PER_SHARE), images))
    chunks = [slice(start, min(start + _CHUNK, images)) for start in range(0, images, _CHUNK)]
    rounds = [(part, number) for part in chunks for number in range(len(croppings))]
    for done, (part, number) in enumerate(rounds, start=1):
        objects, owners = _objects_of(boxes, part)
        sizes = boxes.sizes[part]
        for epoch in epochs:
            crops = sample_crops(croppings[number], sizes, seed=seed, epoch=epoch, indices=indices[part])
            per_pair[number, :, part] += _geometry(crops, sizes)
            inside = _shares_inside(objects, crops[owners])
            for level, share in enumerate(shares):
                per_share[number, level, :, part] += _shown(inside >= share, owners, len(crops))
        progress(done, len(rounds))
    has_object = np.bincount(boxes.owners, minlength=images) > 0
    epoch_count = len(epochs)
    return PairMeasures(tuple(croppings), tuple(shares), per_pair / epoch_count, per_share / epoch_count, has_object)


def _objects_of(
    boxes: ImageBoxes, part: slice
) -> tuple[Float64[np.ndarray, "objects 4"], Int64[np.ndarray, " objects"]]:
    """Boxes of consecutive images, and the index of each box's image, counted from the first of them."""
    first, last = np.searchsorted(boxes.owners, (part.start, part.stop))
    return boxes.boxes[first:last], boxes.owners[first:last] - part.start


def _geometry(crops: Crops, sizes: Int64[np.ndarray, "images 2"]) -> Float64[np.ndarray, "2 images"]:
    """The measures of ``PER_PAIR``, as means over each image's pairs."""
    areas = _area(crops)
    both = _area(_intersection(crops[:, :, 0], crops[:, :, 1]))
    iou = both / (areas.sum(axis=2) - both)
    return np.stack([areas.mean(axis=(1, 2)) / sizes.prod(axis=1), iou.mean(axis=1)])


def _shares_inside(
    objects: Float64[np.ndarray, "objects 4"], crops: Int64[np.ndarray, "objects pairs 2 4"]
) -> Float64[np.ndarray, "objects pairs 2"]:
    """Share of each object's box that lies inside each crop of its image."""
    boxes = objects[:, None, None]
    return _area(_intersection(boxes, crops)) / _area(boxes)


def _shown(
    shown: Bool[np.ndarray, "objects pairs 2"], owners: Int64[np.ndarray, " objects"], images: int
) -> Float64[np.ndarray, "3 images"]:
    """The measures of ``PER_SHARE``, from which crop shows which object, as means over each image's pairs."""
    counts = np.zeros((images, shown.shape[1], 3))
    np.add.at(counts, owners, np.concatenate([shown, shown.all(axis=2, keepdims=True)], axis=2))
    first, second, common = np.moveaxis(counts, 2, 0)
    different = (first > 0) & (second > 0) & (common == 0)
    return np.stack([(common > 0).mean(axis=1), common.mean(axis=1), different.mean(axis=1)])


def _intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection of boxes (..., 4); it has a negative side where they do not overlap."""
    return np.concatenate([np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])], axis=-1)


def _area(boxes: np.ndarray) -> np.ndarray:
    """Areas (...) of boxes (..., 4); 0 for those with a negative side."""
    return np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1)
