"""Mean and standard deviation of each group's metrics, and differences to the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyview.backbones.beside import PRETRAINED, RANDOM_INIT
from manyview.errors import UserError
from manyview.evaluation.compare.group import Group
from manyview.evaluation.compare.read import Evaluation, Point
from manyview.evaluation.metrics.bootstrap import summarize

_Curve = tuple[Point, ...]


def summary_rows(groups: Sequence[Group], baseline: str) -> list[dict[str, Any]]:
    """Rows of metrics, one for each group and amount of labels, and for the baselines of their evaluations.

    Figures of the same weights with other seeds are often equal to the last digit, as with kNN no seed matters; they
    count once, and so do those of one baseline in several evaluations.

    Returns:
        rows with "group" (name; for baselines the names of the groups that share them, None for all), "network"
        ("pretrained", "random_init", "initial" or another baseline's name), "norm_statistics" (of random
        initialization: "measured", "zero-one" or None), "fraction" and "images" (None unless the evaluation varies the
        number of labels), "over" (what "std" is taken over: "evaluations"; "draws" of the labeled images, if a group is
        one evaluation; None for a single figure), "summary" (what ``summarize`` returns), "intervals" (over images, of
        a single figure that has them, else None) and "difference" (of means to the baseline's, by metric; None for the
        baseline itself, and if it lacks the fraction).
    """
    rows = [row for group in groups for row in _rows(group.name, PRETRAINED, _pretrained(group))]
    for network in _baselines(groups):
        for shared in _shared(groups, network):
            rows += _rows(shared.name, network, shared.curves, shared.norm_statistics)
    base = {
        row["fraction"]: row["summary"] for row in rows if row["group"] == baseline and row["network"] == PRETRAINED
    }
    for row in rows:
        own = row["group"] == baseline and row["network"] == PRETRAINED
        to = None if own else base.get(row["fraction"])
        row["difference"] = None if to is None else _difference(row["summary"], to)
    return rows


def common_fraction(rows: Iterable[Mapping[str, Any]]) -> float | None:
    """The largest share of the labels that all groups have; None if labels do not vary.

    Raises:
        UserError: if no share is common to all.
    """
    by_group: dict[str, set[float | None]] = {}
    for row in rows:
        if row["network"] == PRETRAINED:
            by_group.setdefault(row["group"], set()).add(row["fraction"])
    common = set.intersection(*by_group.values())
    if not common:
        raise UserError(
            "the evaluations have no fraction of the labels in common: evaluate them with the same --fraction"
        )
    return None if None in common else max(fraction for fraction in common if fraction is not None)


def _pretrained(group: Group) -> list[_Curve]:
    """Metrics of the members of a group; equal figures of the same weights once."""
    distinct: list[Evaluation] = []
    for member in group.members:
        if not any(
            _weights(member) == _weights(other)
            and _figures(member.points[PRETRAINED]) == _figures(other.points[PRETRAINED])
            for other in distinct
        ):
            distinct.append(member)
    return [member.points[PRETRAINED] for member in distinct]


def _weights(evaluation: Evaluation) -> str:
    return str(evaluation.protocol["weights_sha256"])


def _baselines(groups: Sequence[Group]) -> list[str]:
    """Names of all baselines, random init first."""
    names = dict.fromkeys(name for group in groups for member in group.members for name in member.points)
    return [name for name in {RANDOM_INIT: None, **names} if name in names and name != PRETRAINED]


@dataclass(slots=True)
class _Shared:
    """Metrics of a baseline, and the groups that share them.

    Attributes:
        groups: their names.
        curves: metrics in the evaluations, equal ones once.
        norm_statistics: of random init; None for other baselines.
        name: of the groups; None for all of them.
    """

    groups: list[str]
    curves: list[_Curve]
    norm_statistics: str | None
    name: str | None = None


def _shared(groups: Sequence[Group], network: str) -> list[_Shared]:
    """Metrics of a baseline by the groups that share them."""
    shared: list[_Shared] = []
    for group in groups:
        curves: list[_Curve] = []
        for member in group.members:
            curve = member.points.get(network)
            if curve is not None and all(_figures(curve) != _figures(other) for other in curves):
                curves.append(curve)
        if not curves:
            continue
        same = next((each for each in shared if _same(curves, each.curves)), None)
        if same is None:
            statistics = group.norm_statistics if network == RANDOM_INIT else None
            shared.append(_Shared([group.name], curves, statistics))
        else:
            same.groups.append(group.name)
    for each in shared:
        if len(each.groups) < len(groups):
            each.name = ", ".join(each.groups)
    return shared


def _same(curves: Sequence[_Curve], others: Sequence[_Curve]) -> bool:
    """Whether two sets of curves hold the same figures, in any order."""
    figures = [[_figures(curve) for curve in side] for side in (curves, others)]
    return len(figures[0]) == len(figures[1]) and all(own in figures[1] for own in figures[0])


def _figures(curve: _Curve) -> list[Any]:
    """All metrics but the intervals, which depend on the bootstrap's seed."""
    return [
        (point.fraction, [{key: run[key] for key in run if key != "intervals"} for run in point.runs])
        for point in curve
    ]


