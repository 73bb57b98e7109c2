"""Libraries compared in ``benchmarks.views``: from an encoded image to two views of each of its four blocks.

Each is used as its documentation shows. All apply the same augmentations with the probabilities and ranges of SimSiam.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import simplejpeg
import torch
import torchvision
from PIL import Image, ImageFilter
from torchvision import transforms
from torchvision.transforms import v2

from manyview.config import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BlockViewsConfig,
    DataConfig,
    PretrainConfig,
)
from manyview.images import decode_image, find_images, open_image
from manyview.training.data import ViewDataset
from manyview.views import BlockViews, block_boxes, largest_shrink, render_views, sample_views, shrink_crops
from manyview.views.render import opencv

SCALE, JITTER, SIGMA = (0.2, 1.0), (0.4, 0.4, 0.4, 0.1), (0.1, 2.0)
# The blurs of torchvision and kornia need a kernel size. Three standard deviations to either side are the minimum for
# the widest blur; the 23 pixels of many recipes at 224 would take half as long again.
KERNEL = 13


@dataclass(frozen=True)
class Task:
    """Input of a contestant, prepared before timing.

    Attributes:
        jpegs: the encoded images, all of one size.
        folder: the same images as files, in the same order.
        view_size: side of a view in pixels.
    """

    jpegs: Sequence[bytes]
    folder: Path
    view_size: int


@dataclass(frozen=True)
class Contestant:
    """One compared implementation.

    Attributes:
        name: for tables.
        returns: type of a view: "uint8", or "float32" for normalized float32.
        how: what it does, in a few words.
        prepare: function from the task to the timed function, which takes an image's index.
        needs: the package that it requires, if any.
    """

    name: str
    returns: str
    how: str
    prepare: Callable[[Task], Callable[[int], Any]]
    needs: str | None = None

    @property
    def is_installed(self) -> bool:
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


def block_views(output: Literal["uint8", "normalized"]) -> Callable[[Task], Callable[[int], Any]]:
    def prepare(task: Task) -> Callable[[int], Any]:
        views = BlockViews(view_size=task.view_size, output=output)
        return lambda index: views(task.jpegs[index])

    return prepare


def loader(task: Task) -> Callable[[int], Any]:
    config = PretrainConfig(
        data=DataConfig(images=str(task.folder)),
        views=BlockViewsConfig(size=task.view_size),
    )
    dataset, epochs = ViewDataset(find_images(task.folder), config, renderer="cpu"), itertools.count()

    def load(index: int) -> Any:
        groups = dataset[(next(epochs), index)].groups
        assert isinstance(groups, tuple), f"an image in {task.folder} cannot be read"
        return groups[0]

    return load


def full_decode(task: Task) -> Callable[[int], Any]:
    config, epochs = BlockViewsConfig(size=task.view_size), itertools.count()

    def views_of(index: int) -> np.ndarray:
        pixels = decode_image(task.jpegs[index])
        height, width, _ = pixels.shape
        parameters = sample_views(config, width, height, seed=0, epoch=next(epochs), image=index)
        return render_views(pixels, parameters, task.view_size)

    return views_of


def without_kernel(task: Task) -> Callable[[int], Any]:
    """What ``BlockViews`` does where no compiler was at hand when the package was installed."""
    config, epochs = BlockViewsConfig(size=task.view_size), itertools.count()

    def views_of(index: int) -> np.ndarray:
        image = open_image(task.jpegs[index])
        drawn = sample_views(config, image.width, image.height, seed=0, epoch=next(epochs), image=index)
        shrink = largest_shrink((view.crop for view in drawn), task.view_size)
        pixels = image.decode(shrink)
        return opencv.render_views(pixels, shrink_crops(drawn, shrink, pixels.shape[1::-1]), task.view_size)

    return views_of


def entropy_decoding(task: Task) -> Callable[[int], Any]:
    """Little more than reading all coefficients: gray, at an eighth of the size."""
    return lambda index: simplejpeg.decode_jpeg(task.jpegs[index], "GRAY", min_width=1, min_height=1)


def floor(task: Task) -> Callable[[int], Any]:
    """A lower bound on the time: the fastest decoding, at the scale that our views need, without antialiasing."""
    plans = [_floor_plan(data, index, task.view_size) for index, data in enumerate(task.jpegs)]
    size = (task.view_size, task.view_size)

    def views_of(index: int) -> list[np.ndarray]:
        (width, height), crops = plans[index]
        pixels = simplejpeg.decode_jpeg(
            task.jpegs[index], "RGB", fastdct=True, fastupsample=True, min_width=width, min_height=height
        )
        return [cv2.resize(pixels[crop], size, interpolation=cv2.INTER_LINEAR) for crop in crops]

    return views_of


def _floor_plan(data: bytes, index: int, size: int) -> tuple[tuple[int, int], list[tuple[slice, slice]]]:
    """Width and height to decode an image to, and eight crops of that, as rows and columns."""
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    parameters = sample_views(BlockViewsConfig(size=size), width, height, seed=0, epoch=0, image=index)
    shrink = largest_shrink((view.crop for view in parameters), size)
    boxes = [[-(-edge // shrink) for edge in view.crop] for view in parameters]
    crops = [
        (slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))) for left, top, right, bottom in boxes
    ]
    return (-(-width // shrink), -(-height // shrink)), crops


def lightly_on_pillow(task: Task) -> Callable[[int], Any]:
    from lightly.transforms import SimSiamTransform

    two_views = SimSiamTransform(input_size=task.view_size)
    return lambda index: [view for block in _pillow_blocks(task.jpegs[index]) for view in two_views(block)]


def torchvision_on_pillow(task: Task) -> Callable[[int], Any]:
    """The official SimSiam's transforms, in their order."""
    view = transforms.Compose(
        [
            transforms.RandomResizedCrop(task.view_size, scale=SCALE),
            transforms.RandomApply([transforms.ColorJitter(*JITTER)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.RandomApply([_pillow_blur], p=0.5),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    return lambda index: [view(block) for block in _pillow_blocks(task.jpegs[index]) for _ in range(2)]


def torchvision_v2(task: Task) -> Callable[[int], Any]:
    view = v2.Compose(
        [
            v2.RandomResizedCrop(task.view_size, scale=SCALE),
            v2.RandomApply([v2.ColorJitter(*JITTER)], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([v2.GaussianBlur(KERNEL, SIGMA)], p=0.5),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    return lambda index: [view(block) for block in _tensor_blocks(task.jpegs[index]) for _ in range(2)]


def kornia_on_cpu(task: Task) -> Callable[[int], Any]:
    from kornia import augmentation

    views = augmentation.AugmentationSequential(
        augmentation.RandomResizedCrop((task.view_size,) * 2, scale=SCALE, cropping_mode="slice"),
        augmentation.ColorJitter(*JITTER, p=0.8),
        augmentation.RandomGrayscale(p=0.2),
        augmentation.RandomGaussianBlur((KERNEL, KERNEL), SIGMA, p=0.5),
        augmentation.RandomHorizontalFlip(p=0.5),
        augmentation.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        data_keys=["input"],
    )

    def views_of(index: int) -> torch.Tensor:
        blocks = torch.stack([block for block in _tensor_blocks(task.jpegs[index]) for _ in range(2)])
        return views(blocks.float().div_(255))

    return views_of


def _pillow_blocks(data: bytes) -> list[Image.Image]:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return [image.crop(box) for box in block_boxes(*image.size)]


def _pillow_blur(view: Image.Image) -> Image.Image:
    return view.filter(ImageFilter.GaussianBlur(random.uniform(*SIGMA)))


def _tensor_blocks(data: bytes) -> list[torch.Tensor]:
    pixels = torchvision.io.decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    height, width = pixels.shape[1:]
    return [pixels[:, top:bottom, left:right] for left, top, right, bottom in block_boxes(width, height)]


WITHOUT_KERNEL = "manyview, no kernel"
UINT8, NORMALIZED, LOADER = "manyview, uint8", "manyview, normalized", "manyview, loader"
LIGHTLY, PILLOW, FLOOR = "lightly", "torchvision on Pillow", "floor"
FULL_DECODE = "full decode, same views"

CONTESTANTS = (
    Contestant(UINT8, "uint8", "`BlockViews(output='uint8')` on the encoded bytes", block_views("uint8")),
    Contestant(NORMALIZED, "float32", "`BlockViews()` on the encoded bytes", block_views("normalized")),
    Contestant(LOADER, "uint8", "what a loader's worker does in training, reading the file included", loader),
    Contestant(WITHOUT_KERNEL, "uint8", "the first, installed without a compiler", without_kernel),
    Contestant(LIGHTLY, "float32", "`SimSiamTransform` on each block", lightly_on_pillow, "lightly"),
    Contestant(PILLOW, "float32", "SimSiam's official transforms on each block, blur by Pillow", torchvision_on_pillow),
    Contestant("torchvision v2", "float32", "the same on uint8 tensors, decoded by torchvision", torchvision_v2),
    Contestant("kornia", "float32", "the same on one batch of an image's blocks", kornia_on_cpu, "kornia"),
    Contestant(FLOOR, "uint8", "decoding and eight bare resizes, by simplejpeg and OpenCV", floor),
)
WHOLE_PIXELS = Contestant(FULL_DECODE, "uint8", "our views from all pixels instead of a reduced scale", full_decode)
ENTROPY = Contestant("entropy decoding alone", "none", "gray at an eighth, by simplejpeg: no views", entropy_decoding)
