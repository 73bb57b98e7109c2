"""Evaluation of a detector during its training."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from torch import distributed as dist

from manyview import distributed
from manyview.backbones.norm_statistics import Statistics, measure_norms, normalizing_with
from manyview.detection.checkpoint import DETECTOR_FILE, save_detector
from manyview.detection.detect import ShowProgress, find_objects, measure
from manyview.detection.metrics import write_results
from manyview.detection.schedule import statistics_indices, statistics_seed
from manyview.detection.session import FineTuningSession
from manyview.detection.tables import percent
from manyview.runs.signals import StopRequest
from manyview.runtime import seed_generators

RESULTS_FILE = "results.json"


def evaluate(tuning: FineTuningSession, stop: StopRequest) -> None:
    """Compute the average precision of the current detector; training is not affected by it.

    Raises:
        UserError: an image cannot be read, or a file cannot be written.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM; the checkpoint of this iteration is there.
    """
    began = time.monotonic()

    def show(done: int, total: int, what: str) -> None:
        tuning.stop_if_asked(stop)
        tuning.display.measuring(done, total, what)

    if distributed.world_size() > 1:
        # Each process's running statistics are of its own images; those of the first are the ones that are saved.
        for buffer in tuning.detector.buffers():
            dist.broadcast(buffer, 0)
    with normalizing_with(tuning.detector, _statistics(tuning, show)):
        tuning.detector.eval()
        try:
            if tuning.is_main:
                save_detector(tuning.folder.path / DETECTOR_FILE, tuning.detector, tuning.described())
            data = tuning.data
            found = find_objects(tuning.detector, data.val, data.val_images, tuning.runtime, show)
        finally:
            tuning.detector.train()
    results: list[Any] = [None]
    if tuning.is_main:
        write_results(tuning.folder.path / RESULTS_FILE, found)
        results = [measure(data.val, found, tuning.settings.masks)]
    if distributed.world_size() > 1:
        dist.broadcast_object_list(results)
    tuning.results[tuning.iteration] = results[0]
    tuning.log({"kind": "evaluation", "results": results[0], "seconds": round(time.monotonic() - began, 1)})
    tuning.display.say(f"Iteration {tuning.iteration:,}, in %: {summary(results[0])}")


def summary(results: Mapping[str, Any]) -> str:
    """AP, AP50 and AP75 of each protocol in one line, in percent."""
    names = {"box": "COCO box", "mask": "COCO mask", "voc": "VOC 11-point box"}
    parts = []
    for protocol, name in names.items():
        if protocol in results:
            figures = (f"{key} {percent(results[protocol][key])}" for key in ("AP", "AP50", "AP75"))
            parts.append(f"{name} {', '.join(figures)}")
    return "; ".join(parts)


def _statistics(tuning: FineTuningSession, show: ShowProgress) -> Statistics:
    """Statistics of the norms over batches of training images."""
    settings = tuning.settings
    indices = statistics_indices(settings, tuning.data.shapes, tuning.iteration, *tuning.rank_and_size)

    def calls() -> Iterator[tuple[Any, ...]]:
        with closing(tuning.batches(indices)) as batches:
            for batch, (images, targets) in enumerate(batches):
                show(batch, len(indices), "statistics of the norms")
                seed = statistics_seed(settings, tuning.iteration, batch, distributed.rank())
                seed_generators(seed, tuning.runtime.device)
                yield tuning.arguments(images, targets)
        show(len(indices), len(indices), "statistics of the norms")

    if not indices:
        return {}
    with tuning.runtime.autocast():
        return measure_norms(tuning.detector, calls())
