"""Settings and protocol of linear evaluation (paper Section 4.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from manyview.errors import require, require_seed
from manyview.evaluation.linear.head import INITIAL_STD, HeadSettings
from manyview.evaluation.linear.recipes import LOGISTIC, RATE_BY_CLASS
from manyview.evaluation.logistic.protocol import LOGISTIC_REGRESSION, describe_choice
from manyview.evaluation.settings import EXTRACTED_ONCE, MetricSettings, describe_report
from manyview.options.base import declared, recorded, select
from manyview.options.labeled import HeadOptions, LinearOptions
from manyview.pooling import ATTENTION

# Words of the protocol, as in earlier results.
_EVALUATION = "multi-label linear classification on a frozen backbone"
EPOCHS = ("last", "best")
_LEARNED = (
    "softmax attention of learned queries over the positions, each on its slice of the channels; zero at first, and "
    "trained with the head"
)
_AUGMENTATION = "random crop of 8 to 100 % of the area, ratio 3/4 to 4/3, mirrored with probability .5"


@dataclass(frozen=True, slots=True)
class LogisticSettings:
    """Settings of logistic regression and its evaluation; checked when made.

    Attributes:
        metrics: threshold at the top level of the results, form of average precision, compatibility.
        resamples: of the bootstrap over validation images; 0 for no intervals.
        seed: of the folds, the bootstrap and random init.
        cost: C; None to choose it.
        cost_by_class: whether each class gets its own.

    Raises:
        UserError: if a value is out of range.
    """

    metrics: MetricSettings
    resamples: int
    seed: int
    cost: float | int | None
    cost_by_class: bool

    def __post_init__(self) -> None:
        _check_report(self)
        require(self.cost is None or 0 < self.cost < math.inf, f"cost must be above 0, not {self.cost}")
        given = "cost_by_class chooses C, and cost gives it: leave out one of them"
        require(self.cost is None or not self.cost_by_class, given)

    @property
    def costs(self) -> tuple[float, ...] | None:
        """C as the candidates to choose from; None for the search."""
        return None if self.cost is None else (float(self.cost),)

    def describe(self, options: LinearOptions) -> dict[str, Any]:
        """Protocol of the classifiers, without the options of heads."""
        unread = declared(HeadOptions)
        return {
            "evaluation": _EVALUATION,
            **{name: value for name, value in recorded(LinearOptions, options).items() if name not in unread},
            "classifier_is": LOGISTIC_REGRESSION,
            "cost": self.cost,
            **describe_choice(self.costs or (), self.cost_by_class, "the training photographs"),
            "scaling_is": "every dimension to mean 0 and deviation 1 over the training photographs",
            "train_transform": EXTRACTED_ONCE,
            "scores": "sigmoid of the decision values",
            **describe_report(self.resamples, "of the training photographs that the classifiers were fitted on"),
        }


@dataclass(frozen=True, slots=True)
class SgdSettings:
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
        _check_report(self)
        require(self.measured in EPOCHS, f'measured (--epoch) must be "last" or "best", not {self.measured!r}')
        require(self.cached or not self.flips, "flips are for cached features: the crops of the others are mirrored")

    @property
    def seed(self) -> int:
        """Of everything random."""
        return self.head.seed

    def describe(self, options: LinearOptions) -> dict[str, Any]:
        """Protocol of the head, in words that are compared with those of earlier results."""
        rate = self.head.base_learning_rate
        return {
            "evaluation": _EVALUATION,
            **recorded(LinearOptions, {**options, "base_learning_rate": rate}),
            "train_transform": _train_transform(self.cached, self.flips),
            "loss": "binary cross-entropy with logits, mean over images and classes",
            "optimizer": "SGD",
            "learning_rate": self.head.learning_rate,
            "schedule": "cosine by epoch",
            "momentum": self.head.momentum,
            "head_init": f"weights normal with standard deviation {INITIAL_STD}, bias 0",
            **({"pooling_is": _LEARNED} if options["pool"] == ATTENTION else {}),
            **describe_report(self.resamples, "of the training photographs without augmentation"),
        }


LinearSettings = LogisticSettings | SgdSettings


def settings_of(options: LinearOptions, classes: int) -> LinearSettings:
    """Settings of an evaluation of some number of classes.

    Raises:
        UserError: if a value is out of range.
    """
    metrics = select(MetricSettings, options)
    if options["recipe"] == LOGISTIC:
        return select(LogisticSettings, options, metrics=metrics)
    rate = options["base_learning_rate"]
    head = select(HeadSettings, options, base_learning_rate=RATE_BY_CLASS * classes if rate is None else rate)
    return select(SgdSettings, options, head=head, metrics=metrics)


def _check_report(settings: LinearSettings) -> None:
    require(settings.resamples >= 0, f"resamples must be at least 0, not {settings.resamples}")
    require_seed(settings.seed)


def _train_transform(cached: bool, flips: bool) -> str:
    if not cached:
        return _AUGMENTATION
    mirrored = ", of each photograph and its mirror image, either with probability .5" if flips else ""
    return f"features extracted once, without augmentation{mirrored}"
