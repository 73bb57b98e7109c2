"""Settings, recipes and protocol of linear evaluation (paper Section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from manyview.backbones.build import UNTRAINED
from manyview.errors import UserError, require
from manyview.evaluation.linear.head import INITIAL_STD, HeadSettings
from manyview.evaluation.metrics.decisions import LOGIT_THRESHOLD
from manyview.evaluation.settings import MetricSettings, describe_report
from manyview.options.base import recorded, select
from manyview.options.labeled import LinearOptions

RECIPES = MappingProxyType(
    {
        "paper": MappingProxyType({"weight_decay": 1e-4, "threshold": 0.5}),
        "released": MappingProxyType({"weight_decay": 0.0, "threshold": LOGIT_THRESHOLD}),
    }
)
"""Differences of the paper and its authors' code, which has no decay and predicts a class from a logit of .6 on."""

EPOCHS = ("last", "best")
_AUGMENTATION = "random crop of 8 to 100 % of the area, ratio 3/4 to 4/3, mirrored with probability .5"


@dataclass(frozen=True, slots=True)
class LinearSettings:
    """Settings of the head's training and evaluation; checked when made.

    Attributes:
        head: epochs, batch size, learning rate, weight decay, seed.
        metrics: threshold at the top level of the results, form of average precision, compatibility.
        cached: whether the head is trained on features extracted once.
        flips: whether each epoch uses the features of the mirrored image with probability .5.
        measured: "last", or "best" for the epoch of the best validation mAP.
        resamples: of the bootstrap over validation images; 0 for no intervals.

    Raises:
        UserError: if a value is out of range.
    """

    head: HeadSettings
    metrics: MetricSettings
    cached: bool
    flips: bool
    measured: str
    resamples: int

    def __post_init__(self) -> None:
        require(self.measured in EPOCHS, f'measured (--epoch) must be "last" or "best", not {self.measured!r}')
        require(self.cached or not self.flips, "flips are for cached features: the crops of the others are mirrored")
        require(self.resamples >= 0, f"resamples must be at least 0, not {self.resamples}")

    @classmethod
    def of(cls, options: LinearOptions) -> LinearSettings:
        """Settings from options with weight decay and threshold set."""
        return select(cls, options, head=select(HeadSettings, options), metrics=select(MetricSettings, options))


def of_recipe(options: LinearOptions) -> LinearOptions:
    """Options with the recipe's values for those not given.

    Raises:
        UserError: there is no recipe of that name.
    """
    recipe = options["recipe"]
    if recipe not in RECIPES:
        raise UserError(f"recipe must be one of {', '.join(RECIPES)}, not {recipe!r}")
    settled = options.copy()
    if options["weight_decay"] is None:
        settled["weight_decay"] = RECIPES[recipe]["weight_decay"]
    if options["threshold"] is None:
        settled["threshold"] = RECIPES[recipe]["threshold"]
    return settled


def describe(options: LinearOptions, head: HeadSettings) -> dict[str, Any]:
    """Protocol of the head, in words that are compared with those of earlier results."""
    return {
        "evaluation": "multi-label linear classification on a frozen backbone",
        **recorded(LinearOptions, options),
        "train_transform": _train_transform(options["cached"], options["flips"]),
        "loss": "binary cross-entropy with logits, mean over images and classes",
        "optimizer": "SGD",
        "learning_rate": head.learning_rate,
        "schedule": "cosine by epoch",
        "momentum": head.momentum,
        "head_init": f"weights normal with standard deviation {INITIAL_STD}, bias 0",
        "untrained_backbone": UNTRAINED,
        **describe_report(options["resamples"], "of the training photographs without augmentation"),
    }


def _train_transform(cached: bool, flips: bool) -> str:
    if not cached:
        return _AUGMENTATION
    mirrored = ", of each photograph and its mirror image, either with probability .5" if flips else ""
    return f"features extracted once, without augmentation{mirrored}"
