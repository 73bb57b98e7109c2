"""``reproduce``, which is both the command and the Python call."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Unpack

from manyview.errors import UserError, first_few
from manyview.options.base import verb
from manyview.options.reproduce import ReproduceOptions
from manyview.parsing import parse_json
from manyview.recipes.reproduce.curves import curves_to_csv, curves_to_markdown, gather_curves
from manyview.recipes.reproduce.figure import draw_curves, draw_table
from manyview.recipes.reproduce.forecast import forecast
from manyview.recipes.reproduce.formats import notes, to_csv, to_markdown
from manyview.recipes.reproduce.plan import TablePlan, make_plan_of
from manyview.recipes.reproduce.results import gather
from manyview.recipes.reproduce.work import read_gpus, work_here, work_on_gpus
from manyview.runs import atomic_write
from manyview.runs.files import make_folder
from manyview.runs.outputs import require_own
from manyview.runs.progress import Phases, no_phases, run_console

ENDINGS = ("md", "csv", "json", "png")


@verb(ReproduceOptions)
def reproduce(
    table: str, *, phases: Phases = no_phases, quiet: bool = True, **options: Unpack[ReproduceOptions]
) -> dict[str, Any]:
    """Make a table: pre-train its rows, evaluate them, and write its figures beside published ones.

    Runs lie in ``out/runs``, evaluations in ``out/evaluations``, both under names that tell apart what their figures
    depend on; so rows that tables share are made once, and an earlier call is gone on with. After each row the table is
    written to ``out/TABLE.md``, ``.csv``, ``.json`` and ``.png``.

    Args:
        table: name of a table of the package, or a TOML file.
        phases: opens progress bars for an evaluation.
        quiet: print nothing of the runs.
        **options: as ``ReproduceOptions`` declares them.

    Returns:
        The content of the JSON file, as ``gather`` says; with ``dry_run`` {"plan": what ``forecast`` says}.

    Raises:
        UserError: a table, scale, row, metric or setting that does not exist or fit; images, labels or weights that
            cannot be used; or, after all others are done, rows that failed.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, after saving.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "reproduce starts by itself what it needs: call it without torchrun, with --gpus for several GPUs"
        )
    gpus = None if options["gpus"] is None else read_gpus(options["gpus"])
    plan = make_plan_of(table, options)
    if options["dry_run"]:
        with phases() as progress:
            return {"plan": forecast(plan, progress), "equal": {"what": plan.equal, "amount": plan.amount}}
    _check_own(plan)
    make_folder(plan.out)
    plan.inputs.write_list(plan.out)
    console = run_console(not quiet)

    def write() -> None:
        write_table(plan, gather(plan))

    if gpus is None:
        failed = work_here(plan.groups(), write, console, phases=phases, quiet=quiet)
    else:
        failed = work_on_gpus(plan.groups(), write, console, gpus, plan.out / "logs")
    result = write_table(plan, gather(plan, failed))
    if failed:
        sentences = first_few([f"{name}: {error}" for name, error in failed.items()], "; ")
        raise UserError(
            f"{len(failed)} failed, {sentences}; the rest is in {plan.out / plan.name}.md; the same call tries again"
        )
    return result


def write_table(plan: TablePlan, result: dict[str, Any]) -> dict[str, Any]:
    """Write Markdown, CSV, JSON and picture of a table, with its curves if it has any.

    Args:
        plan: of the table.
        result: of ``gather``.

    Returns:
        the content of the JSON file.
    """
    if plan.table.curves is not None:
        result = {**result, "curves": gather_curves(plan)}
    # The first file, as it makes the others known as this table's (``_check_own``).
    atomic_write(plan.out / f"{plan.name}.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    contents: dict[str, bytes | str] = {}
    if plan.table.curves is not None:
        contents |= _of_curves(plan, result)
    if plan.table.evaluations:
        contents |= {"md": to_markdown(result), "csv": to_csv(result), "png": draw_table(result)}
    for ending, content in contents.items():
        atomic_write(plan.out / f"{plan.name}.{ending}", content)
    return result


def _check_own(plan: TablePlan) -> None:
    """Refuse a folder whose files of the table's names are not the table's own from an earlier call.

    Raises:
        UserError: there are such files.
    """
    own = plan.out / f"{plan.name}.json"
    try:
        content = parse_json(own.read_bytes())
        if isinstance(content, dict) and content.get("table") == plan.name and "provenance" in content:
            return
    except (OSError, ValueError):
        pass
    names = [f"{plan.name}{part}.{ending}" for part in ("", "-curves") for ending in ENDINGS]
    require_own("reproduce", [], [plan.out / name for name in names])


def _of_curves(plan: TablePlan, result: Mapping[str, Any]) -> dict[str, bytes | str]:
    """Files of a figure of curves; of a table that has evaluations too, beside the table's."""
    assert plan.table.curves is not None
    curves = result["curves"]
    lines = [f"# {result['title']}", "", *curves_to_markdown(curves), "", *notes(result), ""]
    picture = draw_curves(result, plan.table.curves.over, plan.table.curves.quantities)
    made: dict[str, bytes | str] = {"md": "\n".join(lines), "csv": curves_to_csv(curves), "png": picture}
    if plan.table.evaluations:
        for ending, content in made.items():
            atomic_write(plan.out / f"{plan.name}-curves.{ending}", content)
        return {}
    return made
