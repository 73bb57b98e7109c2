"""Quality of the backbone over a run: when it is measured, the record, and the best weights so far.

What measures is handed over by the caller (``Instrument``): training knows nothing of evaluations.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from manyview.backbones import Backbone, save_backbone
from manyview.config import MonitorConfig, PretrainConfig
from manyview.runs import RunFolder
from manyview.runs.folder import BEST_FILE

KIND = "quality"
"""The type of the records in ``metrics.jsonl``."""

# Unless the user says otherwise, a run is measured so many times, and once before its first step, ...
_TIMES = 10
# ... but not before the training has done so many times the work of a measurement.
_WORK = 5
_FORWARD_AND_BACKWARD = 3
_CLOCKS = ("seconds", "elapsed")  # that a record has; the second only in the log
_PERCENT = ("logistic", "knn")
_NAMES = {
    "logistic": "logistic regression, mAP in %",
    "knn": "nearest neighbors, mAP in %",
    "rankme": "RankMe",
    "dense": "dense structure",
}


@runtime_checkable
class Instrument(Protocol):
    """Measures a backbone, equally each time, on images that it was made with."""

    def prepare(self) -> None:
        """Load the images, once; ``measure`` does so if need be."""
        ...

    def measure(self, backbone: Backbone, *, measured_norms: bool = False) -> dict[str, float]:
        """Measure a copy of the backbone in eval mode; the backbone itself and all random states stay as they are.

        All processes call it together, and get the same figures.

        Args:
            backbone: in any mode, on any device.
            measured_norms: give the norms of the copy statistics of the images first, as those of a backbone without
                any training are 0 and 1.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """What the figures depend on, as plain data; equal for equal figures of equal weights."""
        ...

    @property
    def pixels(self) -> int:
        """Pixels that go through the backbone in a measurement, over all processes."""
        ...


