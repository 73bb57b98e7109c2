"""Rendering of batches of views with PyTorch on any device.

The operations, their order and their rounding are those of the Pillow reference. The views of each operation are
determined on the host beforehand, so that nothing waits for the device.

Every color operation takes float32 values that are whole numbers from 0 to ``full`` (255 or 65535) and returns values
in that range, which ``augment_views`` truncates to integers, as Pillow does. For 8 bits the arithmetic gives Pillow's
integers, except for about 3 in 1,000 hues: there the quotient is a whole number, which Pillow's floats miss. For 16
bits, where Pillow has no colors, it is the same arithmetic on the finer scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8, UInt16
from torch import Tensor
from torch.nn import functional as F

from manyview.views.geometry import Box, assert_inside
from manyview.views.render.batch_parameters import COLOR_OPERATIONS, ViewTable
from manyview.views.render.blur_kernels import blur_kernels, box_radii

Views = UInt8[Tensor, "views channels height width"] | UInt16[Tensor, "views channels height width"]
Change = Callable[[Tensor, Tensor, int], Tensor]  # (views, amount for each view, full scale) to views

RGBValues = Float32[Tensor, "views 3 height width"]
PerView = Float32[Tensor, "views 1 1 1"]
Nothing = Float32[Tensor, "views 0 1 1"]
Plane = Float32[Tensor, "views height width"]

# ITU-R 601-2 luma as Pillow has it, in 1/65536: sums of 8-bit values by these are exact in float32.
_LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)
# Values that one operation processes at a time. On an accelerator this limits memory to about 0.5 GB; on a CPU it
# keeps intermediate results in the caches.
_VALUES_AT_A_TIME = {"cpu": 2**20}
_VALUES_ELSEWHERE = 2**24


@torch.no_grad()
def crop_resize(
    image: UInt8[Tensor, "channels height width"], crops: Sequence[Box], size: int
) -> UInt8[Tensor, "crops channels {size} {size}"]:
    """Crop, then resize bilinearly with antialiasing, as Pillow does.

    Pillow also rounds to 8 bits between the two axes; here values are rounded once, at the end.

    Args:
        image: An image on the device that renders.
        crops: Boxes within the image.
        size: Side of a view in pixels.

    Returns:
        The views, on the same device.
    """
    _, height, width = image.shape
    pixels = image.float()[None]
    views = []
    for box in crops:
        assert_inside(box, width, height)
        left, top, right, bottom = box
        crop = pixels[..., top:bottom, left:right]
        views.append(F.interpolate(crop, (size, size), mode="bilinear", antialias=True))
    return torch.cat(views).add_(0.5).to(torch.uint8)


@torch.no_grad()
def augment_views(views: Views, table: ViewTable, rgb: tuple[int, int, int] | None = (0, 1, 2)) -> Views:
    """Augment views: color jitter, grayscale, blur, solarization and flip by each view's row of the table.

    Every operation ends in whole numbers, as in the reference. Automatic mixed precision is disabled.

    Args:
        views: Cropped and resized, of full scale 255 or 65535, on the device that renders.
        table: One row a view.
        rgb: Which channels are red, green and blue. If none are, views are only blurred and flipped.

    Returns:
        The views in a new tensor of the same type, on the same device.
    """
    assert len(views) == len(table), f"{len(views)} views, but parameters of {len(table)}"
    full = torch.iinfo(views.dtype).max
    augmented = views.clone(memory_format=torch.contiguous_format)
    stored = augmented.view(torch.int16) if views.dtype == torch.uint16 else augmented  # uint16 has no index_copy_
    most = max(1, _VALUES_AT_A_TIME.get(views.device.type, _VALUES_ELSEWHERE) // max(1, views[:1].numel()))
    with torch.autocast(views.device.type, enabled=False):
        for change, indices, amounts in _send(_steps(table, full, rgb), views.device):
            for some, their_amounts in zip(indices.split(most), amounts.split(most), strict=True):
                chosen = stored.index_select(0, some).view(views.dtype)
                changed = change(chosen, their_amounts, full).to(views.dtype)
                stored.index_copy_(0, some, changed.view(stored.dtype))
    return augmented


def _steps(
    table: ViewTable, full: int, rgb: tuple[int, int, int] | None
) -> Iterator[tuple[Change, Int64[np.ndarray, " indices"], Float[np.ndarray, "indices amounts"]]]:
    """All operations in their order: the function, the indices of its views, and the amount for each."""
    if rgb is not None:
        for position in range(len(COLOR_OPERATIONS)):
            for operation, name in enumerate(COLOR_OPERATIONS):
                indices = np.flatnonzero(table.order[:, position] == operation)
                strength = table.strength[indices, operation, None]
                if name == "hue":
                    strength = np.trunc(strength * full) % (full + 1)
                yield partial(_change_colors, _COLOR_CHANGES[name], rgb), indices, strength
        gray = np.flatnonzero(table.grayscale)
        yield partial(_change_colors, _to_grayscale, rgb), gray, np.empty((len(gray), 0))
    radii = box_radii(table.blur_sigma)
    for radius in np.unique(np.floor(radii[table.blur_sigma > 0])):  # kernels of one width together
        indices = np.flatnonzero((np.floor(radii) == radius) & (table.blur_sigma > 0))
        yield _blur, indices, blur_kernels(radii[indices])
    if rgb is not None:
        bright = np.flatnonzero(table.solarize)
        yield partial(_change_colors, _solarize, rgb), bright, np.empty((len(bright), 0))
    flipped = np.flatnonzero(table.flip)
    yield _flip, flipped, np.empty((len(flipped), 0))


def _send(
    steps: Iterable[tuple[Change, np.ndarray, np.ndarray]], device: torch.device
) -> Iterator[tuple[Change, Int64[Tensor, " indices"], Float32[Tensor, "indices amounts"]]]:
    """The steps that have any views, with their numbers on the device: two non-blocking copies in all."""
    steps = [step for step in steps if len(step[1])]
    if not steps:
        return
    indices = torch.from_numpy(np.concatenate([indices for _, indices, _ in steps]))
    amounts = torch.from_numpy(np.concatenate([amounts.ravel() for _, _, amounts in steps]).astype(np.float32))
    if device.type == "cuda":
        indices, amounts = indices.pin_memory(), amounts.pin_memory()
    indices, amounts = indices.to(device, non_blocking=True), amounts.to(device, non_blocking=True)
    sizes = [len(indices) for _, indices, _ in steps]
    lengths = [amounts.size for _, _, amounts in steps]
    for (change, _, like), some, theirs in zip(steps, indices.split(sizes), amounts.split(lengths), strict=True):
        yield change, some, theirs.view(like.shape)


def _change_colors(change: Change, rgb: tuple[int, int, int], views: Tensor, amounts: Tensor, full: int) -> Tensor:
    values = views.float()
    if rgb == tuple(range(views.shape[1])):
        return change(values, amounts[..., None, None], full)
    changed = change(torch.stack([values[:, band] for band in rgb], dim=1), amounts[..., None, None], full)
    for band, channel in zip(rgb, changed.unbind(1), strict=True):
        values[:, band] = channel
    return values


def _change_brightness(views: RGBValues, factor: PerView, full: int) -> RGBValues:
    """Blend with black; a factor above 1 extrapolates."""
    return views.mul_(factor).clamp_(0, full)


def _change_contrast(views: RGBValues, factor: PerView, full: int) -> RGBValues:
    """Blend with each view's mean gray level."""
    mean = _gray(views).mean(dim=(-2, -1), keepdim=True).add_(0.5).floor_()
    return _blend(mean.unsqueeze(1), views, factor, full)


