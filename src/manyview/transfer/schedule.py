"""What happens at each iteration, as pure functions of the settings: no generator has a state to be kept."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int64

from manyview.transfer.photographs import Place
from manyview.transfer.settings import DetectionSettings

WARM_UP_FACTOR = 1e-3
DECAY = 0.1

# Streams of random numbers; photographs are mirrored by numbers of their own.
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


def training_places(
    settings: DetectionSettings, photographs: Sequence[int], start: int, rank: int = 0, processes: int = 1
) -> Iterator[list[Place]]:
    """Which photographs one process takes at each iteration from ``start`` on.

    All photographs follow each other in an order that is drawn anew for each pass over them; a batch may hold the last
    ones of a pass and the first ones of the next, as in Detectron2.

    Args:
        settings: of the run.
        photographs: their indices.
        start: the first iteration, counted from 0.
        rank: of this process.
        processes: how many share a batch, which must divide it.

    Yields:
        (pass, index) of each photograph of this process's part of the batch.
    """
    share = settings.batch_size // processes
    for iteration in range(start, settings.iterations):
        first = iteration * settings.batch_size + rank * share
        yield _take(settings.seed, _ORDER, photographs, first, share)


def statistics_places(
    settings: DetectionSettings, photographs: Sequence[int], iteration: int, rank: int = 0, processes: int = 1
) -> list[list[Place]]:
    """Which photographs set the norms' statistics after an iteration: whole batches, no photograph twice.

    Fewer photographs than a batch holds make one batch, in which some are there again.

    Args:
        settings: of the run.
        photographs: their indices.
        iteration: how many are done, from which another order follows.
        rank: of this process.
        processes: how many share a batch.
    """
    batches = min(settings.precise_batches, max(len(photographs) // settings.batch_size, 1))
    share = settings.batch_size // processes
    order = _order(settings.seed, _STATISTICS_ORDER, iteration, len(photographs))
    firsts = (batch * settings.batch_size + rank * share for batch in range(batches))
    return [
        [(iteration, photographs[order[place % len(order)]]) for place in range(first, first + share)]
        for first in firsts
    ]


def sampling_seed(settings: DetectionSettings, iteration: int, rank: int = 0) -> int:
    """The seed of what a detector draws in an iteration: short sides, and samples of anchors and regions."""
    return _seed(settings.seed, _SAMPLES, iteration, rank)


def statistics_seed(settings: DetectionSettings, iteration: int, batch: int, rank: int = 0) -> int:
    """The same while the norms' statistics are measured after an iteration."""
    return _seed(settings.seed, _STATISTICS_SAMPLES, iteration, batch, rank)


def _take(seed: int, stream: int, photographs: Sequence[int], first: int, count: int) -> list[Place]:
    passes = (divmod(place, len(photographs)) for place in range(first, first + count))
    return [(epoch, photographs[_order(seed, stream, epoch, len(photographs))[rest]]) for epoch, rest in passes]


@functools.lru_cache(maxsize=4)
def _order(seed: int, stream: int, epoch: int, count: int) -> Int64[np.ndarray, " photographs"]:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, epoch))).permutation(count)


def _seed(seed: int, *key: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0] >> np.uint64(1))