def interval(config: PretrainConfig, steps: int, pixels: int) -> int:
    """Optimizer steps between two measurements.

    Without ``monitor.eval_every`` a tenth of the run, but so many that measuring takes at most about a fifth of the
    work: a training step passes each of its pixels forward and, at twice the price, backward.

    Args:
        config: settled configuration.
        steps: optimizer steps of the run.
        pixels: that go through the backbone in a measurement.
    """
    if config.monitor.eval_every is not None:
        return config.monitor.eval_every
    training = config.training
    images = training.batch_size * training.accumulate
    of_step = images * sum(group.count * group.size**2 for group in config.views.layout)
    affordable = math.ceil(_WORK * pixels / (_FORWARD_AND_BACKWARD * of_step))
    return min(max(-(-steps // _TIMES), affordable), max(steps, 1))


def measurements(steps: int, every: int) -> int:
    """Number of measurements of a run: one at the start, one after each interval, and one at the end."""
    return 1 + -(-steps // every)


@dataclass
class QualityRecord:
    """The measurements of a run so far, and the best weights among them.

    Attributes:
        monitor: settings.
        steps: optimizer steps of the whole run.
        every: optimizer steps between two measurements.
        instrument: what measures.
        frozen: optimizer steps at the start in which the backbone is not trained.
        records: as in ``metrics.jsonl``.
    """

    monitor: MonitorConfig
    steps: int
    every: int
    instrument: Instrument
    frozen: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)

    def resume(self, logged: Sequence[Mapping[str, Any]], kept: Sequence[Mapping[str, Any]] = ()) -> None:
        """Take up the records of a stopped run.

        Args:
            logged: lines of its log up to the checkpoint, whose step may have been measured after it was written.
            kept: records of the checkpoint, for those of which the log's lines are lost.
        """
        found = {record["step"]: dict(record) for record in (*kept, *logged) if record["kind"] == KIND}
        self.records = [found[step] for step in sorted(found)]

    def state(self) -> list[dict[str, Any]]:
        """The records without what clocks said, for a checkpoint, which is the same for the same run."""
        return [{key: value for key, value in record.items() if key not in _CLOCKS} for record in self.records]

    def is_due(self, step: int) -> bool:
        """Whether to measure after this many steps; a resumed run does not measure again."""
        measured = bool(self.records) and self.records[-1]["step"] >= step
        return not measured and (step == self.steps or step % self.every == 0)

    def measure(self, backbone: Backbone, step: int, *, measured_norms: bool = False) -> dict[str, Any]:
        """Measure the backbone, and return the record without its step."""
        began = time.monotonic()
        figures = self.instrument.measure(backbone, measured_norms=measured_norms)
        record = {"kind": KIND, **figures, "seconds": round(time.monotonic() - began, 2)}
        self.records.append({"step": step, **record})
        return record

    @property
    def best(self) -> dict[str, Any] | None:
        """The first of the best records by ``monitor.kept_by``, without that of the start."""
        name = self.monitor.kept_by
        if name is None:
            return None
        trained = [record for record in self.records if name in record and record["step"] > 0]
        return max(trained, key=lambda record: float(record[name])) if trained else None

    @property
    def exhausted(self) -> bool:
        """Whether ``monitor.eval_patience`` measurements in a row were no better than the best one before them."""
        best, patience = self.best, self.monitor.eval_patience
        if best is None or patience is None:
            return False
        later = [record for record in self.records if record["step"] > max(best["step"], self.frozen)]
        return len(later) >= patience

    def keep(self, backbone: Backbone, folder: RunFolder, step: int, description: Mapping[str, str]) -> None:
        """Write the weights of this step if they are the best so far; call it after the checkpoint of this step.

        A run that was killed between the two writes them when it is resumed, from that checkpoint.
        """
        name, best = self.monitor.kept_by, self.best
        if name is None or best is None or best["step"] != step:
            return
        figures = {"measure": name, "value": repr(best[name])}
        save_backbone(backbone, folder.path / BEST_FILE, {**description, "step": str(step), **figures})

    def summary(self) -> dict[str, Any] | None:
        """Start, best and last figure by ``monitor.kept_by``, as plain data for ``best.json``."""
        name, best = self.monitor.kept_by, self.best
        if name is None or best is None:
            return None
        figures = [record for record in self.records if name in record]
        return {
            "measure": name,
            "file": BEST_FILE,
            "best": {"step": best["step"], "value": best[name]},
            "last": {"step": figures[-1]["step"], "value": figures[-1][name]},
            "start": figures[0][name] if figures[0]["step"] == 0 else None,
        }


def spell_record(record: Mapping[str, Any]) -> str:
    """A record's figures for the terminal: "logistic 24.1, knn 20.3, rankme 120.0, dense 0.520"."""
    shown = [f"{name} {_figure(name, record[name])}" for name in _NAMES if name in record]
    return ", ".join(shown)


def spell_plan(record: QualityRecord) -> str:
    """When and on what the backbone is measured."""
    about = record.instrument.describe()
    labeled = f"classifiers with {about['split']}; " if "split" in about else ""
    return (
        f"The backbone is measured at the start, every {record.every:,} steps and at the end, "
        f"at {about['size']} pixels: {labeled}label-free measures on {about['sample']:,} of the images."
    )


def spell_summary(summary: Mapping[str, Any]) -> str:
    """The sentence at the end of a run: "Best at step 900: 24.1 (...); last 23.8; at the start 19.6."."""
    name, best, start = summary["measure"], summary["best"], ""
    if summary["start"] is not None:
        better = ", better than after any training" if summary["start"] > best["value"] else ""
        start = f"; at the start {_figure(name, summary['start'])}{better}"
    return (
        f"Best at step {best['step']:,}: {_figure(name, best['value'])} ({_NAMES[name]}), kept in {summary['file']}; "
        f"last {_figure(name, summary['last']['value'])}{start}."
    )


def _figure(name: str, value: float) -> str:
    if name in _PERCENT:
        return f"{100 * value:.1f}"
    return f"{value:.1f}" if name == "rankme" else f"{value:.3f}"
