"""Types of cropping to compare, and their crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64

from manyview.config import BlockViewsConfig, WholeViewsConfig
from manyview.views import block_boxes, sample_views, views_per_image

OVERLAPS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
_CANVAS = 10**6  # side in pixels of an image so large that rounding to whole pixels does not matter

CroppingType = Literal["usual", "blocks", "control", "moved"]
Crops = Int64[np.ndarray, "images pairs 2 4"]


@dataclass(frozen=True)
class Cropping:
    """A type of cropping whose pairs are counted.

    Attributes:
        name: "usual", crops of the whole image; "blocks"; "control", crops of the whole image in as many
            pairs as blocks and at their scale; "moved", the blocks' own crops, each moved to a random position
            (``views.placement=anywhere``).
        overlap: of the blocks, or of the blocks that it is a control for.
        views: how its views are sampled.
    """

    name: CroppingType
    overlap: float | None
    views: BlockViewsConfig | WholeViewsConfig


def croppings(
    blocks: BlockViewsConfig, usual: WholeViewsConfig, overlaps: Sequence[float] = OVERLAPS
) -> tuple[Cropping, ...]:
    """Croppings to compare: the usual one, then at each overlap blocks and their two controls.

    The scales of blocks and control match, but the areas of their crops do not: a crop nearly as large as its block
    seldom fits in it, and is drawn again. So there is a second control whose crops have exactly the same sizes.

    Args:
        blocks: block-wise views; their overlap is replaced by each of ``overlaps``, their placement by "block".
        usual: views of usual cropping.
        overlaps: from 0 to 0.5.
    """
    compared = [Cropping("usual", None, usual)]
    for overlap in overlaps:
        views = blocks.model_copy(update={"overlap": overlap, "placement": "block"})
        compared += [
            Cropping("blocks", overlap, views),
            Cropping("control", overlap, matched_control(views)),
            Cropping("moved", overlap, views.model_copy(update={"placement": "anywhere"})),
        ]
    return tuple(compared)


def matched_control(blocks: BlockViewsConfig) -> WholeViewsConfig:
    """Crops of the whole image in as many pairs as blocks, with the areas of the blocks' crops.

    For the paper's four blocks of overlap .2 these are the views of the recipe ``simsiam-4pairs``.
    """
    left, top, right, bottom = block_boxes(_CANVAS, _CANVAS, blocks.overlap, blocks.grid)[0]
    area = (right - left) * (bottom - top) / _CANVAS**2
    low, high = blocks.scale
    return WholeViewsConfig(pairs=blocks.grid[0] * blocks.grid[1], scale=(area * low, area * high), ratio=blocks.ratio)


def sample_crops(
    cropping: Cropping, sizes: Int64[np.ndarray, "images 2"], *, seed: int, epoch: int, indices: Sequence[int]
) -> Crops:
    """Sample the crops of each image's pairs in an epoch, exactly as a run does.

    Args:
        cropping: type of cropping and settings of its views.
        sizes: width and height of each image in pixels.
        seed: the run's seed.
        epoch: from 0.
        indices: index of each image in the run.

    Returns:
        Left, top, right and bottom of the two crops of each pair, in pixels of the image.
    """
    # Each augmentation has random numbers of its own: without the others the crop is the same.
    idle = {"flip": 0.0, "jitter": 0.0, "grayscale": 0.0, "blur": (0.0, 0.0), "solarize": (0.0, 0.0)}
    views = cropping.views.model_copy(update=idle)
    nested = [
        [view.crop for view in sample_views(views, width, height, seed=seed, epoch=epoch, image=int(image))]
        for (width, height), image in zip(sizes.tolist(), indices, strict=True)
    ]
    return np.array(nested, dtype=np.int64).reshape(len(nested), views_per_image(views) // 2, 2, 4)
