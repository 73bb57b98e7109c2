"""What happens at each iteration, as pure functions of the settings: no generator has a state to be kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from manyview.detection.dataset import EpochIndex
from manyview.detection.settings import DetectionSettings

Photographs = Mapping[int, bool]
"""Indices of images, and whether each is wider than high."""

WARM_UP_FACTOR = 1e-3
DECAY = 0.1

# Streams of random numbers; images are mirrored by numbers of their own.
_ORDER, _SAMPLES, _STATISTICS_ORDER, _STATISTICS_SAMPLES = range(4)


def learning_rate(settings: DetectionSettings, iteration: int) -> float:
    """The learning rate of an iteration, counted from 0, as Detectron2's ``WarmupMultiStepLR`` has it.

    https://github.com/facebookresearch/detectron2/blob/main/detectron2/solver/lr_scheduler.py
    """
    rate = settings.learning_rate * DECAY ** sum(iteration >= step for step in settings.steps)
    if iteration < settings.warm_up:
        done = iteration / settings.warm_up
        rate *= WARM_UP_FACTOR * (1 - done) + done
    return float(rate)


def training_indices(
    settings: DetectionSettings,
    photographs: Photographs,
    start: int,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[list[EpochIndex]]:
    """Which images one process takes at each iteration from ``start`` on.

    All images follow each other in an order that is drawn anew for each pass over them. Those that are wider than
    high are collected apart from the others, and each batch is of one kind, which saves padding; Detectron2 does so for
    the images of each device (``AspectRatioGroupedDataset``). Of fewer than a batch holds of one kind, all are
    mixed. A batch may hold some of one pass and of the next.

    Args:
        settings: of the run.
        photographs: whether each is wider than high, by its index.
        start: the first iteration, counted from 0.
        rank: of this process.
        processes: how many share a batch, which must divide it.

    Yields:
        (pass, index) of each image of this process's part of the batch.
    """
    passes = (_order(settings.seed, _ORDER, epoch, photographs) for epoch in itertools.count())
    batches = _grouped(itertools.chain.from_iterable(passes), photographs, settings.batch_size)
    for batch in itertools.islice(batches, start, settings.iterations):
        yield _part(batch, rank, processes)


def statistics_indices(
    settings: DetectionSettings, photographs: Photographs, iteration: int, rank: int = 0, processes: int = 1
) -> list[list[EpochIndex]]:
    """Which images set the norms' statistics after an iteration: whole batches, no image twice.

    The batches are grouped as in training. Where there is no whole one, as of fewer images than a batch holds,
    one batch has images of both kinds, and if need be some of them again.

    Args:
        settings: of the run.
        photographs: as ``training_indices`` takes them.
        iteration: how many are done, from which another order follows.
        rank: of this process.
        processes: how many share a batch.
    """
    order = _order(settings.seed, _STATISTICS_ORDER, iteration, photographs)
    whole = _grouped(order, photographs, settings.batch_size)
    mixed = [list(itertools.islice(itertools.cycle(order), settings.batch_size))]
    batches = list(itertools.islice(whole, settings.precise_batches)) or mixed[: settings.precise_batches]
    return [_part(batch, rank, processes) for batch in batches]


def sampling_seed(settings: DetectionSettings, iteration: int, rank: int = 0) -> int:
    """The seed of what a detector draws in an iteration: short sides, and samples of anchors and regions."""
    return _seed(settings.seed, _SAMPLES, iteration, rank)


def statistics_seed(settings: DetectionSettings, iteration: int, batch: int, rank: int = 0) -> int:
    """The same while the norms' statistics are measured after an iteration."""
    return _seed(settings.seed, _STATISTICS_SAMPLES, iteration, batch, rank)


def _order(seed: int, stream: int, epoch: int, photographs: Photographs) -> list[EpochIndex]:
    """One pass over all images."""
    draw = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, epoch)))
    indices = list(photographs)
    return [(epoch, indices[place]) for place in draw.permutation(len(indices)).tolist()]


def _grouped(places: Iterable[EpochIndex], photographs: Photographs, size: int) -> Iterator[list[EpochIndex]]:
    """Batches of one kind of image, in the order in which they are full; what is left over comes to nothing.

    Where there are fewer of one kind than a batch holds, both are mixed: the batches of that kind would hold some
    images several times, and norms their statistics.
    """
    wide = sum(photographs.values())
    mixed = min(wide, len(photographs) - wide) < size
    waiting: dict[bool, list[EpochIndex]] = {True: [], False: []}
    for place in places:
        group = waiting[mixed or photographs[place[1]]]
        group.append(place)
        if len(group) == size:
            yield group.copy()
            group.clear()


def _part(batch: Sequence[EpochIndex], rank: int, processes: int) -> list[EpochIndex]:
    share = len(batch) // processes
    return list(batch[rank * share : (rank + 1) * share])


def _seed(seed: int, *key: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0] >> np.uint64(1))
