"""Training and validation images of a detector, and batches of them decoded in loader processes."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from manyview.errors import UserError
from manyview.images import ImageFiles, ImagePath, ImageRoot, Unreadable, UnreadableImage, open_image
from manyview.images.loading import load_in_workers
from manyview.images.sources.copies import SharedImages, find_shared, flattering
from manyview.labels import DetectionLabels, Problems, decode_masks, read_annotations
from manyview.options.base import StrPath

EpochIndex = tuple[int, int]
"""Epoch and index of an image."""

Target = dict[str, Tensor]
"""Boxes, labels and masks of an image in the format of torchvision's detectors; see ``DetectionImages``."""

Item = tuple[UInt8[Tensor, "3 _ _"], Target]

_FLIPPED = 0.5  # share of the images
_RECORDED = 10  # sentences on skipped labels that a record holds, at most


@dataclass(frozen=True)
class DetectionData:
    """Training and validation images with their objects.

    Attributes:
        train: training labels.
        train_images: the folder of its images.
        val: validation labels; their classes are those of ``train``.
        val_images: the folder of its images.
    """

    train: DetectionLabels
    train_images: ImageRoot
    val: DetectionLabels
    val_images: ImageRoot

    @classmethod
    def read(
        cls,
        train: tuple[Path, ImageRoot],
        val: tuple[Path, ImageRoot],
        *,
        masks: bool,
        problems: Problems = "refuse",
        val_split: str = "val",
        class_names: StrPath | None = None,
    ) -> DetectionData:
        """Read label files, each given with the folder of its images.

        Args:
            train: label file or folder of the training images, and their folder.
            val: those of the validation images.
            masks: whether to read masks.
            problems: handling of entries that cannot be used, as for ``read_annotations``.
            val_split: of a data set's YAML file, the split that is validation.
            class_names: file that names YOLO's classes; None: found beside the labels.

        Raises:
            UserError: as ``read_annotations`` does, or no training image has an object to train on.
        """
        read = functools.partial(read_annotations, masks=masks, problems=problems, class_names=class_names)
        training = read(*train)
        if not training.occupied():
            raise UserError(f"{train[0]} holds no object to train on: {_why_none(training)}")
        return cls(training, train[1], read(*val, training.classes, split=val_split), val[1])

    @functools.cached_property
    def shared(self) -> SharedImages:
        """Images in both splits, and copies of training images: where there are some, the figures flatter."""
        return find_shared(ImageFiles(self.train_images, self.train.names), ImageFiles(self.val_images, self.val.names))

    @property
    def trained_on(self) -> tuple[int, ...]:
        """Indices of the training images with objects; the others are left out, as in Detectron2."""
        return self.train.occupied()

    @property
    def shapes(self) -> dict[int, bool]:
        """Whether each image of ``trained_on`` is wider than high, by its index."""
        return {index: self.train.sizes[index][0] > self.train.sizes[index][1] for index in self.trained_on}

    def remarks(self) -> Iterator[str]:
        """Sentences for the user on oddities of the labels and on what is left out of training."""
        for name, labels in (("Training", self.train), ("Validation", self.val)):
            for note in labels.notes:
                yield f"{name} labels, {note}."
            if labels.skipped:
                yield f"{name} labels, left out: {len(labels.skipped):,}, the first being: {labels.skipped[0]}."
        yield from flattering(self.shared.describe(), len(self.val))
        empty = len(self.train) - len(self.trained_on)
        if empty:
            yield f"{empty:,} of {len(self.train):,} training images have no object to train on; left out."

    def describe(self) -> dict[str, Any]:
        """The labels as plain data with fingerprints, which differ where labels do."""
        train = {**_describe(self.train), "photographs_with_objects": len(self.trained_on)}
        return {
            "classes": list(self.train.classes),
            "train": train,
            "val": _describe(self.val),
            **self.shared.describe(),
        }


def _why_none(labels: DetectionLabels) -> str:
    """Why no object of some labels is trained on."""
    if labels.skipped:
        return f"{len(labels.skipped):,} entries with problems were skipped, the first being: {labels.skipped[0]}"
    if not sum(map(len, labels.objects)):
        return "no image has an annotation"
    return "crowds and boxes without area do not count"


def _describe(labels: DetectionLabels) -> dict[str, Any]:
    return {
        "photographs": len(labels),
        "objects": sum(len(objects) for objects in labels.objects),
        "fingerprint": labels.fingerprint(),
        "skipped": {"count": len(labels.skipped), "first": list(labels.skipped[:_RECORDED])},
        "notes": list(labels.notes),
    }


