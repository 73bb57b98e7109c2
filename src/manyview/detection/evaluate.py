"""Measuring a detector in the midst of its training."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import torch
from torch import distributed as dist

from manyview import distributed
from manyview.detection.checkpoint import DETECTOR_FILE, save_detector
from manyview.detection.detect import Shown, find_objects, measure
from manyview.detection.metrics import write_results
from manyview.detection.precise_bn import Statistics, measure_norms, normalizing_with
from manyview.detection.schedule import statistics_indices, statistics_seed
from manyview.detection.session import FineTuningSession
from manyview.runs.signals import StopRequest

RESULTS_FILE = "results.json"


def evaluate(tuning: FineTuningSession, stop: StopRequest) -> None:
    """Measure the detector as it is; training goes on as if it had not been measured.

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
    """The main figures in one line, in percent."""
    names = {"box": "COCO box", "mask": "COCO mask", "voc": "VOC 11-point box"}
    told = []
    for kind, name in names.items():
        if kind in results:
            figures = (f"{key} {_percent(results[kind][key])}" for key in ("AP", "AP50", "AP75"))
            told.append(f"{name} {', '.join(figures)}")
    return "; ".join(told)


def _statistics(tuning: FineTuningSession, show: Shown) -> Statistics:
    """Of the norms, over batches of training images."""
    settings = tuning.settings
    places = statistics_indices(settings, tuning.data.shapes, tuning.iteration, *tuning.rank_and_size)

    def calls() -> Iterator[tuple[Any, ...]]:
        with closing(tuning.batches(places)) as batches:
            for batch, (images, targets) in enumerate(batches):
                show(batch, len(places), "statistics of the norms")
                torch.manual_seed(statistics_seed(settings, tuning.iteration, batch, distributed.rank()))
                yield tuning.arguments(images, targets)
        show(len(places), len(places), "statistics of the norms")

    if not places:
        return {}
    with tuning.runtime.autocast():
        return measure_norms(tuning.detector, calls())


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
