"""What a run will do, known before it starts: batches, steps, learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from manyview.config import PretrainConfig
from manyview.errors import UserError

# The counter of Philox under which an epoch's order is drawn; views use counters of (image, view) far below it.
_ORDER_COUNTER = 2**63
FEW_PHOTOGRAPHS = 1000


@dataclass(frozen=True)
class Plan:
    """Sizes of a run.

    Attributes:
        photographs: how many there are.
        batch_size: photographs a forward pass, over all processes.
        steps_per_epoch: optimiser steps; photographs left over by the last full step wait for the next epoch.
        config: the configuration with the batch that fits the data.
        remarks: sentences for the user.
    """

    photographs: int
    steps_per_epoch: int
    config: PretrainConfig
    remarks: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.steps_per_epoch * self.config.training.epochs

    @property
    def views_per_step(self) -> int:
        """Views that one optimiser step sees."""
        return 2 * self.config.pairs_per_step


def make_plan(config: PretrainConfig, photographs: int, processes: int = 1) -> Plan:
    """Fit the batch to the data and say in words what is unusual.

    Raises:
        UserError: fewer than two photographs, or a batch that the processes cannot share equally.
    """
    training = config.training
    if photographs < 2:
        raise UserError(
            f"{config.data.images} holds {photographs} photograph; contrasting needs at least 2, learning thousands"
        )
    remarks = []
    if training.batch_size * training.accumulate > photographs:
        config, remark = _reduced(config, photographs, processes)
        remarks.append(remark)
        training = config.training
    if training.batch_size % processes:
        raise UserError(
            f"training.batch_size {training.batch_size} does not divide among {processes} processes; "
            f"use {math.ceil(training.batch_size / processes) * processes}"
        )
    if photographs < FEW_PHOTOGRAPHS:
        remarks.append(
            f"{photographs:,} photographs are too few to learn much from: expect a backbone hardly better than random; "
            f"some {FEW_PHOTOGRAPHS:,} are a beginning, a hundred thousand are what the method was made for."
        )
    if training.accumulate > 1:
        remarks.append(
            f"Gradients of {training.accumulate} batches make one step; this adds no positives or negatives to the "
            f"image-aware loss, and no samples to batch normalisation: each batch is contrasted by itself."
        )
    return Plan(photographs, photographs // (training.batch_size * training.accumulate), config, tuple(remarks))


def _reduced(config: PretrainConfig, photographs: int, processes: int) -> tuple[PretrainConfig, str]:
    """The configuration with as many photographs a step as there are, and the sentence that says so."""
    asked = config.training
    batch = min(asked.batch_size, photographs // processes * processes)
    accumulate = max(min(asked.accumulate, photographs // max(batch, 1)), 1)
    if batch < 2:
        raise UserError(f"{photographs} photographs cannot feed {processes} processes; use fewer")
    values = config.model_dump()
    values["training"] |= {"batch_size": batch, "accumulate": accumulate}
    changed = [
        f"{name} is reduced to {now}"
        for name, before, now in (
            ("the batch", asked.batch_size, batch),
            ("training.accumulate", asked.accumulate, accumulate),
        )
        if now != before
    ]
    remark = (
        f"Only {photographs:,} photographs for {asked.batch_size * asked.accumulate:,} a step: "
        f"{' and '.join(changed)}, and the learning rate with it."
    )
    return PretrainConfig.model_validate(values), remark


class BatchPlan:
    """Which photographs each batch of the run holds: a pure function of the seed, so it needs no stored state.

    Iterating gives, from an optimiser step on, lists of (epoch, image index), one list for each forward pass of this
    process. It is the batch sampler of the loader.
    """

    def __init__(self, plan: Plan, start_step: int = 0, rank: int = 0, processes: int = 1) -> None:
        self.plan = plan
        self.start_step = start_step
        self.rank = rank
        self.processes = processes

    def __len__(self) -> int:
        return (self.plan.steps - self.start_step) * self.plan.config.training.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        batch, accumulate = self.plan.config.training.batch_size, self.plan.config.training.accumulate
        share = batch // self.processes
        first_epoch, first_step = divmod(self.start_step, self.plan.steps_per_epoch)
        for epoch in range(first_epoch, self.plan.config.training.epochs):
            order = epoch_order(self.plan.config.training.seed, epoch, self.plan.photographs)
            start = first_step if epoch == first_epoch else 0
            for index in range(start * accumulate, self.plan.steps_per_epoch * accumulate):
                begin = index * batch + self.rank * share
                yield [(epoch, int(image)) for image in order[begin : begin + share]]


def epoch_order(seed: int, epoch: int, photographs: int) -> np.ndarray:
    """The order of an epoch, a uniform permutation of the image indices, int64, a pure function of its arguments."""
    return _generator(seed, epoch, 0).permutation(photographs)


def pair_order(seed: int, step: int, batch: int, pairs: int) -> np.ndarray:
    """The shuffle of a batch's pairs (Section 3.1), int64, the same on every process."""
    return _generator(seed, step, batch + 1).permutation(pairs)


def replacements(seed: int, epoch: int, image: int, photographs: int, count: int) -> np.ndarray:
    """Candidates, int64 (count,), that stand in for a photograph that cannot be read, in the order to try them."""
    return _generator(seed, epoch, image, _ORDER_COUNTER + 1).integers(photographs, size=count)


def _generator(seed: int, number: int, stream: int, purpose: int = _ORDER_COUNTER) -> np.random.Generator:
    key = np.array([seed, number], dtype=np.uint64)
    counter = np.array([0, 0, stream, purpose], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
