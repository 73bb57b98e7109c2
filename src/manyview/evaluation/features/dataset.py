"""Batches of S x S pixels of images, decoded in loader processes, for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8, UInt16
from torch import Tensor, nn
from torch.utils.data import Dataset

from manyview.config import ViewsConfig, WholeViewsConfig, in_pairs
from manyview.errors import UserError
from manyview.evaluation.features.backbone import Pixels, bands, bit_depth
from manyview.images import ImageFiles, Unreadable, UnreadableImage, open_image
from manyview.images.bands import same_depth
from manyview.images.loading import load_in_workers
from manyview.views import Box, ViewParameters, block_boxes, render_views, sample_view

ViewsOf = Callable[[int, int, int, int], Sequence[ViewParameters]]
"""From an image's width, height, epoch and index to its views, equally many for each image."""

Boxes = Callable[[int, int], Sequence[Box]]
"""From an image's width and height to boxes in it."""

Views = UInt8[np.ndarray, "views channels size size"] | UInt16[np.ndarray, "views channels size size"]
ImageEntry = tuple[int, int, int]
"""Index, width and height of an image."""

MIN_SIZE = 8

CROPS = ("warp", "center")
"""Deterministic crops: the image warped to the square, or its center."""
_CENTER = 0.875


class ImageBatch(NamedTuple):
    """A batch of images.

    Attributes:
        pixels: (images, views, channels, S, S), 8 or 16 bits, of the readable images; None if there are none.
        read: index, width and height of each of these.
        unreadable: the others.
    """

    pixels: Tensor | None
    read: list[ImageEntry]
    unreadable: list[Unreadable]


class ImageDataset(Dataset[tuple[Views, ImageEntry] | Unreadable]):
    """Views of images at S x S pixels; item (epoch, index) is all views of one image.

    Args:
        files: the images.
        size: S, in pixels.
        views: the views to render, such as ``fixed_views``; random ones depend only on the arguments.
        bands: "rgb", or the number of bands of each image.
        rgb_bands: which of several bands are red, green and blue, if any.
        max_pixels: larger images count as unreadable.
        bit_depth: bits that the values of 16-bit files use; None for all 16.
    """

    def __init__(
        self,
        files: ImageFiles,
        size: int,
        views: ViewsOf,
        bands: Literal["rgb"] | int = "rgb",
        rgb_bands: tuple[int, int, int] | None = None,
        max_pixels: int = 200_000_000,
        bit_depth: int | None = None,
    ) -> None:
        self.files, self.size, self.views, self.bands, self.max_pixels = files, size, views, bands, max_pixels
        self.bit_depth = bit_depth
        self.rgb_bands = (0, 1, 2) if bands == "rgb" else rgb_bands

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Views, ImageEntry] | Unreadable:
        epoch, index = item
        path = self.files.path(index)
        try:
            image = open_image(path, self.bands, max_pixels=self.max_pixels, bit_depth=self.bit_depth).decode()
        except UnreadableImage as error:
            return Unreadable(index, path, error.reason)
        height, width = image.shape[:2]
        views = self.views(width, height, epoch, index)
        return render_views(image, views, self.size, rgb=self.rgb_bands), (index, width, height)


def images_for(network: nn.Module, files: ImageFiles, size: int, views: ViewsOf) -> ImageDataset:
    """Views of images as a network takes them: its bands, at its bit depth."""
    return ImageDataset(files, size, views, bands(network), bit_depth=bit_depth(network))


def load(
    images: ImageDataset, batches: Iterable[Sequence[tuple[int, int]]], *, workers: int | None, pin: bool = False
) -> Iterator[ImageBatch]:
    """Load batches of images, in the same order for any number of workers.

    Args:
        images: to load.
        batches: epoch and index of each image of each batch.
        workers: loader processes, 0 for none; unset: by cores.
        pin: whether to use page-locked memory, from which an accelerator copies faster.
    """
    return load_in_workers(
        images, batches, workers=workers, pin=pin, collate=_collate, name=lambda key: str(images.files.path(key[1]))
    )


