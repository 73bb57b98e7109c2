"""Figures of a table, read from what its runs and evaluations have written."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from manyview.errors import UserError
from manyview.parsing import parse_json
from manyview.recipes.reproduce.jobs import METRICS_FILE, run_state
from manyview.recipes.reproduce.pace import trained_seconds
from manyview.recipes.reproduce.plan import Measurement, PlannedRow, PlannedSeed, TablePlan
from manyview.recipes.reproduce.scales import instruments
from manyview.recipes.reproduce.tables import Column, fraction
from manyview.runs import RunFolder, provenance
from manyview.runs.sealed import written_step


def gather(plan: TablePlan, failed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The table as plain data; figures are fractions of 1, None where they are missing.

    Args:
        plan: of the table.
        failed: errors by the name of the job that failed.

    Returns:
        "table", "title", "source", "notes", "scale", "equal" (what is equal between rows, and how much of it),
        "images", "columns" and "instruments"; "rows", each with "name", "recipe", "settings", "note", "left_out",
        "paper" (by column), "measured" (by instrument and column: "mean", "std" (None of one seed) and "seeds"),
        "views", "images", "steps" and "hours" (means over the seeds), and "seeds", which has the figures of each with
        the files that they are from; "failed"; "provenance".
    """
    table = plan.table
    return {
        "table": plan.name,
        "title": table.title,
        "source": table.source,
        "notes": list(table.notes),
        "scale": plan.scale_name,
        "scale_title": plan.scale.title,
        "equal": {"what": plan.equal, "amount": plan.amount},
        "images": {"folder": str(plan.inputs.files.root), "count": len(plan.inputs.files), "which": plan.inputs.chosen},
        "columns": [vars(column) for column in table.columns],
        "drawn": [column.title for column in table.drawn],
        "instruments": _instruments(plan),
        "rows": [_row(planned, table.columns) for planned in plan.rows],
        "failed": dict(failed or {}),
        "provenance": provenance(),
    }


def _instruments(plan: TablePlan) -> dict[str, list[str]]:
    """Names of the instruments of each evaluation; none without its images and labels."""
    return {
        name: [each for each, _ in instruments(plan.scale, evaluation.verb)]
        if (evaluation.data or "") in plan.inputs.labeled
        else []
        for name, evaluation in plan.table.evaluations.items()
    }


def _row(planned: PlannedRow, columns: Sequence[Column]) -> dict[str, Any]:
    row = planned.row
    seeds = [_seed(each, columns) for each in planned.seeds]
    names = dict.fromkeys(each.instrument for seed in planned.seeds for each in seed.measurements)
    return {
        "name": row.name,
        "recipe": row.recipe,
        "weights": row.weights or row.given,
        "settings": row.settings,
        "share": row.share,
        "note": row.note,
        "left_out": planned.left_out,
        "paper": {title: fraction(figure) for title, figure in row.paper.items()},
        "measured": {name: _summary(seed["figures"].get(name, {}) for seed in seeds) for name in names},
        **{name: _mean(seed[name] for seed in seeds) for name in ("views", "images", "steps", "hours")},
        "seeds": seeds,
    }


def _seed(planned: PlannedSeed, columns: Sequence[Column]) -> dict[str, Any]:
    """Figures of a row with one seed, and where they are from."""
    figures: dict[str, dict[str, float | None]] = {}
    for each in planned.measurements:
        result = _result(each)
        for column in columns:
            if column.evaluation == each.evaluation:
                figures.setdefault(each.instrument, {})[column.title] = read_metric(
                    result, each.job.kind, column.metric
                )
    return {
        "seed": planned.seed,
        **_story(planned),
        "figures": figures,
        "evaluations": [each.job.folder for each in planned.measurements],
    }


def _story(planned: PlannedSeed) -> dict[str, Any]:
    """What a run has seen so far; of weights that are not trained here, nothing is known."""
    if planned.run is None:
        return {"run": None, "state": None, "views": None, "images": None, "steps": None, "hours": None}
    folder, plan = RunFolder(planned.run.folder), planned.run.plan
    steps = written_step(folder.weights)
    return {
        "run": str(folder.path),
        "state": run_state(folder),
        "views": steps * plan.views_per_step,
        "images": steps * plan.batch_size * plan.accumulate,
        "steps": steps,
        "hours": trained_seconds(folder) / 3600,
    }


def _result(measurement: Measurement) -> dict[str, Any] | None:
    file = Path(measurement.job.folder) / METRICS_FILE
    try:
        return dict(parse_json(file.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}): delete its folder, and it is made again") from error


def read_metric(result: Mapping[str, Any] | None, verb: str, metric: str) -> float | None:
    """A figure of an evaluation's metrics.json; None if there is none."""
    if result is None:
        return None
    found: Any = result["results"] if verb == "detect" else result["results"]["pretrained"]
    for part in metric.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return None if found is None else float(found)


def _summary(figures: Iterable[Mapping[str, float | None]]) -> dict[str, dict[str, Any]]:
    """Mean and standard deviation over seeds, of each column."""
    by_column: dict[str, list[float]] = {}
    for each in figures:
        for title, figure in each.items():
            by_column.setdefault(title, []).extend([] if figure is None else [figure])
    return {
        title: {
            "mean": statistics.fmean(values) if values else None,
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "seeds": len(values),
        }
        for title, values in by_column.items()
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
