"""Learning rate, batches and seeds of each iteration, as pure functions of the settings without generator state."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from manyview.detection.dataset import EpochIndex
from manyview.detection.settings import DetectionSettings

ImageShapes = Mapping[int, bool]
"""Whether each image is wider than high, by its index."""

ENOUGH_PASSES, ENOUGH_ITERATIONS = 12, 1_000
"""What a detector trains for before its figures say anything: COCO's 1x schedule passes 12 times over the images, and a
few images take no fewer than a thousand steps."""

WARM_UP_FACTOR = 1e-3
DECAY = 0.1

# Streams of random numbers; ``DetectionImages`` draws its flips from another.
_ORDER, _SAMPLES, _STATISTICS_ORDER, _STATISTICS_SAMPLES = range(4)


def learning_rate(settings: DetectionSettings, iteration: int) -> float:
    """The learning rate of an iteration, counted from 0, as in Detectron2's ``WarmupMultiStepLR``.

    https://github.com/facebookresearch/detectron2/blob/main/detectron2/solver/lr_scheduler.py
    """
    rate = settings.learning_rate * DECAY ** sum(iteration >= step for step in settings.steps)
    if iteration < settings.warm_up:
        done = iteration / settings.warm_up
        rate *= WARM_UP_FACTOR * (1 - done) + done
    return float(rate)


def enough_iterations(images: int, batch_size: int) -> int:
    """Iterations of ``ENOUGH_PASSES`` over the images, at least ``ENOUGH_ITERATIONS``, rounded up to two digits."""
    needed = max(ENOUGH_ITERATIONS, math.ceil(ENOUGH_PASSES * images / batch_size))
    unit = 10 ** (len(str(needed)) - 2)
    return math.ceil(needed / unit) * unit


def training_indices(
    settings: DetectionSettings,
    shapes: ImageShapes,
    start: int,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[list[EpochIndex]]:
    """Indices of one process's training images at each iteration from ``start`` on.

    All images are shuffled anew for each pass. Batches hold either images wider than high or the others, which saves
    padding; Detectron2 does so for the images of each device (``AspectRatioGroupedDataset``). If either group has fewer
    images than a batch, both are mixed. A batch may span two passes.

    Args:
        settings: of the run.
        shapes: whether each image is wider than high, by its index.
        start: the first iteration, counted from 0.
        rank: of this process.
        processes: how many share a batch, which must divide it.

    Yields:
        (pass, index) of each image of this process's part of the batch.
    """
    passes = (_order(settings.seed, _ORDER, epoch, shapes) for epoch in itertools.count())
    batches = _grouped(itertools.chain.from_iterable(passes), shapes, settings.batch_size)
    for batch in itertools.islice(batches, start, settings.iterations):
        yield _part(batch, rank, processes)


def statistics_indices(
    settings: DetectionSettings, shapes: ImageShapes, iteration: int, rank: int = 0, processes: int = 1
) -> list[list[EpochIndex]]:
    """Indices of the images from which the norms' statistics are measured: whole batches, no image twice.

    Batches are grouped as in training. If there is no whole one, as with fewer images than a batch holds, one batch
    mixes both groups and repeats images if needed.

    Args:
        settings: of the run.
        shapes: as in ``training_indices``.
        iteration: iterations done; each has an order of its own.
        rank: of this process.
        processes: how many share a batch.
    """
    order = _order(settings.seed, _STATISTICS_ORDER, iteration, shapes)
    whole = _grouped(order, shapes, settings.batch_size)
    mixed = [list(itertools.islice(itertools.cycle(order), settings.batch_size))]
    batches = list(itertools.islice(whole, settings.precise_batches)) or mixed[: settings.precise_batches]
    return [_part(batch, rank, processes) for batch in batches]


def sampling_seed(settings: DetectionSettings, iteration: int, rank: int = 0) -> int:
    """Seed of a detector's random draws in an iteration: short sides, and samples of anchors and RoIs."""
    return _seed(settings.seed, _SAMPLES, iteration, rank)


def statistics_seed(settings: DetectionSettings, iteration: int, batch: int, rank: int = 0) -> int:
    """Seed of a detector's random draws while the norms' statistics are measured."""
    return _seed(settings.seed, _STATISTICS_SAMPLES, iteration, batch, rank)


def _order(seed: int, stream: int, epoch: int, shapes: ImageShapes) -> list[EpochIndex]:
    """All images, shuffled for one pass."""
    draw = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, epoch)))
    indices = list(shapes)
    return [(epoch, indices[position]) for position in draw.permutation(len(indices)).tolist()]


def _grouped(indices: Iterable[EpochIndex], shapes: ImageShapes, size: int) -> Iterator[list[EpochIndex]]:
    """Batches of either wide or other images, in the order in which they fill up; the remainder is dropped.

    If either group is smaller than a batch, both are mixed: its batches would repeat images, which distorts the norms'
    statistics.
    """
    wide = sum(shapes.values())
    mixed = min(wide, len(shapes) - wide) < size
    waiting: dict[bool, list[EpochIndex]] = {True: [], False: []}
    for epoch, index in indices:
        group = waiting[mixed or shapes[index]]
        group.append((epoch, index))
        if len(group) == size:
            yield group.copy()
            group.clear()


def _part(batch: Sequence[EpochIndex], rank: int, processes: int) -> list[EpochIndex]:
    share = len(batch) // processes
    return list(batch[rank * share : (rank + 1) * share])


def _seed(seed: int, *key: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0] >> np.uint64(1))
