"""What happens to views once they are cropped, in batches with PyTorch on any device.

The operations, their order and their roundings are those of the Pillow reference. Which views an operation takes is
worked out on the host beforehand, so that nothing waits for the device, and no view undergoes what is not its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8, UInt16
from torch import Tensor

from manyview.views import device_colour
from manyview.views.device_blur import blur
from manyview.views.device_cropping import crop_resize
from manyview.views.render.batch_parameters import COLOUR_OPERATIONS, ViewTable
from manyview.views.render.blur_kernels import blur_kernels, box_radii

__all__ = ["alter_views", "crop_resize"]

Views = UInt8[Tensor, "views channels height width"] | UInt16[Tensor, "views channels height width"]
Change = Callable[[Tensor, Tensor, int], Tensor]  # of some views, by so much each, in values up to so high

_COLOUR_CHANGES: dict[str, Change] = {
    "brightness": device_colour.change_brightness,
    "contrast": device_colour.change_contrast,
    "saturation": device_colour.change_saturation,
    "hue": device_colour.shift_hue,
}
# Values that one operation takes at a time. On an accelerator this bounds the memory, to some 0.5 GB; on a CPU, what
# passes between the parts of an operation stays in the caches.
_VALUES_AT_A_TIME = {"cpu": 2**20}
_VALUES_ELSEWHERE = 2**24


@torch.no_grad()
def alter_views(views: Views, table: ViewTable, rgb: tuple[int, int, int] | None = (0, 1, 2)) -> Views:
    """Change the colours, take them away, blur, solarize and mirror, each view as its row of the table says.

    Every operation ends in whole numbers, as the reference's do. Automatic mixed precision does not reach in here.

    Args:
        views: Cropped and resized, of full scale 255 or 65535, on the device that is to do the work.
        table: One row a view.
        rgb: Which channels are red, green and blue. Where none are, views are only blurred and mirrored.

    Returns:
        The views in a fresh tensor of the same type, on the same device.
    """
    assert len(views) == len(table), f"{len(views)} views, but parameters of {len(table)}"
    full = torch.iinfo(views.dtype).max
    altered = views.clone(memory_format=torch.contiguous_format)
    stored = altered.view(torch.int16) if views.dtype == torch.uint16 else altered  # uint16 has no index_copy_
    most = max(1, _VALUES_AT_A_TIME.get(views.device.type, _VALUES_ELSEWHERE) // max(1, views[:1].numel()))
    with torch.autocast(views.device.type, enabled=False):
        for change, places, amounts in _send(_steps(table, full, rgb), views.device):
            for some, their_amounts in zip(places.split(most), amounts.split(most), strict=True):
                chosen = stored.index_select(0, some).view(views.dtype)
                changed = change(chosen, their_amounts, full).to(views.dtype)
                stored.index_copy_(0, some, changed.view(stored.dtype))
    return altered


def _steps(
    table: ViewTable, full: int, rgb: tuple[int, int, int] | None
) -> Iterator[tuple[Change, Int64[np.ndarray, " places"], Float[np.ndarray, "places amounts"]]]:
    """All operations in their order: what is done, to which views, and how strongly to each."""
    if rgb is not None:
        for place_in_order in range(len(COLOUR_OPERATIONS)):
            for operation, name in enumerate(COLOUR_OPERATIONS):
                places = np.flatnonzero(table.order[:, place_in_order] == operation)
                strength = table.strength[places, operation, None]
                if name == "hue":
                    strength = np.trunc(strength * full) % (full + 1)
                yield partial(_change_colours, _COLOUR_CHANGES[name], rgb), places, strength
        gray = np.flatnonzero(table.grayscale)
        yield partial(_change_colours, device_colour.take_colours_away, rgb), gray, np.empty((len(gray), 0))
    radii = box_radii(table.blur_sigma)
    for radius in np.unique(np.floor(radii[table.blur_sigma > 0])):  # as many taps for each as its own kernel has
        places = np.flatnonzero((np.floor(radii) == radius) & (table.blur_sigma > 0))
        yield _blur, places, blur_kernels(radii[places])
    if rgb is not None:
        bright = np.flatnonzero(table.solarize)
        yield partial(_change_colours, device_colour.solarize, rgb), bright, np.empty((len(bright), 0))
    mirrored = np.flatnonzero(table.flip)
    yield _mirror, mirrored, np.empty((len(mirrored), 0))


def _change_colours(change: Change, rgb: tuple[int, int, int], views: Tensor, amounts: Tensor, full: int) -> Tensor:
    values = views.float()
    if rgb == tuple(range(views.shape[1])):
        return change(values, amounts[..., None, None], full)
    changed = change(torch.stack([values[:, band] for band in rgb], dim=1), amounts[..., None, None], full)
    for band, channel in zip(rgb, changed.unbind(1), strict=True):
        values[:, band] = channel
    return values


def _blur(views: Tensor, kernels: Tensor, full: int) -> Float32[Tensor, "views channels height width"]:
    return blur(views.float(), kernels).add_(0.5)  # the fraction is cut off


def _mirror(views: Tensor, amounts: Tensor, full: int) -> Tensor:
    if views.dtype == torch.uint16:  # which PyTorch 2.11 cannot flip
        return views.view(torch.int16).flip(-1).view(torch.uint16)
    return views.flip(-1)


def _send(
    steps: Iterable[tuple[Change, np.ndarray, np.ndarray]], device: torch.device
) -> Iterator[tuple[Change, Int64[Tensor, " places"], Float32[Tensor, "places amounts"]]]:
    """The steps that have any views, with their numbers on the device: two copies in all, which nothing waits for."""
    steps = [step for step in steps if len(step[1])]
    if not steps:
        return
    places = torch.from_numpy(np.concatenate([places for _, places, _ in steps]))
    amounts = torch.from_numpy(np.concatenate([amounts.ravel() for _, _, amounts in steps]).astype(np.float32))
    if device.type == "cuda":
        places, amounts = places.pin_memory(), amounts.pin_memory()
    places, amounts = places.to(device, non_blocking=True), amounts.to(device, non_blocking=True)
    sizes = [len(places) for _, places, _ in steps]
    lengths = [amounts.size for _, _, amounts in steps]
    for (change, _, like), some, theirs in zip(steps, places.split(sizes), amounts.split(lengths), strict=True):
        yield change, some, theirs.view(like.shape)
