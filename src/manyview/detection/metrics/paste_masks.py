"""Pastes predicted masks, which cover their boxes, into the pixels of the image."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyview.labels import Rle, encode_mask


class Window(NamedTuple):
    """A rectangular part of an image.

    Attributes:
        left: its first column.
        top: its first row.
        values: of its pixels.
    """

    left: int
    top: int
    values: Float[Tensor, "rows columns"]


def paste(mask: Float[Tensor, "side side"], box: Float[Tensor, " 4"], width: int, height: int) -> Window:
    """Resample a mask over its box at the centers of the image's pixels, as in Detectron2.

    Args:
        mask: probabilities.
        box: left, top, right, bottom in pixels; right over left, and bottom over top.
        width: of the image, in pixels.
        height: of the image, in pixels.

    Returns:
        The pixels that the mask reaches, possibly none; all others are zero.
    """
    left, top, right, bottom = box.tolist()
    # Bilinear sampling fades to zero over half a cell beyond the box.
    reach_x, reach_y = ((right - left) / mask.shape[1] / 2, (bottom - top) / mask.shape[0] / 2)
    x0, x1 = max(math.floor(left - reach_x), 0), min(math.ceil(right + reach_x), width)
    y0, y1 = max(math.floor(top - reach_y), 0), min(math.ceil(bottom + reach_y), height)
    if x1 <= x0 or y1 <= y0:
        return Window(0, 0, mask.new_zeros((0, 0)))
    x = (torch.arange(x0, x1, device=mask.device) + 0.5 - left) / (right - left) * 2 - 1
    y = (torch.arange(y0, y1, device=mask.device) + 0.5 - top) / (bottom - top) * 2 - 1
    grid = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1)
    values = F.grid_sample(mask[None, None], grid[None].to(mask.dtype), align_corners=False)[0, 0]
    return Window(x0, y0, values)


def encode_box_masks(
    masks: Float[Tensor, "objects side side"],
    boxes: Float[Tensor, "objects 4"],
    width: int,
    height: int,
    threshold: float = 0.5,
) -> list[Rle]:
    """Predicted masks as compressed run lengths of the image's size, encoded one at a time.

    Args:
        masks: probabilities, each over its box: "box_masks" of a detector.
        boxes: left, top, right, bottom in pixels.
        width: of the image, in pixels.
        height: of the image, in pixels.
        threshold: pixels with at least this probability belong to the object.

    Raises:
        UserError: pycocotools is not installed.
    """
    encoded = []
    for mask, box in zip(masks.cpu(), boxes.cpu(), strict=True):
        left, top, values = paste(mask, box, width, height)
        encoded.append(encode_mask((values >= threshold).numpy(), left, top, (width, height)))
    return encoded