class DetectionImages(Dataset[Item | Unreadable]):
    """Dataset of labeled images at their own size, each with its training target.

    Item (epoch, index) is the image ``index`` of the labels, upright and in RGB, and its target: "boxes" (float32,
    n x 4: left, top, right, bottom in pixels), "labels" (int64, n, from 1), "image_id" (int64: ``index``), and, if the
    labels have masks, "masks" (uint8, n x height x width: 1 in the object). Crowds and objects without area are not
    in it, difficult objects are. Detectors resize both as they are built to.

    Args:
        labels: names and objects of the images.
        images: folder to which the names are relative.
        flip: whether half of the images, drawn from (seed, epoch, index) alone, are mirrored left to right.
        seed: of the draws.
        bit_depth: bits that the values of 16-bit files use; None for all 16.
    """

    def __init__(
        self,
        labels: DetectionLabels,
        images: ImageRoot,
        flip: bool = False,
        seed: int = 0,
        bit_depth: int | None = None,
    ) -> None:
        self.labels, self.images, self.flip, self.seed, self.bit_depth = labels, images, flip, seed, bit_depth

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> ImagePath:
        """The file of an image."""
        return self.images / self.labels.names[index]

    def __getitem__(self, item: EpochIndex) -> Item | Unreadable:
        epoch, index = item
        path = self.path(index)
        try:
            pixels = open_image(path, bit_depth=self.bit_depth).decode()
        except UnreadableImage as error:
            return Unreadable(index, path, error.reason)
        height, width = pixels.shape[:2]
        if (width, height) != self.labels.sizes[index]:
            return Unreadable(index, path, "it changed its size after its labels were read")
        target = self._target(index)
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        if self.flip and np.random.default_rng((self.seed, epoch, index)).random() < _FLIPPED:
            image = image.flip(2)
            left, top, right, bottom = target["boxes"].unbind(1)
            target["boxes"] = torch.stack([width - right, top, width - left, bottom], dim=1)
            if "masks" in target:
                target["masks"] = target["masks"].flip(2)
        return image.contiguous(), target

    def _target(self, index: int) -> Target:
        """The target of an image that is not mirrored."""
        objects = self.labels.objects[index]
        kept = objects.trained
        target = {
            "boxes": torch.from_numpy(objects.boxes[kept]),
            "labels": torch.from_numpy(objects.labels[kept]),
            "image_id": torch.tensor(index),
        }
        if objects.segmentations is not None:
            wanted = [mask for mask, keep in zip(objects.segmentations, kept, strict=True) if keep]
            target["masks"] = torch.from_numpy(decode_masks(wanted, *self.labels.sizes[index]))
        return target


class _Packed(NamedTuple):
    """A batch in few tensors, since each takes a file descriptor on its way from a loader process."""

    shapes: list[torch.Size]
    pixels: UInt8[Tensor, " values"]
    objects: list[int]
    boxes: Float32[Tensor, "objects 4"]
    labels: Int64[Tensor, " objects"]
    image_ids: Int64[Tensor, " batch"]
    masks: UInt8[Tensor, " values"] | None


def detection_batches(
    dataset: DetectionImages,
    indices: Iterable[Sequence[EpochIndex]],
    workers: int | None,
    *,
    pin: bool = False,
) -> Iterator[tuple[list[Tensor], list[Target]]]:
    """Batches of images and targets, in the order of ``indices``, whatever the number of workers.

    Args:
        dataset: labeled images.
        indices: epoch and index of each image of each batch.
        workers: loader processes, 0 for none; None: chosen by the number of cores.
        pin: whether the tensors are in page-locked memory, from which an accelerator copies faster.

    Yields:
        For each element of ``indices``, the images (uint8, 3 x height x width each) and their targets.

    Raises:
        UserError: at the first image that cannot be read, with its path and the reason.
    """
    loaded = load_in_workers(
        dataset, indices, workers=workers, pin=pin, collate=_pack, name=lambda key: str(dataset.path(key[1]))
    )
    for batch in loaded:
        if isinstance(batch, Unreadable):
            raise UserError(f"cannot read {batch.path} ({batch.reason}): repair this file or take it out of the labels")
        yield _unpack(batch)


def _pack(items: list[Item | Unreadable]) -> _Packed | Unreadable:
    """Collate items, or return the first that could not be read."""
    read: list[Item] = []
    for item in items:
        if isinstance(item, Unreadable):
            return item
        read.append(item)
    targets = [target for _, target in read]
    return _Packed(
        shapes=[pixels.shape for pixels, _ in read],
        pixels=torch.cat([pixels.flatten() for pixels, _ in read]),
        objects=[len(target["labels"]) for target in targets],
        boxes=torch.cat([target["boxes"] for target in targets]),
        labels=torch.cat([target["labels"] for target in targets]),
        image_ids=torch.stack([target["image_id"] for target in targets]),
        masks=torch.cat([target["masks"].flatten() for target in targets]) if "masks" in targets[0] else None,
    )


def _unpack(batch: _Packed) -> tuple[list[Tensor], list[Target]]:
    """Split a batch into items, which are views of its tensors."""
    pixels = batch.pixels.split([shape.numel() for shape in batch.shapes])
    images = [part.view(shape) for part, shape in zip(pixels, batch.shapes, strict=True)]
    columns = zip(batch.boxes.split(batch.objects), batch.labels.split(batch.objects), batch.image_ids, strict=True)
    targets = [{"boxes": boxes, "labels": labels, "image_id": number} for boxes, labels, number in columns]
    if batch.masks is not None:
        sizes = [(count, *shape[1:]) for count, shape in zip(batch.objects, batch.shapes, strict=True)]
        parts = batch.masks.split([count * height * width for count, height, width in sizes])
        for target, part, size in zip(targets, parts, sizes, strict=True):
            target["masks"] = part.view(size)
    return images, targets
