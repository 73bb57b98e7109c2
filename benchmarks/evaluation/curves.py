"""mAP over the views that pre-training has seen, as a picture and a table, from evaluations of finished runs.

    python -m benchmarks.evaluation.curves recommended=lin/a,lin/b simsiam=lin/c \
        --level ImageNet=lin/imagenet --out curves

An evaluation is a folder of ``manyview linear``, whose metrics.json names the weights; the views are those that the run
beside them had seen at the weights' step. Each point is a run with a schedule of its own, annealed to the end. Random
initialization is the mean of the evaluations that have it (``manyview linear RUN --beside random``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.arguments import command_line
from benchmarks.records import table, write_json
from manyview.backbones.beside import PRETRAINED, RANDOM_INIT
from manyview.backbones.checkpoint import find_weights
from manyview.backbones.files import read_tensors
from manyview.errors import UserError
from manyview.runs import atomic_write, run_at


@dataclass(frozen=True)
class Point:
    """One run.

    Attributes:
        views: seen in pre-training, in all.
        mAP: in percent.
        random: mAP of random init in the same evaluation, if it has any.
        evaluation: folder of the evaluation.
    """

    views: int
    mAP: float  # noqa: N815 - as the metric is spelled
    random: float | None
    evaluation: str


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    curves = {name: sorted(map(read_point, folders), key=lambda point: point.views) for name, folders in options.curves}
    levels = {name: percent(read_results(folder)[PRETRAINED]) for name, [folder] in options.level}
    options.out.mkdir(parents=True, exist_ok=True)
    content = {name: [asdict(point) for point in points] for name, points in curves.items()}
    write_json(options.out / "curves.json", {"curves": content, "levels": levels})
    atomic_write(options.out / "curves.md", as_table(curves, levels))
    draw(curves, levels, options.out / "curves.png")
    print((options.out / "curves.md").read_text())


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("curves", nargs="+", type=named, metavar="NAME=DIR[,DIR...]", help="evaluations of a curve")
    parser.add_argument("--level", action="append", default=[], type=named, metavar="NAME=DIR", help="a level line")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args(arguments)


def named(text: str) -> tuple[str, list[Path]]:
    """``NAME=DIR,DIR``."""
    name, equal, folders = text.partition("=")
    if not (name and equal and folders):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR")
    return name, [Path(folder) for folder in folders.split(",")]


def read_results(folder: Path) -> Mapping[str, Mapping[str, float]]:
    """The figures of an evaluation, by backbone."""
    results: Mapping[str, Mapping[str, float]] = json.loads((folder / "metrics.json").read_text())["results"]
    return results


def read_point(folder: Path) -> Point:
    """An evaluation and the views that the run that it measured had seen.

    Raises:
        UserError: its weights are not those of a run, or cannot be read.
    """
    weights = Path(json.loads((folder / "metrics.json").read_text())["protocol"]["weights"])
    run = run_at(weights)
    if run is None:
        raise UserError(f"{folder} measured {weights}, which are not a run's: nothing says how many views they saw")
    # A run may have ended before its planned steps, and weights kept as its best are earlier ones.
    step = int(read_tensors(find_weights(weights)).metadata["step"])
    views, results = step * run.read_json("run.json")["plan"]["views_per_step"], read_results(folder)
    random = percent(results[RANDOM_INIT]) if RANDOM_INIT in results else None
    return Point(views, percent(results[PRETRAINED]), random, str(folder))


def percent(result: Mapping[str, float]) -> float:
    return 100 * result["mAP"]


def untrained(curves: Mapping[str, Iterable[Point]]) -> float | None:
    """Mean mAP of random init."""
    found = [point.random for points in curves.values() for point in points if point.random is not None]
    return sum(found) / len(found) if found else None


def as_table(curves: Mapping[str, Sequence[Point]], levels: Mapping[str, float]) -> str:
    start = untrained(curves)
    rows = [["random init", "0", f"{start:.1f}"]] if start is not None else []
    for name, points in curves.items():
        for views in sorted({point.views for point in points}):
            figures = [f"{point.mAP:.1f}" for point in points if point.views == views]
            rows.append([f"`{name}`", f"{views:,}", ", ".join(figures)])
    rows += [[name, "", f"{level:.1f}"] for name, level in levels.items()]
    return table(["", "views", "mAP"], rows)


def draw(curves: Mapping[str, Sequence[Point]], levels: Mapping[str, float], file: Path) -> None:
    """Points of all runs, a line through the means at equal numbers of views, and level lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="views seen in pre-training", ylabel="mAP, %")
    for name, points in curves.items():
        at = sorted({point.views for point in points})
        means = [[point.mAP for point in points if point.views == views] for views in at]
        (line,) = axes.plot(at, [sum(group) / len(group) for group in means], "o-" if len(at) < 2 else "-", label=name)
        axes.plot([p.views for p in points], [p.mAP for p in points], "o", markersize=4, color=line.get_color())
    start = untrained(curves)
    for name, level in {**({"random init": start} if start is not None else {}), **levels}.items():
        axes.axhline(level, color="gray", linestyle="--", linewidth=1)
        axes.annotate(name, (0.01, level), xycoords=("axes fraction", "data"), va="bottom", color="gray")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(frameon=False, loc="upper left")
    axes.grid(alpha=0.3)
    FigureCanvasAgg(figure)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
