"""Sampling of view parameters, as a pure function of seed, epoch, image and view.

Each view owns a fixed range of one counter-based random stream, and each decision a fixed index in that range. So
views can be sampled in any order and by any process, and changing one probability changes that decision only: all
other parameters of a run stay as they were.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from manyview.config import Augmentation, ViewGroup, ViewsConfig
from manyview.views.geometry import Box, block_boxes, shrink_box

_JITTER_ORDERS = tuple(itertools.permutations(("brightness", "contrast", "saturation", "hue")))
_CROP_ATTEMPTS = 10

# Index of each decision among a view's uniform numbers. 15 is unused; each attempt at a crop takes two.
_FLIP, _JITTER, _ORDER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(7)
_GRAYSCALE, _BLUR, _SIGMA, _SOLARIZE, _LEFT, _TOP, _MOVED_LEFT, _MOVED_TOP = range(7, 15)
_ATTEMPTS = 16
_DRAWS = _ATTEMPTS + 2 * _CROP_ATTEMPTS
_WORDS = 4  # numbers that Philox generates for each step of its counter
assert _DRAWS % _WORDS == 0, "a view's draws must end where the next view's begin"


@dataclass(frozen=True, slots=True)
class ColorJitter:
    """Parameters of a color jitter, as in torchvision's ``ColorJitter``.

    Attributes:
        order: The operations in their order of application; one whose strength is 0 is left out.
        brightness: Factor; 1 changes nothing.
        contrast: Factor; 1 changes nothing.
        saturation: Factor; 1 changes nothing.
        hue: Shift of the hue in turns of the color circle, from -0.5 to 0.5.
    """

    order: tuple[str, ...]
    brightness: float
    contrast: float
    saturation: float
    hue: float


@dataclass(frozen=True, slots=True)
class ViewParameters:
    """All parameters of one view; a renderer draws nothing at random.

    Attributes:
        block: The block (or whole image) that the crop was drawn from, in the image's pixels; the whole image for a
            crop that may lie anywhere in it.
        crop: The crop that the view shows, in the image's pixels.
        flip: Whether the view is flipped horizontally.
        jitter: The color jitter, if any.
        grayscale: Whether the view is converted to grayscale.
        blur_sigma: Standard deviation of the Gaussian blur in pixels of the view, if any.
        solarize: Whether channel values from 128 on are inverted.
    """

    block: Box
    crop: Box
    flip: bool
    jitter: ColorJitter | None
    grayscale: bool
    blur_sigma: float | None
    solarize: bool


def views_per_image(config: ViewsConfig) -> int:
    """Number of views of one image, over all groups of the layout."""
    return sum(group.count for group in config.layout)


def sample_view(
    config: ViewsConfig, width: int, height: int, *, seed: int, epoch: int, image: int, view: int
) -> ViewParameters:
    """Sample the parameters of one view.

    Args:
        config: Layout of the views, and the ranges and probabilities of the augmentations.
        width: Width of the image in pixels, at least 1.
        height: Height of the image in pixels, at least 1.
        seed: Seed of the run, from 0 to 2**64 - 1.
        epoch: Epoch, from 0.
        image: Index of the image, from 0.
        view: Index of the view, below ``views_per_image(config)``; it counts on through the groups of
            ``config.layout``. With blocks, views 2k and 2k + 1 show block k, counted as in ``block_boxes``; where
            ``placement`` is "anywhere", they only have the sizes that they would have there.

    Returns:
        The parameters; equal arguments give equal parameters, on any machine.
    """
    assert 0 <= view < views_per_image(config), f"there is no view {view}"
    uniforms = _uniforms(seed, epoch, image, first_view=view, views=1)
    origin = next(itertools.islice(_origins(config.layout, width, height), view, None))
    return _decide(origin, uniforms)


def sample_views(
    config: ViewsConfig, width: int, height: int, *, seed: int, epoch: int, image: int
) -> tuple[ViewParameters, ...]:
    """Sample the parameters of all views of an image; equal to ``sample_view`` for each view, but faster."""
    return sum(sample_groups(config.layout, width, height, seed=seed, epoch=epoch, image=image), ())


def sample_groups(
    layout: Sequence[ViewGroup], width: int, height: int, *, seed: int, epoch: int, image: int
) -> tuple[tuple[ViewParameters, ...], ...]:
    """Sample the parameters of all views of an image, one entry for each group of a configuration's ``layout``.

    The views are those of ``sample_views``; all views of a group have the size ``group.size``.
    """
    uniforms = _uniforms(seed, epoch, image, first_view=0, views=sum(group.count for group in layout))
    draws = (uniforms[start : start + _DRAWS] for start in range(0, len(uniforms), _DRAWS))
    views = map(_decide, _origins(layout, width, height), draws)
    return tuple(tuple(itertools.islice(views, group.count)) for group in layout)


def shrink_crops(
    parameters: Sequence[ViewParameters], shrink: int, decoded: tuple[int, int]
) -> tuple[ViewParameters, ...]:
    """Adapt parameters to an image decoded at a reduced size; crops are rounded to its pixels.

    Args:
        parameters: Those sampled for the full image.
        shrink: The factor by which each side was divided, rounded up.
        decoded: Width and height of the decoded image in pixels.

    Returns:
        The same views, whose blocks stay in the full image's pixels; unchanged for ``shrink`` 1.
    """
    if shrink == 1:
        return tuple(parameters)
    return tuple(replace(view, crop=shrink_box(view.crop, shrink, decoded)) for view in parameters)


def _uniforms(seed: int, epoch: int, image: int, first_view: int, views: int) -> list[float]:
    """Uniform numbers in [0, 1) of consecutive views, ``_DRAWS`` each.

    The Philox key is (seed, epoch). Of the 256-bit counter, the image takes the third word; the first word runs
    through the draws of the image's views.
    """
    key = np.array((seed, epoch), dtype=np.uint64)
    counter = np.array((first_view * (_DRAWS // _WORDS), 0, image, 0), dtype=np.uint64)
    bits = np.random.Philox(key=key, counter=counter).random_raw(views * _DRAWS)
    uniforms: list[float] = ((bits >> np.uint64(11)) * 2.0**-53).tolist()
    return uniforms


class _Origin(NamedTuple):
    """Where a view is drawn from: its block, its index among the views of that block, and where it is moved to."""

    augmentation: Augmentation
    block: Box
    member: int
    moved_in: Box | None


def _origins(layout: Sequence[ViewGroup], width: int, height: int) -> Iterator[_Origin]:
    """The origin of each view, in the order of their indices."""
    for group in layout:
        blocks = block_boxes(width, height, group.overlap, group.grid) if group.of_block else ()
        image = (0, 0, width, height)
        whole = (image,) if group.of_whole else ()
        for number, (block, views) in enumerate(zip((*blocks, *whole), group.runs, strict=True)):
            moved_in = image if group.placement == "anywhere" and number < group.blocks else None
            for member in range(views):
                yield _Origin(group.augmentation, block, member, moved_in)


def _decide(origin: _Origin, uniforms: Sequence[float]) -> ViewParameters:
    """Convert a view's uniform numbers to its parameters."""
    augmentation, member = origin.augmentation, origin.member
    low, high = augmentation.blur_sigma
    blur = uniforms[_BLUR] < augmentation.blur[member % len(augmentation.blur)]
    crop = _crop(origin.block, augmentation.scale, augmentation.ratio, uniforms)
    return ViewParameters(
        block=origin.moved_in or origin.block,
        crop=_moved(crop, origin.moved_in, uniforms) if origin.moved_in else crop,
        flip=uniforms[_FLIP] < augmentation.flip,
        jitter=_jitter(augmentation, uniforms) if uniforms[_JITTER] < augmentation.jitter else None,
        grayscale=uniforms[_GRAYSCALE] < augmentation.grayscale,
        blur_sigma=low + (high - low) * uniforms[_SIGMA] if blur else None,
        solarize=uniforms[_SOLARIZE] < augmentation.solarize[member % len(augmentation.solarize)],
    )