def _rows(
    name: str | None, network: str, curves: Sequence[_Curve], norm_statistics: str | None = None
) -> list[dict[str, Any]]:
    """A row for each amount of labels, which are the same in all curves."""
    rows = []
    for points in zip(*curves, strict=True):
        runs = [_mean(point) for point in points] if len(points) > 1 else points[0].runs
        over = "evaluations" if len(points) > 1 else "draws" if len(runs) > 1 else None
        row = {"group": name, "network": network, "norm_statistics": norm_statistics}
        row |= {"fraction": points[0].fraction, "images": points[0].images}
        intervals = runs[0].get("intervals") if over is None else None
        rows.append({**row, "over": over, "summary": summarize(runs), "intervals": intervals})
    return rows


def _mean(point: Point) -> Mapping[str, Any]:
    """Metrics of one evaluation, averaged over its draws."""
    return {metric: entry["mean"] for metric, entry in summarize(point.runs).items()}


def _difference(summary: Mapping[str, Any], to: Mapping[str, Any]) -> dict[str, Any]:
    """Differences of the means of the metrics that both have."""
    return {
        metric: (np.asarray(entry["mean"]) - np.asarray(to[metric]["mean"])).tolist()
        for metric, entry in summary.items()
        if metric in to
    }


@dataclass(frozen=True, slots=True)
class ClassDifferences:
    """Average precision of one class and its differences.

    Attributes:
        name: of the class.
        positives: validation images that show it.
        baseline: mean average precision of the baseline; None if undefined.
        others: difference of each other group to it; None if undefined.
    """

    name: str
    positives: int
    baseline: float | None
    others: tuple[float | None, ...]

    @property
    def mean(self) -> float:
        """Mean difference over the other groups; nan if none is defined."""
        defined = [value for value in self.others if value is not None]
        return float(np.mean(defined)) if defined else float("nan")


def other_groups(result: dict[str, Any]) -> list[str]:
    """Names of the groups other than the baseline."""
    return [name for name in result["groups"] if name != result["protocol"]["baseline"]]


def class_differences(result: dict[str, Any], count: int | None = None) -> list[ClassDifferences]:
    """The ``count`` classes of the largest absolute mean difference; None for all.

    Returns:
        from the largest gain to the largest loss; classes without any difference at the end.
    """
    protocol = result["protocol"]
    at = {
        row["group"]: row
        for row in result["results"]
        if row["network"] == PRETRAINED and row["fraction"] == protocol["per_class_fraction"]
    }
    baseline = at[protocol["baseline"]]["summary"]["AP"]["mean"]
    others = [at[name]["difference"]["AP"] for name in other_groups(result)]
    entries = [
        ClassDifferences(name, positives, baseline[index], tuple(column[index] for column in others))
        for index, (name, positives) in enumerate(zip(protocol["classes"], protocol["val"]["positives"], strict=True))
    ]
    largest = sorted(entries, key=lambda entry: -np.nan_to_num(abs(entry.mean), nan=-1.0))
    kept = largest[:count]
    return sorted(kept, key=lambda entry: -np.nan_to_num(entry.mean, nan=-np.inf))
