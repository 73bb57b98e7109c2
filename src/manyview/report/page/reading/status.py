"""Where a run stands: finished, working, stopped, or silent for longer than its steps take."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from manyview.report.page.reading.run import Run, is_number, lookup
from manyview.runs.progress import spell

State = Literal["starting", "working", "stale", "stopped", "finished", "begun"]

SILENT_SECONDS = 300
"""Seconds without a line after which a run that seems to work is called stale."""
_INTERVALS = 4  # between lines, where those are longer


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run stands.

    Attributes:
        state: in one word; "begun" where nothing says whether a process still works.
        sentence: in words.
    """

    state: State
    sentence: str


def status_of(run: Run, now: float | int | None = None) -> Status:
    """Where a run stands.

    Args:
        run: as read.
        now: in seconds since 1970; unset: when it was read.
    """
    now = run.read if now is None else now
    total = run.plan("steps")
    done = run.steps_done
    of = f"{done:,} of {total:,.0f} steps" if total else f"{done:,} steps"
    if total and done >= total and any(record["step"] >= total for record in run.records("epoch")):
        return Status("finished", f"Finished: {of}{_took(run)}.")
    if _helped_no_more(run):
        return Status("finished", f"Ended early: {of}{_took(run)}, as monitor.eval_patience says.")
    silent = now - run.written if run.written is not None else None
    if not run.log:
        if run.working is False:
            return Status("stopped", "No line was written yet, and no process works in this folder.")
        return Status("starting", "Starting: no line was written yet.")
    assert silent is not None, "records are from a file"
    ago = f"last line {spell(silent)} ago"
    if run.working is False:
        return Status("stopped", f"Stopped after {of}, {ago}; the same command with --resume goes on.")
    if silent > max(SILENT_SECONDS, _INTERVALS * _usual_interval(run)):
        return Status("stale", f"Stale: {ago}, after {of}.")
    if run.working is None:
        return Status("begun", f"{of} done, {ago}.")
    return Status("working", f"Training: {of}, {ago}{_left(run, total)}.")


def _helped_no_more(run: Run) -> bool:
    """Whether ``monitor.eval_patience`` measurements in a row were no better; a run writes best.json as it ends."""
    patience, best = run.setting("monitor.eval_patience"), lookup(run.best, "best.step")
    if not is_number(patience) or not is_number(best) or lookup(run.best, "last.step") != run.steps_done:
        return False
    return sum(record["step"] > best for record in run.records("quality")) >= patience


def _usual_interval(run: Run) -> float | int:
    """Longest time between two of the last lines, in seconds; 0 where it is not recorded."""
    times = [record["elapsed"] for record in run.log[-12:] if is_number(record.get("elapsed"))]
    return max((later - earlier for earlier, later in pairwise(times)), default=0.0)


def _took(run: Run) -> str:
    seconds = elapsed(run)
    return f" in {spell(seconds)}" if seconds else ""


def _left(run: Run, total: float | int | None) -> str:
    seconds = elapsed(run)
    if not seconds or not total or not run.steps_done:
        return ""
    return f", about {spell(seconds / run.steps_done * (total - run.steps_done))} left"


def elapsed(run: Run) -> float | int | None:
    """Seconds that the run has worked up to its last line; None where it is not recorded."""
    return next((record["elapsed"] for record in reversed(run.log) if is_number(record.get("elapsed"))), None)
