"""Settings of fine-tuning a detector, and named schedules.

The schedules are those of MoCo's published configurations for Detectron2
(https://github.com/facebookresearch/moco/tree/main/detection/configs) at the paper's batch of 8: the learning rate is
then .01 on Pascal VOC and .02 on COCO.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from manyview.errors import UserError, require_seed
from manyview.options.base import recorded, select
from manyview.options.detection import BATCH_SIZE, FineTuneOptions
from manyview.runtime import resolve_precision

ARCHITECTURES = ("c4", "fpn")
_SIDES_APART = 32
_SMALLEST_SIDE = 32
# A short schedule would otherwise be over before its learning rate has risen.
_WARM_UP_SHARE = 10


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named schedule: its length, learning rate and image sizes.

    Attributes:
        iterations: optimizer steps.
        steps: iterations at which the learning rate is divided by ten.
        warm_up: iterations over which the learning rate rises.
        learning_rate: at a batch of 8.
        short_sides: short sides of training images, in pixels.
    """

    iterations: int
    steps: tuple[int, ...]
    warm_up: int
    learning_rate: float
    short_sides: tuple[int, ...]


# COCO's configuration leaves the warm-up at Detectron2's default of 1,000 iterations.
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


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    """Settings of fine-tuning and evaluation, validated on construction; ``settle`` fills in a recipe's values.

    Attributes:
        recipe: its name.
        architecture: "c4" or "fpn".
        masks: whether to train and evaluate masks.
        iterations: optimizer steps.
        steps: iterations at which the learning rate is divided by ten.
        warm_up: iterations over which it rises from a thousandth.
        batch_size: images per step, over all processes.
        learning_rate: after the warm-up.
        short_sides: short sides in pixels, of which one is drawn for each training image.
        test_short_side: short side in evaluation and prediction.
        max_side: the long side is at most that.
        regions: RoIs per image that train the heads.
        test_proposals: proposals per image that reach the heads in evaluation and prediction.
        precise_batches: most batches from which the norms' statistics are measured before an evaluation.
        eval_every: iterations between two evaluations; None for one at the end.
        seed: of the initial weights of new layers, the order, flips, sides and samples.
        precision: "float32" or "bf16".

    Raises:
        UserError: a value is out of range.
    """

    recipe: str
    architecture: str
    masks: bool
    iterations: int
    steps: tuple[int, ...]
    warm_up: int
    batch_size: int
    learning_rate: float | int
    short_sides: tuple[int, ...]
    test_short_side: int
    max_side: int
    regions: int
    test_proposals: int
    precise_batches: int
    eval_every: int | None
    seed: int
    precision: str

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise UserError(f"unknown architecture {self.architecture!r}: choose {' or '.join(ARCHITECTURES)}")
        for name in ("iterations", "batch_size", "regions", "test_proposals"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        _require(self.precise_batches >= 0, "precise_batches", "at least 0", self.precise_batches)
        _require(self.eval_every is None or self.eval_every >= 1, "eval_every", "at least 1", self.eval_every)
        _require(0 < self.learning_rate < float("inf"), "learning_rate", "over 0 and finite", self.learning_rate)
        require_seed(self.seed)
        smallest = min((*self.short_sides, self.test_short_side))
        _require(smallest >= _SMALLEST_SIDE, "short_side", f"at least {_SMALLEST_SIDE} pixels", smallest)
        longest = max((*self.short_sides, self.test_short_side))
        _require(self.max_side >= longest, "max_side", f"at least the short side, {longest}", self.max_side)

    def describe(self) -> dict[str, Any]:
        """The settings as plain data, with the fixed rules of optimizer and schedule in words."""
        return {
            **recorded(FineTuneOptions, dataclasses.asdict(self)),
            "steps": list(self.steps),
            "warm_up": self.warm_up,
            "short_sides": list(self.short_sides),
            "precision": self.precision,
            "optimizer": "SGD, momentum .9, weight decay 1e-4 but on norms",
            "schedule": "linear warm-up from a thousandth, then a tenth from each of the steps on",
            "test_batch_size": 1,
        }


def settle(options: FineTuneOptions) -> DetectionSettings:
    """Settings from a recipe and the options that override it, with the rest scaled to fit.

    - The steps of the schedule keep their share of the iterations.
    - The warm-up is the recipe's, but at most a tenth of the iterations.
    - The learning rate is the recipe's at a batch of 8, and proportional to the batch.
    - The short side at test time is the longest of those in training.

    Args:
        options: of fine-tuning.

    Raises:
        UserError: a value is out of range, or there is no such recipe.
    """
    base = named_recipe(options["recipe"])
    length = base.iterations if options["iterations"] is None else options["iterations"]
    sides = base.short_sides if options["short_side"] is None else read_sides(options["short_side"])
    in_test, rate = options["test_short_side"], options["learning_rate"]
    return select(
        DetectionSettings,
        options,
        iterations=length,
        steps=tuple(round(step * length / base.iterations) for step in base.steps),
        warm_up=min(base.warm_up, length // _WARM_UP_SHARE),
        learning_rate=base.learning_rate * options["batch_size"] / BATCH_SIZE if rate is None else rate,
        short_sides=sides,
        test_short_side=max(sides) if in_test is None else in_test,
        precision=resolve_precision(options["precision"]),
    )


def read_sides(text: str | int | Sequence[int]) -> tuple[int, ...]:
    """Parse short sides in pixels: one, several separated by commas, or a range in steps of 32.

    Args:
        text: such as "480", "480,512,640", "480-800", or numbers.

    Raises:
        UserError: the text has none of these formats.
    """
    if isinstance(text, int):
        return (text,)
    try:
        if not isinstance(text, str):
            sides = tuple(text)
        elif "-" in text:
            first, last = (int(part) for part in text.split("-"))
            sides = tuple(range(first, last + 1, _SIDES_APART))
        else:
            sides = tuple(int(part) for part in text.split(","))
    except ValueError:
        sides = ()
    if not sides:
        raise UserError(f"the short side {text!r} cannot be read: give pixels such as 480, 480,512,640 or 480-800")
    return sides


def _require(condition: bool, name: str, demand: str, value: Any) -> None:
    if not condition:
        raise UserError(f"{name} must be {demand}, not {value}")
