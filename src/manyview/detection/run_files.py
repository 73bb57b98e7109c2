"""The folder of a fine-tuning run: created, resumed and finished."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from manyview import distributed
from manyview.detection.checkpoint import DETECTOR_FILE
from manyview.detection.draw import PREDICTIONS_FILE, draw_validation
from manyview.detection.evaluate import RESULTS_FILE
from manyview.detection.session import FineTuningSession
from manyview.errors import UserError
from manyview.runs import RunFolder, provenance
from manyview.runs.checkpoints import restore
from manyview.runs.progress import spell
from manyview.runs.provenance import refuse_changes

METRICS_FILE = "metrics.json"


def check_folder(folder: RunFolder, resume: bool) -> None:
    """Refuse a folder whose run is done, or that is not fit to start or resume a run in.

    Raises:
        UserError: its run is done; there is a run or anything else where a new one is to begin; or no run to resume.
    """
    if (folder.path / METRICS_FILE).is_file():
        done = "holds a run that is done, with its results in" if folder.holds_a_run else "already holds a"
        raise UserError(f"{folder.path} {done} {METRICS_FILE}: choose another folder")
    if resume and not folder.holds_a_run:
        raise UserError(f"{folder.path} holds no run to resume: leave out --resume to start one there")
    if not resume:
        folder.check_new()


@contextlib.contextmanager
def opened(folder: RunFolder, protocol: Mapping[str, Any], resume: bool) -> Iterator[None]:
    """Create or reopen the folder, and lock it while entered; only the first process writes.

    Args:
        folder: new or empty, or with ``resume`` that of the same protocol.
        protocol: all that the results depend on, as plain data.
        resume: whether to continue a run.

    Raises:
        UserError: it holds something else, cannot be written, or is in use; or its protocol differs.
    """
    try:
        if resume:
            refuse_changes(folder.read_json("config.json"), protocol, "run", folder.path)
        if distributed.rank() == 0:
            if resume:
                folder.lock()
            else:
                folder.create()
                folder.write_json("run.json", provenance())
                folder.write_json("config.json", protocol)  # which makes the folder a run
        distributed.wait_for_all()
        yield
    finally:
        folder.unlock()


def load_newest(tuning: FineTuningSession) -> None:
    """Restore the newest intact checkpoint, or start from the first iteration if there is none.

    Raises:
        UserError: all checkpoints are damaged.
    """
    checkpoint, complaints = tuning.folder.checkpoints.load_newest()
    for complaint in complaints:
        tuning.display.say(f"Warning: {complaint}; falling back to the one before", style="yellow")
    if checkpoint is None:
        tuning.display.say("No checkpoint was written yet; starting from the first iteration.")
    else:
        restore(checkpoint, tuning.detector, tuning.optimizer)
        tuning.iteration = checkpoint.step
        tuning.totals, tuning.counted = dict(checkpoint.state["totals"]), checkpoint.state["counted"]
        tuning.display.say(f"Resumed after iteration {checkpoint.step:,} of {tuning.settings.iterations:,}.")
    distributed.wait_for_all()  # otherwise the first process changes what another is about to read
    if tuning.is_main:
        tuning.folder.drop_metrics_after(tuning.iteration)
    distributed.wait_for_all()
    measured = [line for line in tuning.folder.read_metrics() if line["kind"] == "evaluation"]
    tuning.results = {line["step"]: line["results"] for line in measured}


def finish(
    tuning: FineTuningSession, protocol: Mapping[str, Any], about: Mapping[str, Any], draw: int
) -> dict[str, Any]:
    """Write the result and the picture, remove the checkpoints, and report where the files are.

    Args:
        tuning: trained and evaluated.
        protocol: all that the results depend on.
        about: their provenance.
        draw: number of images in the picture; 0 for no picture.

    Returns:
        The content of metrics.json.
    """
    result: dict[str, Any] = {
        "protocol": dict(protocol),
        "results": tuning.results[tuning.iteration],
        "by_iteration": [{"iteration": step, **results} for step, results in sorted(tuning.results.items())],
        "provenance": dict(about),
    }
    if tuning.is_main:
        path, console = tuning.folder.path, tuning.display
        if draw:
            draw_validation(path, tuning.data, tuning.runtime, draw)
        tuning.folder.write_json(METRICS_FILE, result)
        shutil.rmtree(tuning.folder.checkpoints.folder, ignore_errors=True)
        console.say(f"Done after {spell(about['seconds'])}.")
        names = [METRICS_FILE, DETECTOR_FILE, RESULTS_FILE, *([PREDICTIONS_FILE] if draw else [])]
        console.say(f"In {path}: {', '.join(names)}. To detect in other images:")
        console.say(f"manyview detect --predict {path} --images FOLDER --out found.json")
    distributed.wait_for_all()
    return result
