"""State of a fine-tuning run, shared by the training loop and the evaluations."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

from manyview import distributed
from manyview.detection.checkpoint import DetectorDescription
from manyview.detection.dataset import DetectionData, DetectionImages, EpochIndex, Target, detection_batches
from manyview.detection.detect import DetectionRuntime
from manyview.detection.display import DetectionDisplay
from manyview.detection.models import Detector
from manyview.detection.settings import DetectionSettings
from manyview.runs import RunFolder
from manyview.runs.checkpoints import capture
from manyview.runs.record import RECORD_SUM, RunRecord
from manyview.runs.signals import StopRequest

Batches = Generator[tuple[list[Tensor], list[Target]], None, None]


@dataclass
class FineTuningSession:
    """State of a fine-tuning run.

    Attributes:
        settings: schedule and sizes.
        data: training and validation images.
        folder: the run folder.
        detector: the module in training, on its device.
        description: of the detector, for its file.
        optimizer: over its parameters.
        runtime: device, precision and loader processes.
        display: progress on the terminal.
        checkpoint_minutes: time between two checkpoints.
        iteration: iterations done.
        totals: sums of the losses since the last line of the log, for their means.
        counted: iterations in these sums.
        results: average precision of each evaluation, by iteration.
        record: of the run's start; checkpoints have its SHA-256.
    """

    settings: DetectionSettings
    data: DetectionData
    folder: RunFolder
    detector: Detector
    description: DetectorDescription
    optimizer: torch.optim.SGD
    runtime: DetectionRuntime
    display: DetectionDisplay
    checkpoint_minutes: float | int = 10
    iteration: int = 0
    totals: dict[str, float] = field(default_factory=dict)
    counted: int = 0
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    record: RunRecord | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return distributed.rank() == 0

    def save(self) -> None:
        """Write a checkpoint of the current iteration."""
        if self.is_main:
            state: dict[str, Any] = {"totals": self.totals, "counted": self.counted}
            state["results"] = {str(iteration): results for iteration, results in self.results.items()}
            if self.record is not None:
                state[RECORD_SUM] = self.record.sha256
            self.folder.checkpoints.save(capture(self.detector, self.optimizer, self.iteration, True, state))

    @property
    def rank_and_size(self) -> tuple[int, int]:
        """Rank of this process, and the number of processes."""
        return distributed.rank(), distributed.world_size()

    def log(self, record: Mapping[str, Any]) -> None:
        """Add a record to ``metrics.jsonl``."""
        if self.is_main:
            self.folder.append_metrics({"step": self.iteration, **record})

    def is_due(self) -> bool:
        """Whether an evaluation is due at the current iteration and not yet done."""
        every, done = self.settings.eval_every, self.iteration
        due = done == self.settings.iterations or (every is not None and done > 0 and done % every == 0)
        return due and done not in self.results

    def described(self) -> DetectorDescription:
        """The detector's description with the current iteration."""
        return replace(self.description, iteration=self.iteration)

    def batches(self, indices: Iterable[Sequence[EpochIndex]]) -> Batches:
        """Batches of randomly mirrored training images and their targets; closing it ends the loader processes."""
        seed, depth = self.settings.seed, self.description.bit_depth
        dataset = DetectionImages(self.data.train, self.data.train_images, flip=True, seed=seed, bit_depth=depth)
        pin = self.runtime.device.type == "cuda"
        return cast("Batches", detection_batches(dataset, indices, self.runtime.workers, pin=pin))

    def arguments(self, images: list[Tensor], targets: list[Target]) -> tuple[list[Tensor], list[Target]]:
        """A batch on the detector's device, as arguments of its call."""
        device = self.runtime.device
        sent = [{key: value.to(device, non_blocking=True) for key, value in target.items()} for target in targets]
        return self.runtime.pixels(images), sent

    def stop_if_asked(self, stop: StopRequest) -> None:
        """Stop if any process has received a signal; the checkpoint of this iteration must exist.

        Raises:
            KeyboardInterrupt, SystemExit: as the signal asks.
        """
        if number := distributed.largest(stop.signal or 0):
            self.stop(stop, number)

    def stop(self, stop: StopRequest, number: int) -> None:
        """Stop as a signal asks that some process has received; the checkpoint of this iteration must exist.

        Raises:
            KeyboardInterrupt, SystemExit: as the signal asks.
        """
        self.display.say(f"Stopped and saved after iteration {self.iteration:,}; continue with --resume.")
        stop.act(number)
