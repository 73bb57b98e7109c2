"""The folder of a fine-tuning run: created, resumed and finished."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from manyview import distributed
from manyview.detection.checkpoint import DETECTOR_FILE, load_detector
from manyview.detection.evaluate import RESULTS_FILE
from manyview.detection.pictures import PREDICTIONS_FILE, PREDICTIONS_FOLDER, Drawing, draw_validation
from manyview.detection.session import FineTuningSession
from manyview.detection.tables import BY_CLASS, figures_by_class, remark_on_length
from manyview.errors import UserError
from manyview.runs import RunFolder, provenance
from manyview.runs.checkpoints import restore
from manyview.runs.environment import restore_threads
from manyview.runs.progress import spell
from manyview.runs.provenance import changed_surroundings, refuse_changes
from manyview.runs.record import CONFIG_FILE, RunRecord

METRICS_FILE = "metrics.json"
BESIDE = "beside"
"""Folder of the baselines within that of a run, and their entry in its result."""


class FolderState(Enum):
    """What a run's folder holds."""

    NEW, BEGUN, DONE = range(3)


def check_folders(folders: Sequence[RunFolder], resume: bool) -> list[FolderState]:
    """Refuse folders whose runs are all done, or that are not fit to start or resume runs in.

    Args:
        folders: of the run, and of those of its baselines within it.
        resume: whether to continue what is not done.

    Returns:
        what each holds.

    Raises:
        UserError: all is done and in one result; there is a run or anything else where a new one is to begin; or no
            run to resume.
    """
    folder, states = folders[0], [_state(each) for each in folders]
    complete = set(states) == {FolderState.DONE} and _joined(folders)
    if states[0] is FolderState.DONE and (complete or not resume):
        done = "holds a run that is done, with its results in" if folder.holds_a_run else "already holds a"
        more = "" if complete or not folder.holds_a_run else "; --resume adds what is beside it"
        raise UserError(f"{folder.path} {done} {METRICS_FILE}: choose another folder{more}")
    if resume and not folder.holds_a_run:
        raise UserError(f"{folder.path} holds no run to resume: leave out --resume to start one there")
    for each, state in zip(folders, states, strict=True):
        if state is FolderState.NEW or not resume:
            each.check_new()
    return states


def _state(folder: RunFolder) -> FolderState:
    if (folder.path / METRICS_FILE).is_file():
        return FolderState.DONE
    return FolderState.BEGUN if folder.holds_a_run else FolderState.NEW


def _joined(folders: Sequence[RunFolder]) -> bool:
    """Whether the results of baselines that are done stand in those of the run, as they do once all were done."""
    first, *beside = folders
    try:
        result = first.read_json(METRICS_FILE)
    except UserError:
        return True
    return {each.path.name for each in beside} <= result.get(BESIDE, {}).keys()


def read_finished(folder: RunFolder, protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a run that is done.

    Raises:
        UserError: its protocol differs, or the result cannot be read.
    """
    _check_protocol(folder, folder.read_json(CONFIG_FILE), protocol)
    return folder.read_json(METRICS_FILE)


def _check_protocol(folder: RunFolder, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse other settings, files or hardware than at the start; other versions of libraries are reported instead."""
    then, here = ({**protocol, "versions": None} for protocol in (before, now))
    refuse_changes(then, here, "run", folder.path)


def join_results(folder: RunFolder, result: dict[str, Any], baselines: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The result with those of its baselines, also in its file.

    Args:
        folder: of the result.
        result: content of its metrics.json.
        baselines: theirs, by name.
    """
    if not baselines:
        return result
    joined = {**result, BESIDE: {**result.get(BESIDE, {}), **baselines}}
    if distributed.rank() == 0:
        folder.write_json(METRICS_FILE, joined)
    distributed.wait_for_all()
    return joined


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
            record = folder.read_record()
            _check_protocol(folder, record.config, protocol)
            restore_threads(record.run)
        if distributed.rank() == 0:
            if resume:
                folder.lock()
                folder.mend_record()
            else:
                folder.create()
                folder.write_record(RunRecord(provenance(), protocol))
        distributed.wait_for_all()
        yield
    finally:
        folder.unlock()


def load_newest(tuning: FineTuningSession, record: RunRecord) -> None:
    """Restore the newest intact checkpoint, or start from the first iteration if there is none.

    Args:
        tuning: to continue.
        record: of its start.

    Raises:
        UserError: all checkpoints are damaged.
    """
    if sentence := changed_surroundings(record.run):
        tuning.display.say(sentence, style="yellow")
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
    if tuning.is_main and (sentence := tuning.folder.drop_metrics_after(tuning.iteration)):
        tuning.display.say(f"Warning: {sentence}.", style="yellow")
    distributed.wait_for_all()
    # The checkpoint before the last evaluation lacks its results; those before it may be damaged in the log.
    kept = checkpoint.state.get("results", {}) if checkpoint else {}
    measured = [line for line in tuning.folder.read_metrics() if line["kind"] == "evaluation"]
    tuning.results = {int(step): results for step, results in kept.items()}
    tuning.results |= {line["step"]: line["results"] for line in measured}


def finish(
    tuning: FineTuningSession, protocol: Mapping[str, Any], about: Mapping[str, Any], drawing: Drawing
) -> dict[str, Any]:
    """Write the result and the pictures, remove the checkpoints, and report where the files are.

    Args:
        tuning: trained and evaluated.
        protocol: all that the results depend on.
        about: their provenance.
        drawing: images to draw; a count of 0 for no picture.

    Returns:
        The content of metrics.json.
    """
    results = tuning.results[tuning.iteration]
    remark = remark_on_length(protocol, results)
    result: dict[str, Any] = {
        "protocol": dict(protocol),
        "results": results,
        BY_CLASS: figures_by_class(tuning.data.val, results),
        "by_iteration": [{"iteration": step, **results} for step, results in sorted(tuning.results.items())],
        "provenance": dict(about),
        "remarks": [] if remark is None else [remark],
    }
    if tuning.is_main:
        _write(tuning, result, drawing)
    distributed.wait_for_all()
    return result


def _write(tuning: FineTuningSession, result: Mapping[str, Any], drawing: Drawing) -> None:
    """Write the pictures and the result, and report where the files are."""
    path, display = tuning.folder.path, tuning.display
    names = [METRICS_FILE, DETECTOR_FILE, RESULTS_FILE]
    if drawing.count:
        detector = load_detector(path)[0].to(tuning.runtime.device)
        drawn = draw_validation(path, detector, tuning.data, tuning.runtime, drawing)
        names += [PREDICTIONS_FILE, f"{PREDICTIONS_FOLDER}/"]
    tuning.folder.write_json(METRICS_FILE, result)
    tuning.folder.checkpoints.remove()
    display.say(f"Done after {spell(result['provenance']['seconds'])}.")
    if drawing.count:
        display.say(drawn)
    display.say(f"In {path}: {', '.join(names)}. To detect in other images:")
    display.say(f"manyview detect --predict {shlex.quote(str(path))} --images FOLDER --out found.json")
