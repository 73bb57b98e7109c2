"""Dense features as colors: the first three principal components of the last feature map (as in DINOv2's Figure 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from PIL import Image
from torch import Tensor

from manyview.backbones import Backbone
from manyview.errors import UserError
from manyview.report.page.pictures.images import Bands, Photograph

_LEAST_SIDE, _MOST_SIDE = 320, 512  # pixels of the input
_VIEWS = 6  # sides of a view that an input's side has
_PATCH = 32  # of which the side is a multiple
_RANGE = (2, 98)  # percentiles that become 0 and 255

Map = Float32[np.ndarray, "dim rows columns"]
Colors = UInt8[np.ndarray, "rows columns 3"]


def input_side(backbone: Backbone, view_size: int) -> int:
    """Side of the square inputs in pixels: six views' sides, from 320 to 512, or a view's where no other fits."""
    side = min(max(_VIEWS * view_size, _LEAST_SIDE), _MOST_SIDE) // _PATCH * _PATCH
    try:
        backbone.check_size(side, side)
    except UserError:
        return view_size
    return side


def feature_maps(backbone: Backbone, photographs: Sequence[Photograph], side: int) -> list[Map]:
    """The last feature map of each image, warped to a square.

    Args:
        backbone: in eval mode.
        photographs: of its type.
        side: of the square, in pixels.

    Raises:
        UserError: the features are not finite.
    """
    maps = []
    for photograph in photographs:
        with torch.inference_mode():
            found = backbone(_input(photograph.bands, backbone, side))[0].float()
        if not bool(found.isfinite().all()):
            raise UserError("its features are not finite")
        maps.append(found.numpy())
    return maps


def principal_colors(maps: Sequence[Map]) -> list[Colors]:
    """Feature maps as colors: red, green and blue are the first three principal components over all positions.

    Each component is stretched between its 2nd and 98th percentile, and turned so that its skew is positive, as the
    sign of a component means nothing. Colors mean the same in all maps that are given together, and nothing elsewhere.
    """
    vectors = np.concatenate([each.reshape(len(each), -1).T for each in maps]).astype(np.float64)
    scores = _components(torch.from_numpy(vectors)).numpy()
    scores = scores * np.where((scores**3).sum(0) < 0, -1.0, 1.0)
    low, high = np.percentile(scores, _RANGE, axis=0)
    shares = ((scores - low) / np.maximum(high - low, 1e-12)).clip(0, 1)
    pixels = (shares * 255 + 0.5).astype(np.uint8)
    found, first = [], 0
    for each in maps:
        rows, columns = each.shape[1:]
        found.append(pixels[first : first + rows * columns].reshape(rows, columns, 3))
        first += rows * columns
    return found


def enlarged(colors: Colors, width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
    """Colors at the size of their image, interpolated."""
    return np.array(Image.fromarray(colors).resize((width, height), Image.Resampling.BICUBIC))


def _components(vectors: Float[Tensor, "positions dim"]) -> Float[Tensor, "positions 3"]:
    """Scores of the first three principal components; zeros where there are fewer."""
    centered = vectors - vectors.mean(0)
    _, _, directions = torch.linalg.svd(centered, full_matrices=False)
    scores = centered @ directions[:3].T
    return torch.nn.functional.pad(scores, (0, 3 - scores.shape[1]))


def _input(bands: Bands, backbone: Backbone, side: int) -> Float[Tensor, "1 channels side side"]:
    """An image as the backbone takes it."""
    planes = [
        np.array(Image.fromarray(plane.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))
        for plane in np.moveaxis(bands, 2, 0)
    ]
    white = 255 if bands.dtype == np.uint8 else 65535
    pixels = torch.from_numpy(np.stack(planes)) / white
    mean, std = (torch.tensor(values)[:, None, None] for values in (backbone.mean, backbone.std))
    return ((pixels.clamp(0, 1) - mean) / std)[None]