def _crop(block: Box, scale: tuple[float, float], ratio: tuple[float, float], uniforms: Sequence[float]) -> Box:
    """Random crop of a block, with the distribution of torchvision's ``RandomResizedCrop.get_params``.

    The area is uniform in ``scale``, the aspect ratio log-uniform in ``ratio``, the position uniform. If no crop of ten
    attempts fits in the block, it is the largest centered one whose ratio is allowed.
    """
    left, top, right, bottom = block
    width, height = right - left, bottom - top
    area = width * height
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    for start in range(_ATTEMPTS, _DRAWS, 2):
        target = area * (scale[0] + (scale[1] - scale[0]) * uniforms[start])
        aspect = math.exp(log_low + (log_high - log_low) * uniforms[start + 1])
        across, down = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < across <= width and 0 < down <= height:
            return _placed(across, down, block, uniforms[_LEFT], uniforms[_TOP])
    across, down = _largest_with_ratio(width, height, ratio)
    x, y = left + (width - across) // 2, top + (height - down) // 2
    return x, y, x + across, y + down


def _moved(crop: Box, within: Box, uniforms: Sequence[float]) -> Box:
    """A crop moved to a uniformly random position in a box; its position in its block has no influence."""
    left, top, right, bottom = crop
    return _placed(right - left, bottom - top, within, uniforms[_MOVED_LEFT], uniforms[_MOVED_TOP])


def _placed(across: int, down: int, within: Box, share_left: float, share_top: float) -> Box:
    """A box of a width and a height whose position in another is given by two shares of the room, below 1."""
    left, top, right, bottom = within
    x = left + int(share_left * (right - left - across + 1))
    y = top + int(share_top * (bottom - top - down + 1))
    return x, y, x + across, y + down


def _largest_with_ratio(width: int, height: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Width and height of the largest crop of a block with an allowed aspect ratio, at least one pixel each."""
    if width / height < ratio[0]:
        return width, max(1, round(width / ratio[0]))
    if width / height > ratio[1]:
        return max(1, round(height * ratio[1])), height
    return width, height


def _jitter(config: Augmentation, uniforms: Sequence[float]) -> ColorJitter | None:
    """Random color jitter, with the distribution of torchvision's ``ColorJitter.get_params``."""
    strengths = {
        "brightness": config.brightness,
        "contrast": config.contrast,
        "saturation": config.saturation,
        "hue": config.hue,
    }
    order = _JITTER_ORDERS[int(uniforms[_ORDER] * len(_JITTER_ORDERS))]
    if not all(strengths.values()):
        order = tuple(operation for operation in order if strengths[operation])
    if not order:
        return None
    return ColorJitter(
        order=order,
        brightness=_factor(config.brightness, uniforms[_BRIGHTNESS]),
        contrast=_factor(config.contrast, uniforms[_CONTRAST]),
        saturation=_factor(config.saturation, uniforms[_SATURATION]),
        hue=config.hue * (2 * uniforms[_HUE] - 1),
    )


def _factor(strength: float, uniform: float) -> float:
    """Uniform in [max(0, 1 - strength), 1 + strength)."""
    low = max(0.0, 1 - strength)
    return low + (1 + strength - low) * uniform
