"""Content of a table's TOML file: rows, evaluations with their metrics, and published figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt, model_validator

from manyview.config.resolve import flatten, nearest_name
from manyview.config.section import Positive, PositiveInt, Section
from manyview.config.training import BUDGETS
from manyview.errors import UserError
from manyview.options.base import declared
from manyview.options.detection import FineTuneOptions
from manyview.options.labeled import KnnOptions, LinearOptions
from manyview.options.shared import CsvLayout
from manyview.recipes.reproduce.files import find, read
from manyview.runs.figures import MULTI_LABEL

DETECTION = tuple(f"{protocol}.{figure}" for protocol in ("box", "mask", "voc") for figure in ("AP", "AP50", "AP75"))
METRICS: Mapping[str, tuple[str, ...]] = {"linear": MULTI_LABEL, "knn": MULTI_LABEL, "detect": DETECTION}
"""What can be read from an evaluation's metrics.json, by verb."""

OPTIONS: Mapping[str, type] = {"linear": LinearOptions, "knn": KnnOptions, "detect": FineTuneOptions}
# What reproduce itself gives to every evaluation.
_GIVEN = frozenset(
    {
        "images",
        "train_labels",
        "val_labels",
        "val_images",
        "out",
        "resume",
        "seed",
        "beside",
        *CsvLayout.__annotations__,
    }
)
RANDOM = "random"


class Evaluation(Section):
    """An evaluation of every row, and the metrics that are columns."""

    verb: Literal["linear", "knn", "detect"] = "linear"
    metrics: Annotated[tuple[str, ...], Field(min_length=1)]
    options: dict[str, Any] = Field({})
    enlarge: Positive = 1.0
    """Side of the images as a multiple of the scale's."""
    data: str | None = None
    """Name of its images and labels; unset: those of the runs."""

    @model_validator(mode="after")
    def _is_known(self) -> Evaluation:
        for metric in self.metrics:
            if metric not in METRICS[self.verb]:
                raise ValueError(f"{self.verb} has no metric {metric!r}{nearest_name(metric, METRICS[self.verb])}")
        check_options(self.verb, self.options)
        if self.verb == "detect" and self.enlarge != 1:
            raise ValueError("enlarge has no effect on detect, whose options say the sizes: leave it out")
        return self