def _change_saturation(views: RGBValues, factor: PerView, full: int) -> RGBValues:
    """Blend with each pixel's gray level."""
    return _blend(_gray(views).unsqueeze(1), views, factor, full)


def _to_grayscale(views: RGBValues, _: Nothing, full: int) -> RGBValues:
    """Replace all three channels by each pixel's gray level."""
    return _gray(views).unsqueeze(1).expand_as(views)


def _solarize(views: RGBValues, _: Nothing, full: int) -> RGBValues:
    """Invert the upper half of the values, from 128 on for 8 bits."""
    return torch.minimum(views, full - views)


def _shift_hue(views: RGBValues, steps: PerView, full: int) -> RGBValues:
    """Rotate the hue by whole steps on a circle of ``full`` + 1, in HSV of Pillow's precision."""
    hue, saturation, value = _to_hsv(views, full)
    hue = (hue + steps.view(-1, 1, 1)).remainder_(full + 1)
    return _to_rgb(hue, saturation, value, full)


def _blend(base: Tensor, views: RGBValues, factor: PerView, full: int) -> RGBValues:
    """``base + factor (views - base)``, clipped."""
    return torch.addcmul(base * (1 - factor), views, factor).clamp_(0, full)


def _gray(views: RGBValues) -> Plane:
    red, green, blue = views.unbind(1)
    gray = red * _LUMA[0]
    return gray.add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2]).add_(0.5).floor_()


