"""The kinds of evaluation that can be compared, and what the figures in the files of each are.

A new kind is an entry of ``KINDS``: what its protocols call it, the shape of its results, and how those become points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, create_model

from manyview.evaluation.metrics.precision_recall import OVERALL, PER_CLASS

METRICS = ("mAP", *OVERALL)
BY_CLASS = ("AP", *PER_CLASS)

_Figure = float | None  # None where it is undefined
_STRICT = ConfigDict(strict=True, extra="ignore")
_REPORT_FIELDS: dict[str, Any] = {
    **dict.fromkeys(METRICS, (_Figure, ...)),
    "AP": (list[_Figure], ...),
    **dict.fromkeys(PER_CLASS, (list[_Figure], None)),
    "intervals": (dict[str, list[_Figure]], None),
}
Report: type[BaseModel] = create_model("Report", __config__=_STRICT, **_REPORT_FIELDS)


class Drawn(BaseModel):
    """Figures of classifiers fitted on a part of the labels, by draw."""

    model_config = _STRICT
    fraction: float
    images: int
    runs: list[Report]  # type: ignore[valid-type]  # made above, from the metrics' names


@dataclass(frozen=True, slots=True)
class Point:
    """What one backbone gave with one amount of labels.

    Attributes:
        fraction: of the training photographs; None where an evaluation has but one amount.
        images: how many those are; None likewise.
        runs: the figures of each draw of the photographs; one where nothing is drawn.
    """

    fraction: float | None
    images: int | None
    runs: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of evaluation.

    Attributes:
        verb: of the command that makes it.
        title: of its tables.
        evaluation: what "evaluation" says in its protocols.
        headline: keys of the protocol that stand above its tables.
        parse: checks "results" of its files; raises pydantic's ``ValidationError``.
        points: those of one backbone, from what ``parse`` gives for it.
    """

    verb: str
    title: str
    evaluation: str
    headline: tuple[str, ...]
    parse: Callable[[Any], dict[str, Any]]
    points: Callable[[Any], tuple[Point, ...]]


def _single(report: BaseModel) -> tuple[Point, ...]:
    return (Point(None, None, (report.model_dump(exclude_unset=True),)),)


def _curve(entries: list[Drawn]) -> tuple[Point, ...]:
    return tuple(
        Point(entry.fraction, entry.images, tuple(run.model_dump(exclude_unset=True) for run in entry.runs))  # type: ignore[attr-defined]
        for entry in entries
    )


KINDS = (
    Kind(
        "linear",
        "Multi-label linear evaluation",
        "multi-label linear classification on a frozen backbone",
        ("pool", "size", "cached", "epochs", "threshold"),
        TypeAdapter(dict[str, Report]).validate_python,
        _single,
    ),
    Kind(
        "knn",
        "Multi-label kNN",
        "multi-label classification by the nearest neighbours of a frozen backbone's features",
        ("pool", "size", "neighbours", "temperature", "threshold"),
        TypeAdapter(dict[str, Report]).validate_python,
        _single,
    ),
    Kind(
        "probe",
        "One-vs-rest linear classification on a part of the labels",
        "one-vs-rest linear classification on a frozen backbone's features of some training photographs",
        ("pool", "size", "classifier", "scaling", "costs"),
        TypeAdapter(dict[str, list[Drawn]]).validate_python,
        _curve,
    ),
)