def check_options(verb: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a verb does not have, or that ``reproduce`` gives itself.

    Raises:
        ValueError: which, and the nearest one.
    """
    known = [name for name in declared(OPTIONS[verb]) if name not in _GIVEN]
    unknown = next((name for name in options if name not in known), None)
    if unknown is not None:
        raise ValueError(f"{verb} takes no option {unknown!r} here{nearest_name(unknown, known)}")


class Row(Section):
    """A row: a recipe with settings that is pre-trained, or weights that exist."""

    name: str
    recipe: str | None = None
    weights: str | None = None
    """"random", or a file or run folder relative to the table's file."""
    given: str | None = None
    """Name of weights that the user gives."""
    set: dict[str, Any] = Field({})
    batch_size: Annotated[StrictInt, Field(ge=2)] | None = None
    """Images a step at most, instead of the recipe's."""
    epochs: PositiveInt | None = None
    """Length where each row is as long as in the paper; unset: the recipe's."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the scale's budget."""
    evaluate: dict[str, Any] = Field({})
    """Options that all evaluations of this row have."""
    paper: dict[str, float] = Field({})
    """Published figures in percent, by column."""
    note: str = ""

    @model_validator(mode="after")
    def _is_one_thing(self) -> Row:
        given = [name for name in ("recipe", "weights", "given") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"row {self.name!r} needs one of recipe, weights and given, not {' and '.join(given) or 'none'}"
            )
        if self.recipe is None and self.set:
            raise ValueError(f"row {self.name!r} has settings, but no recipe that reads them")
        budgets = {f"training.{name}" for name in BUDGETS} & self.settings.keys()
        if budgets:
            raise ValueError(
                f"row {self.name!r} sets {min(budgets)}, but what rows have in common says how long they are: "
                "give it a share, or epochs"
            )
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """``set`` by dotted key."""
        return flat(self.set)


class Curves(Section):
    """Curves of pre-training itself, from the runs' metrics.jsonl."""

    quantities: Annotated[
        tuple[Literal["loss", "similarity", "image_aware", "std", "rank", "mAP"], ...], Field(min_length=1)
    ]
    over: Annotated[tuple[Literal["epochs", "views"], ...], Field(min_length=1)] = ("epochs", "views")


@dataclass(frozen=True)
class Column:
    """A column of a table: a metric of an evaluation."""

    title: str
    evaluation: str
    metric: str


class Table(Section):
    """A table or a figure of curves."""

    title: str
    source: str = ""
    notes: tuple[str, ...] = ()
    evaluations: dict[str, Evaluation] = Field({})
    picture: tuple[str, ...] = ()
    """Columns that are drawn; unset: the first of each evaluation."""
    curves: Curves | None = None
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns in order; titled by the metric, after the evaluation's name where there are several."""
        several = len(self.evaluations) > 1
        return tuple(
            Column(_title(name, metric) if several else metric.removeprefix("box."), name, metric)
            for name, evaluation in self.evaluations.items()
            for metric in evaluation.metrics
        )

    @property
    def drawn(self) -> tuple[Column, ...]:
        """The columns of the picture."""
        if self.picture:
            return tuple(column for column in self.columns if column.title in self.picture)
        return tuple(next(each for each in self.columns if each.evaluation == name) for name in self.evaluations)

    @model_validator(mode="after")
    def _has_something_to_show(self) -> Table:
        if not self.evaluations and self.curves is None:
            raise ValueError("a table needs evaluations with metrics, or curves")
        return self

    @model_validator(mode="after")
    def _rows_fit(self) -> Table:
        names = [row.name for row in self.rows]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the row {twice!r} is there twice: give each its own name")
        titles = [column.title for column in self.columns]
        twice = next((title for title in titles if titles.count(title) > 1), None)
        if twice is not None:
            raise ValueError(f"two columns are titled {twice!r}: leave one out, or rename its evaluation")
        for row in self.rows:
            unknown = next((title for title in row.paper if title not in titles), None)
            if unknown is not None:
                raise ValueError(
                    f"row {row.name!r} has a figure of the paper for {unknown!r}{nearest_name(unknown, titles)}"
                )
            _check_evaluate(self.evaluations.values(), row)
        unknown = next((title for title in self.picture if title not in titles), None)
        if unknown is not None:
            raise ValueError(f"picture names no column {unknown!r}{nearest_name(unknown, titles)}")
        return self


def _title(evaluation: str, metric: str) -> str:
    """Title of a column among those of several evaluations: "coco AP", "coco mask AP", "voc AP"."""
    return f"{evaluation} {metric.removeprefix('box.').removeprefix(f'{evaluation}.').replace('.', ' ')}"


def _check_evaluate(evaluations: Iterable[Evaluation], row: Row) -> None:
    for evaluation in evaluations:
        try:
            check_options(evaluation.verb, row.evaluate)
        except ValueError as error:
            raise ValueError(f"row {row.name!r}: {error}") from None


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted key."""
    return {item.key: item.value for item in flatten(settings, "")}


def read_table(asked: str) -> tuple[Table, Path]:
    """A table by name or file, and its file.

    Raises:
        UserError: it does not exist or is malformed.
    """
    file = find(asked, "tables", "table")
    return read(file, Table, "table"), file


def chosen_rows(table: Table, names: Sequence[str]) -> tuple[Row, ...]:
    """The rows of some names, in the table's order; all without names.

    Raises:
        UserError: there is no row of a name.
    """
    known = [row.name for row in table.rows]
    for name in names:
        if name not in known:
            raise UserError(f"the table has no row {name!r}{nearest_name(name, known)}")
    return tuple(row for row in table.rows if not names or row.name in names)


def fraction(percent: float | None) -> float | None:
    """A figure in percent as a fraction of 1; None for none."""
    return None if percent is None or math.isnan(percent) else percent / 100