def _to_hsv(views: RGBValues, full: int) -> tuple[Plane, Plane, Plane]:
    """Hue, saturation and value, whole numbers from 0 to ``full``; the hue of a gray is 0."""
    red, green, blue = views.unbind(1)
    value = views.amax(dim=1)
    chroma = value - views.amin(dim=1)
    # The hue in sixths of the circle, times the chroma.
    from_green, from_blue = (blue - red).add_(chroma, alpha=2), (red - green).add_(chroma, alpha=4)
    sixths = torch.where(red == value, green - blue, torch.where(green == value, from_green, from_blue))
    # Multiplied before dividing: for 8 bits the quotient is then rounded once, never across a whole number.
    hue = sixths.mul_(full / 3).div_((2 * chroma).clamp_min_(1)).floor_().remainder_(full)
    return hue, chroma.mul_(full).div_(value.clamp_min(1)).floor_(), value


def _to_rgb(hue: Plane, saturation: Plane, value: Plane, full: int) -> RGBValues:
    """The inverse of ``_to_hsv``: each channel is the value minus a share of the chroma that depends on the hue."""
    chroma = saturation.mul_(value).div_(full)
    sixths = hue.mul_(6 / full)
    channels = []
    for offset in (5, 3, 1):
        position = (sixths + offset).remainder_(6)
        share = torch.minimum(position, 4 - position).clamp_(0, 1)
        channels.append(torch.addcmul(value, share, chroma, value=-1).add_(0.5))
    return torch.stack(channels, dim=1)


_COLOR_CHANGES: dict[str, Change] = {
    "brightness": _change_brightness,
    "contrast": _change_contrast,
    "saturation": _change_saturation,
    "hue": _shift_hue,
}


def _blur(views: Tensor, kernels: Tensor, full: int) -> Float32[Tensor, "views channels height width"]:
    return _convolve(views.float(), kernels).add_(0.5)  # truncated when stored


def _convolve(
    views: Float32[Tensor, "views channels height width"], kernels: Float32[Tensor, "views taps"]
) -> Float32[Tensor, "views channels height width"]:
    """Convolve each view with its own kernel along both axes, with edge pixels replicated.

    Args:
        views: Any values.
        kernels: One row a view, symmetric, with an odd number of taps.
    """
    count, channels, height, _ = views.shape
    reach = kernels.shape[1] // 2
    kernels = kernels.repeat_interleave(channels, dim=0)
    # All channels of all views as the channels of one image, so that a depthwise convolution has a kernel for each.
    padded = F.pad(views, (reach, reach, 0, 0), mode="replicate").view(1, count * channels, height, -1)
    rows = F.conv2d(padded, kernels[:, None, None, :], groups=count * channels)
    padded = F.pad(rows, (0, 0, reach, reach), mode="replicate")
    return F.conv2d(padded, kernels[:, None, :, None], groups=count * channels).view_as(views)


def _flip(views: Tensor, amounts: Tensor, full: int) -> Tensor:
    if views.dtype == torch.uint16:  # which PyTorch 2.11 cannot flip
        return views.view(torch.int16).flip(-1).view(torch.uint16)
    return views.flip(-1)
