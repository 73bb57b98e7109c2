"""What a table takes on this machine: steps, views and hours of each row, and what is done of it already."""

from __future__ import annotations

import functools
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from manyview.evaluation.linear.recipes import LOGISTIC, RECIPES
from manyview.parsing import parse_json
from manyview.recipes.reproduce.jobs import METRICS_FILE, Job
from manyview.recipes.reproduce.pace import recorded_pace
from manyview.recipes.reproduce.plan import DEFAULT_BACKBONE, PlannedRow, TablePlan
from manyview.runs import RunFolder
from manyview.runs.progress import Progress, no_progress
from manyview.runs.sealed import written_step


def forecast(plan: TablePlan, progress: Progress = no_progress) -> list[dict[str, Any]]:
    """For each row, the size of its runs and the hours that they take on this machine.

    The pace is that of a row's runs as far as they got, or else measured in seconds, once for a folder and machine.

    Args:
        plan: of the table.
        progress: called with the rows done.

    Returns:
        By row: "row", "recipe", "settings", "seeds", "steps", "views_per_step", "views", "images" (of a seed, as seen,
        each image as often as it is), "hours" (of all seeds, pre-training) and "hours_left", "evaluation_hours" and
        "evaluation_hours_left" (None where nothing tells), "state" (jobs by state), "left_out". What rows share is
        counted in the first.
    """
    entries, counted = [], set[str]()
    for index, planned in enumerate(plan.rows):
        progress(index, len(plan.rows), "measuring the pace")
        entries.append(_entry(plan, planned, counted))
    progress(len(plan.rows), len(plan.rows), "measuring the pace")
    return entries


def _entry(plan: TablePlan, planned: PlannedRow, counted: set[str]) -> dict[str, Any]:
    run = planned.seeds[0].run if planned.seeds else None
    hours, left = _training_hours(plan, planned, counted)
    evaluations = [each.job for seed in planned.seeds for each in seed.measurements if each.job.folder not in counted]
    counted.update(job.folder for job in evaluations)
    taken = [(job, _evaluation_hours(plan, job, _network(plan, planned))) for job in evaluations]
    return {
        "row": planned.row.name,
        "recipe": planned.row.recipe,
        "settings": planned.row.settings,
        "seeds": len(planned.seeds),
        "steps": run.plan.steps if run else None,
        "views_per_step": run.plan.views_per_step if run else None,
        "views": run.views if run else None,
        "images": run.images if run else None,
        "hours": hours,
        "hours_left": left,
        "evaluation_hours": _sum(hours for _, hours in taken),
        "evaluation_hours_left": _sum(hours for job, hours in taken if job.state != "done"),
        "state": dict(Counter(job.state for seed in planned.seeds for job in seed.jobs)),
        "left_out": planned.left_out,
    }


def _network(plan: TablePlan, planned: PlannedRow) -> str:
    """Name of a row's backbone; weights that are given, which are not opened, are taken for the scale's."""
    if planned.base is not None:
        return planned.base.config.backbone.name
    making = planned.seeds[0].making if planned.seeds else None
    return str(making.options["backbone"]) if making else plan.scale.backbone or DEFAULT_BACKBONE


def _training_hours(plan: TablePlan, planned: PlannedRow, counted: set[str]) -> tuple[float, float]:
    """Hours of a row's pre-training, over its seeds, and of what is left of it."""
    if planned.base is None:
        return 0.0, 0.0
    runs = [seed.run for seed in planned.seeds if seed.run and str(seed.run.folder) not in counted]
    if not runs:
        return 0.0, 0.0
    counted.update(str(run.folder) for run in runs)
    folders = [RunFolder(run.folder) for run in runs]
    pace = recorded_pace(folders) or plan.paces.step(planned.base)
    steps, done = sum(run.plan.steps for run in runs), sum(written_step(folder.weights) for folder in folders)
    return steps * pace / 3600, (steps - done) * pace / 3600


def _evaluation_hours(plan: TablePlan, job: Job, backbone: str) -> float | None:
    """Hours of an evaluation: as another of its kind took, or by the pace of features; None where nothing tells."""
    folder = Path(job.folder)
    recorded = [_seconds(file) for file in folder.parent.parent.glob(f"*/{folder.name}/{METRICS_FILE}")]
    known = [seconds for seconds in recorded if seconds is not None]
    if known:
        return statistics.fmean(known) / 3600
    if job.kind not in ("linear", "knn"):
        return None
    options = job.options
    each = plan.paces.image(backbone, options["size"], options["workers"], options["device"])
    return each * _passes(job) / 3600


def _passes(job: Job) -> int:
    """Images that go through the backbone in an evaluation, with training images counted in each of their epochs."""
    options, epochs = job.options, 1
    recipe = str(options.get("recipe", LOGISTIC))
    if job.kind == "linear" and recipe != LOGISTIC and not options.get("cached"):
        usual: Any = RECIPES[recipe]["epochs"]
        epochs = int(options.get("epochs") or usual)
    train, val = (_count(Path(options[name])) for name in ("train_labels", "val_labels"))
    return epochs * train + val


@functools.cache
def _count(labels: Path) -> int:
    """Images that a label file names, roughly."""
    from manyview.labels.formats import read_image_labels

    return len(read_image_labels(labels).entries)


def _seconds(file: Path) -> float | None:
    try:
        return float(parse_json(file.read_text())["provenance"]["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sum(hours: Iterable[float | None]) -> float | None:
    """The sum; None if a part is unknown."""
    known = list(hours)
    return None if None in known else math.fsum(each for each in known if each is not None)


def total(entries: Iterable[Mapping[str, Any]], name: str) -> float:
    """Sum over rows of what is known."""
    return math.fsum(entry[name] or 0.0 for entry in entries)
