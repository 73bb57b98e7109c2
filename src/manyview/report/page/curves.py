"""A run's log as charts: plain data, drawn here as static SVG and in the browser again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manyview.report.page.reading.run import Run, is_number

MOST_POINTS = 600
"""Points of a curve: of more, the lowest and the highest of each stretch are kept."""

# Entries of records that are no losses.
_NO_LOSSES = frozenset(
    {"step", "kind", "epoch", "learning_rate", "std", "rank", "elapsed", "views_per_second", "waiting", "seconds"}
)
_LOSSES = {
    "loss": ("Loss", "What is minimized, weights of its terms included."),
    "similarity": (
        "Similarity loss L_sim",
        "Between the two views of each pair; Figure 4 of the paper shows its fall.",
    ),
    "image_aware": ("Image-aware loss L_ia", "All views of an image against those of others (Eq. 1)."),
}
_QUALITY = {
    "rankme": ("RankMe", "Effective number of directions of the features; higher is not always better."),
    "dense": ("Dense structure", "Of feature maps (arXiv 2510.17299); it goes with what segmentation gets."),
    "alpha_req": ("alpha-ReQ", "Decay of the features' spectrum; near 1 is best."),
    "uniformity": ("Uniformity", "0: all features the same; about -4: spread evenly."),
    "std": ("Standard deviation of the features", "As a share of 1/sqrt(d); 1: spread evenly."),
}


@dataclass(frozen=True, slots=True)
class Series:
    """A curve.

    Attributes:
        run: number of its run.
        name: what it shows, where a chart has several quantities; "" for one.
        style: number of its dashes: 0 solid, 1 dashed, 2 dotted.
        steps: optimizer steps of its points, ascending.
        values: at those steps.
        thin: drawn thin, behind the others.
        marks: every point is marked.
    """

    run: int
    name: str
    style: int
    steps: tuple[int, ...]
    values: tuple[float, ...]
    thin: bool = False
    marks: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over a common axis.

    Attributes:
        key: its id on the page.
        title: what is drawn.
        about: how to read it, in a sentence.
        series: the curves.
        percent: values are fractions of 1, shown in percent.
        lines: values with a name, such as thresholds, drawn across.
        zero: the axis begins at zero.
    """

    key: str
    title: str
    about: str
    series: tuple[Series, ...]
    percent: bool = False
    lines: tuple[tuple[float | int, str], ...] = ()
    zero: bool = False

    @property
    def log(self) -> bool:
        """Whether a logarithmic axis makes sense."""
        return not self.percent and all(value > 0 for series in self.series for value in series.values)


Group = tuple[str, tuple[Chart, ...]]
"""A title and its charts."""


def charts(runs: Sequence[Run]) -> list[Group]:
    """The charts of runs that are drawn over each other, in groups; those without any point are left out."""
    groups = {
        "Losses": _losses(runs),
        "Collapse": _collapse(runs),
        "Quality of the backbone": _quality(runs),
        "Pace": _pace(runs),
    }
    kept = {title: tuple(chart for chart in found if chart.series) for title, found in groups.items()}
    return [(title, found) for title, found in kept.items() if found]


def axes(run: Run) -> dict[str, Any]:
    """What turns a run's steps into epochs, views and hours: plain data for the browser."""
    timed = [record for record in run.log if is_number(record.get("elapsed"))]
    clock = sorted(({0: 0.0} | {record["step"]: round(record["elapsed"] / 3600, 6) for record in timed}).items())
    return {
        "name": run.name,
        "perEpoch": run.plan("steps_per_epoch"),
        "viewsPerStep": run.plan("views_per_step"),
        "clock": _every(clock, MOST_POINTS) if len(clock) > 1 else None,
    }


def to_data(runs: Sequence[Run], groups: Sequence[Group]) -> dict[str, Any]:
    """The charts as plain data for the browser."""
    return {
        "runs": [axes(run) for run in runs],
        "charts": [
            {
                "key": chart.key,
                "title": chart.title,
                "percent": chart.percent,
                "log": chart.log,
                "zero": chart.zero,
                "lines": [{"y": value, "name": name} for value, name in chart.lines],
                "series": [
                    {
                        "run": series.run,
                        "name": series.name,
                        "style": series.style,
                        "thin": series.thin,
                        "marks": series.marks,
                        "x": series.steps,
                        "y": [float(f"{value:.6g}") for value in series.values],
                    }
                    for series in chart.series
                ],
            }
            for _, found in groups
            for chart in found
        ],
    }