def load_readable(
    images: ImageDataset, batches: Iterable[Sequence[tuple[int, int]]], *, workers: int | None, pin: bool = False
) -> Iterator[Pixels]:
    """Load the pixels of images of one view each, all of which must be readable.

    Raises:
        UserError: at the first image that cannot be read, with its path and the reason.
    """
    for pixels, _, unreadable in load(images, batches, workers=workers, pin=pin):
        if unreadable:
            raise UserError(
                f"cannot read {unreadable[0].path} ({unreadable[0].reason}): the figures are for exactly the "
                "images of the label files, so mend this file or take it out of the label file"
            )
        assert pixels is not None
        yield pixels.squeeze(1)


def in_batches(indices: Sequence[int], batch_size: int) -> Iterator[list[tuple[int, int]]]:
    """Batches of these images in epoch 0, for ``load``; the last may be smaller."""
    for start in range(0, len(indices), batch_size):
        yield [(0, index) for index in indices[start : start + batch_size]]


def _collate(items: list[tuple[Views, ImageEntry] | Unreadable]) -> ImageBatch:
    read = [item for item in items if not isinstance(item, Unreadable)]
    unreadable = [item for item in items if isinstance(item, Unreadable)]
    pixels = torch.from_numpy(np.stack(same_depth([views for views, _ in read]))) if read else None
    return ImageBatch(pixels, [entry for _, entry in read], unreadable)


def fixed_views(
    width: int, height: int, epoch: int, index: int, *, crop: str = "warp", flip: bool = False
) -> Sequence[ViewParameters]:
    """The single view of ``fixed_view``."""
    return [fixed_view(width, height, crop, flip)]


def random_views(
    width: int, height: int, epoch: int, index: int, *, config: WholeViewsConfig, seed: int
) -> Sequence[ViewParameters]:
    """A random view of the image, drawn from (seed, epoch, index) alone."""
    return [sample_view(config, width, height, seed=seed, epoch=epoch, image=index, view=0)]


def whole_and_pair(
    width: int, height: int, epoch: int, index: int, *, config: ViewsConfig, seed: int
) -> Sequence[ViewParameters]:
    """The whole image, then two views of a positive pair; images cycle through the pairs of the layout."""
    pairs = compared_views(config)
    pair = (
        sample_view(config, width, height, seed=seed, epoch=epoch, image=index, view=view)
        for view in pairs[index % len(pairs)]
    )
    return [fixed_view(width, height), *pair]


def compared_views(config: ViewsConfig) -> list[tuple[int, ...]]:
    """Pairs of views of one block, or of the whole image, in the first group."""
    return [pair for pair in in_pairs(config.layout[:1]) if len(pair) == 2] or [(0, 1)]


def box_views(width: int, height: int, epoch: int, index: int, *, boxes: Boxes) -> Sequence[ViewParameters]:
    """Boxes of the image, each warped to the square."""
    return [_plain_view(box, box) for box in boxes(width, height)]


def random_crops(size: int) -> WholeViewsConfig:
    """The training augmentation of linear evaluation: a crop of 8 to 100 % of the image, mirrored or not."""
    return WholeViewsConfig(
        size=size, scale=(0.08, 1.0), flip=0.5, jitter=0.0, grayscale=0.0, blur=(0.0, 0.0), solarize=(0.0, 0.0)
    )


def fixed_view(width: int, height: int, crop: str = "warp", flip: bool = False) -> ViewParameters:
    """A deterministic view with unchanged colors.

    Args:
        width: of the image, in pixels.
        height: of the image, in pixels.
        crop: "warp" for the whole image, or "center" for the square at its center whose side is 7/8 of the shorter side
            (224 of 256 pixels).
        flip: whether it is mirrored.
    """
    box = (0, 0, width, height)
    side = max(1, round(_CENTER * min(width, height)))
    left, top = (width - side) // 2, (height - side) // 2
    return _plain_view(box, (left, top, left + side, top + side) if crop == "center" else box, flip)


def _plain_view(block: Box, crop: Box, flip: bool = False) -> ViewParameters:
    return ViewParameters(
        block=block, crop=crop, flip=flip, jitter=None, grayscale=False, blur_sigma=None, solarize=False
    )


def whole(width: int, height: int) -> Sequence[Box]:
    """The whole image as one box."""
    return ((0, 0, width, height),)


def four_blocks(width: int, height: int) -> Sequence[Box]:
    """The paper's four blocks, which overlap by .2 (Section 3.1)."""
    return block_boxes(width, height)
