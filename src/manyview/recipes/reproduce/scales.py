"""Content of a scale's TOML file: network, size of the views, budgets, batches, seeds and instruments."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StrictInt, model_validator

from manyview.config.resolve import nearest_name
from manyview.config.section import Positive, PositiveInt, Section
from manyview.errors import UserError
from manyview.options.reproduce import Match
from manyview.recipes.named import RECIPES
from manyview.recipes.reproduce.files import find, read
from manyview.recipes.reproduce.tables import check_options, flat

OF_MATCH = {"views": "views", "images": "images", "steps": "steps", "time": "hours"}
"""The budget that each way of matching rows spends."""


class Budget(Section):
    """How much a whole row gets, by what is equal between rows."""

    views: PositiveInt | None = None
    images: PositiveInt | None = None
    steps: PositiveInt | None = None
    hours: Positive | None = None


class RecipeAtScale(Section):
    """What a scale changes of one recipe."""

    set: dict[str, Any] = Field({})
    views_per_step: PositiveInt | None = None


class Scale(Section):
    """Size of the runs and evaluations of a table."""

    title: str
    backbone: str | None = None
    view_size: Annotated[StrictInt, Field(ge=8)] | None = None
    views_per_step: PositiveInt | None = None
    """Views a step at most; a recipe of fewer keeps its own."""
    match: Match = "views"
    budget: Budget = Budget()
    seeds: PositiveInt = 1
    size: Annotated[StrictInt, Field(ge=8)] = 224
    """Side of the images in evaluations, before an evaluation's ``enlarge``."""
    set: dict[str, Any] = Field({})
    recipes: dict[str, RecipeAtScale] = Field({})
    instruments: dict[str, dict[str, Any]] = Field({"logistic": {}})
    """Options of linear evaluations by name; each makes its own columns."""
    knn: dict[str, Any] = Field({})
    detect: dict[str, Any] = Field({})
    with_objects: bool = False
    """Pre-train only on images in which the training labels have an object."""

    @model_validator(mode="after")
    def _options_are_known(self) -> Scale:
        for name in self.instruments:
            check_options("linear", self.instruments[name])
        check_options("knn", self.knn)
        check_options("detect", self.detect)
        unknown = next((name for name in self.recipes if name not in RECIPES), None)
        if unknown is not None:
            raise ValueError(f"recipes.{unknown}: there is no such recipe{nearest_name(unknown, list(RECIPES))}")
        if not self.instruments:
            raise ValueError("instruments is empty: give one at least")
        return self

    def settings(self, recipe: str) -> dict[str, Any]:
        """Settings of a recipe's runs by dotted key."""
        own = self.recipes.get(recipe)
        return {**flat(self.set), **(flat(own.set) if own else {})}

    def step_views(self, recipe: str) -> int | None:
        """Views a step of a recipe at most."""
        own = self.recipes.get(recipe)
        return own.views_per_step if own and own.views_per_step else self.views_per_step


def read_scale(asked: str) -> Scale:
    """A scale by name or file.

    Raises:
        UserError: it does not exist or is malformed.
    """
    return read(find(asked, "scales", "scale"), Scale, "scale")


def matched_amount(scale: Scale, match: str | None, budget: float | int | None) -> tuple[Match, float | None]:
    """What is equal between rows, and how much of it a whole row gets; None where each has its own length.

    Args:
        scale: the scale.
        match: instead of the scale's.
        budget: instead of the scale's.

    Raises:
        UserError: there is no budget for it, or a budget without use.
    """
    equal: Any = match or scale.match
    if equal not in get_args(Match):
        raise UserError(f"match must be one of {', '.join(get_args(Match))}, not {equal!r}")
    if equal == "own":
        if budget is not None:
            raise UserError("--budget has no effect with --match own, where each row has its own length: leave it out")
        return equal, None
    amount = budget if budget is not None else getattr(scale.budget, OF_MATCH[equal])
    if amount is None:
        raise UserError(
            f"this scale does not say how much a row gets with --match {equal}: give it {OF_MATCH[equal]} by --budget"
        )
    if not amount > 0:
        raise UserError(f"--budget must be above 0, not {amount:g}")
    return equal, float(amount)


Instrument = tuple[str, dict[str, Any]]


def instruments(scale: Scale, verb: Literal["linear", "knn", "detect"]) -> list[Instrument]:
    """Name and options of each instrument of a verb."""
    if verb == "linear":
        return [(name, dict(options)) for name, options in scale.instruments.items()]
    return [(verb, dict(scale.knn if verb == "knn" else scale.detect))]