def _losses(runs: Sequence[Run]) -> Iterable[Chart]:
    names = dict.fromkeys(
        name
        for run in runs
        for record in run.log
        if record.get("kind") in ("step", "epoch")
        for name, value in record.items()
        if name not in _NO_LOSSES and is_number(value)
    )
    methods = {str(run.setting("method.name")) for run in runs}
    differ = " Losses of different methods do not compare." if len(methods) > 1 else ""
    for name in sorted(names, key=lambda each: (each != "loss", list(names).index(each))):
        title, about = _LOSSES.get(name, (name.replace("_", " ").capitalize(), "A term or measure of the method."))
        series = []
        for number, run in enumerate(runs):
            steps = _series(number, "single steps", 0, run.records("step"), name, thin=True)
            epochs = _series(number, "mean of the epoch", 0, run.records("epoch"), name)
            series += [each for each in (steps, epochs) if each is not None]
        yield Chart(f"loss-{name}", title, f"{about}{differ}", tuple(series))


def _collapse(runs: Sequence[Run]) -> Iterable[Chart]:
    least, *others = (run.setting("monitor.min_std") for run in runs)
    of_all = is_number(least) and all(each == least for each in others)
    lines = ((float(least), "low below this"),) if of_all else ()
    about = "Of z/|z|, as a share of 1/sqrt(d): near 1 is healthy, 0 is collapse."
    yield Chart("std", "Standard deviation of the projections", about, _both(runs, "std"), lines=lines, zero=True)
    about = "Number of directions that the projections of a batch use."
    yield Chart("rank", "Effective rank of the projections", about, _both(runs, "rank"), zero=True)


def _quality(runs: Sequence[Run]) -> Iterable[Chart]:
    series = []
    for number, run in enumerate(runs):
        for style, (key, name) in enumerate({"logistic": "logistic regression", "knn": "nearest neighbors"}.items()):
            found = _series(number, name, style, run.records("quality"), key, marks=True)
            series += [found] if found else []
    about = "On labeled images held out of the training of the classifiers; the first point is before the first step."
    yield Chart("map", "mAP as it trains, %", about, tuple(series), percent=True)
    for key, (title, about) in _QUALITY.items():
        found_of = [_series(number, "", 0, run.records("quality"), key, marks=True) for number, run in enumerate(runs)]
        yield Chart(f"quality-{key}", title, about, tuple(each for each in found_of if each))


def _pace(runs: Sequence[Run]) -> Iterable[Chart]:
    def of(key: str, scale: Callable[[float], float] = float) -> tuple[Series, ...]:
        return _both(runs, key, scale)

    yield Chart(
        "learning-rate",
        "Learning rate",
        "Of the backbone unless its factor says otherwise.",
        of("learning_rate"),
        zero=True,
    )
    yield Chart("pace", "Views a second", "Mean of the last 50 steps.", of("views_per_second"), zero=True)
    about = "Share of the time in which training waits for the loader; above a third, more workers may help."
    yield Chart("waiting", "Waiting for data, %", about, of("waiting"), percent=True, zero=True)


def _both(runs: Sequence[Run], key: str, scale: Callable[[float], float] = float) -> tuple[Series, ...]:
    """A quantity that records of steps and of epochs have, a curve for each run."""
    found = []
    for number, run in enumerate(runs):
        records = [record for record in run.log if record.get("kind") in ("step", "epoch")]
        series = _series(number, "", 0, records, key)
        found += [series] if series else []
    return tuple(found)


def _series(
    run: int,
    name: str,
    style: int,
    records: Iterable[Mapping[str, Any]],
    key: str,
    *,
    thin: bool = False,
    marks: bool = False,
) -> Series | None:
    """A curve of an entry of records; None where none of them has it. The last record of a step counts."""
    by_step = {record["step"]: float(record[key]) for record in records if is_number(record.get(key))}
    if not by_step:
        return None
    steps, values = thinned(sorted(by_step), [by_step[step] for step in sorted(by_step)])
    return Series(run, name, style, tuple(steps), tuple(values), thin, marks or len(steps) == 1)


def thinned(
    steps: Sequence[int], values: Sequence[float | int], most: int = MOST_POINTS
) -> tuple[list[int], list[float | int]]:
    """At most so many points of a curve: the ends, and of each stretch the lowest and the highest."""
    if len(steps) <= most:
        return list(steps), list(values)
    stretches = (most - 2) // 2
    kept = {0, len(steps) - 1}
    for number in range(stretches):
        begin, end = (1 + at * (len(steps) - 2) // stretches for at in (number, number + 1))
        if begin < end:
            kept |= {min(range(begin, end), key=values.__getitem__), max(range(begin, end), key=values.__getitem__)}
    order = sorted(kept)
    return [steps[each] for each in order], [values[each] for each in order]


def _every(points: Sequence[tuple[int, float | int]], most: int) -> list[tuple[int, float | int]]:
    """At most so many points, evenly spaced; the last is kept."""
    apart = -(-len(points) // most)
    kept = list(points[::apart])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]
