"""Named schedules of fine-tuning a detector.

They are those of MoCo's published configurations for Detectron2
(https://github.com/facebookresearch/moco/tree/main/detection/configs) at the paper's batch of 8: the learning rate is
then .01 on Pascal VOC and .02 on COCO.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from manyview.errors import UserError

BATCH_SIZE = 8


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long to train, on images of what size.

    Attributes:
        iterations: steps of the optimiser.
        steps: iterations from which on the learning rate is a tenth of what it was.
        warm_up: iterations over which the learning rate rises.
        learning_rate: at a batch of 8.
        short_sides: of the images in training, in pixels.
    """

    iterations: int
    steps: tuple[int, ...]
    warm_up: int
    learning_rate: float
    short_sides: tuple[int, ...]


# Where COCO's configuration names no warm-up, it has Detectron2's default of 1,000 iterations.
RECIPES = MappingProxyType(
    {
        "voc-24k": Recipe(24_000, (18_000, 22_000), 100, 0.01, tuple(range(480, 801, 32))),
        "coco-1x": Recipe(90_000, (60_000, 80_000), 1_000, 0.02, tuple(range(640, 801, 32))),
    }
)


def named_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UserError: there is none.
    """
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}: choose {' or '.join(RECIPES)}")
    return RECIPES[name]
