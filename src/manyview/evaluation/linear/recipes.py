"""Recipes of linear evaluation: logistic regression, and heads trained with SGD by the paper and its authors' code."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from manyview.errors import UserError
from manyview.evaluation.metrics.decisions import LOGIT_THRESHOLD
from manyview.options.base import declared
from manyview.options.labeled import HeadOptions, LinearOptions, Regularization
from manyview.pooling import ATTENTION

LOGISTIC = "logistic"

RATE_BY_CLASS = 10 / 80
"""The paper's base learning rate for each of COCO's classes: the loss is a mean over them, and a class's own step."""

_HEAD = {"epochs": 100, "measured": "last", "batch_size": 64, "weight_decay": 1e-4, "threshold": 0.5, "crop": "warp"}
_RELEASED = {**_HEAD, "base_learning_rate": 10.0, "weight_decay": 0.0, "threshold": LOGIT_THRESHOLD}

RECIPES = MappingProxyType(
    {
        LOGISTIC: MappingProxyType({"threshold": 0.5, "crop": "warp"}),
        "sgd": MappingProxyType(_HEAD),
        "paper": MappingProxyType({**_HEAD, "base_learning_rate": 10.0}),
        "released": MappingProxyType(_RELEASED),
        "voc": MappingProxyType({**_RELEASED, "base_learning_rate": 1.0, "crop": "center"}),
    }
)
"""Values of options that are not given. "released", the authors' code, has no decay and predicts a class from a logit
of .6 on; "voc", their script for Pascal VOC, has a tenth of the rate and crops the center. "sgd" has no rate of its
own: it follows the number of classes."""


def of_recipe(options: LinearOptions) -> LinearOptions:
    """Options with the recipe's values for those not given.

    Raises:
        UserError: there is no recipe of that name, or it does not read an option that is given.
    """
    recipe = options["recipe"]
    if recipe not in RECIPES:
        raise UserError(f"recipe must be one of {', '.join(RECIPES)}, not {recipe!r}")
    if recipe == LOGISTIC and options["pool"] == ATTENTION:
        raise UserError(
            f"pool {ATTENTION} is learned with a head that SGD trains, not with --recipe {LOGISTIC}: choose --recipe "
            "sgd, or another pool"
        )
    _refuse_unread(recipe, options)
    settled: Any = {**options}
    settled.update({name: value for name, value in RECIPES[recipe].items() if settled[name] is None})
    found: LinearOptions = settled
    return found


def _refuse_unread(recipe: str, options: LinearOptions) -> None:
    """Refuse options of the other type of classifier."""
    sgd = f"is for heads trained with SGD (--recipe {', '.join(name for name in RECIPES if name != LOGISTIC)})"
    unread, readers = (HeadOptions, sgd) if recipe == LOGISTIC else (Regularization, f"is for --recipe {LOGISTIC}")
    for name, each in declared(unread).items():
        given = options.get(name)
        if given is None or given is False:
            continue
        flag = each.option.flags[0] if each.option.flags else f"--{name.replace('_', '-')}"
        why = "which extracts features once anyway" if name == "cached" else "which does not read it"
        raise UserError(f"{name} ({flag}) {readers}, not for --recipe {recipe}, {why}: leave it out")
