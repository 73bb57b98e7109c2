"""Plan of a run, known before it starts: batch size, steps, and the images of each batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from manyview.config import PretrainConfig, TrainingConfig
from manyview.errors import UserError
from manyview.views import views_per_image

# Philox counter of the order of an epoch; views use counters of (image, view) far below it.
_ORDER_COUNTER = 2**63
FEW_IMAGES = 1000


@dataclass(frozen=True)
class TrainingPlan:
    """Sizes of a run, fitted to its data.

    Attributes:
        images: number of images.
        batch_size: images per forward pass, over all processes.
        accumulate: forward passes per optimizer step.
        steps: optimizer steps of the whole run; of a run of some hours one epoch's, until its pace is measured.
        seed: seed of the order of the images.
        views_per_step: views per optimizer step.
        remarks: messages for the user.
    """

    images: int
    batch_size: int
    accumulate: int
    steps: int
    seed: int
    views_per_step: int
    remarks: tuple[str, ...]

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch; images that do not fill a step are dropped from the epoch."""
        return self.images // (self.batch_size * self.accumulate)

    @property
    def epochs(self) -> int:
        """Passes over the images, the last of which may be partial."""
        return -(-self.steps // self.steps_per_epoch)

    def steps_in(self, epoch: int) -> int:
        """Optimizer steps of an epoch, from 0; fewer in a partial last one."""
        return min(self.steps_per_epoch, self.steps - epoch * self.steps_per_epoch)

    def __str__(self) -> str:
        """The size of the run: "300 steps of 128 views = 38,400 views, 2.1 epochs of 141 steps"."""
        whole = self.steps % self.steps_per_epoch == 0
        epochs = f"{self.epochs:,}" if whole else f"{self.steps / self.steps_per_epoch:.3g}"
        return (
            f"{self.steps:,} steps of {self.views_per_step:,} views = {self.steps * self.views_per_step:,} views, "
            f"{epochs} {'epoch' if epochs == '1' else 'epochs'} of {self.steps_per_epoch:,} steps"
        )


def make_plan(config: PretrainConfig, images: int, processes: int = 1) -> TrainingPlan:
    """Fit the batch size to the data, with remarks on anything unusual.

    Raises:
        UserError: fewer than two images, or a batch that the processes cannot share equally.
    """
    training = config.training
    batch, accumulate = training.batch_size, training.accumulate
    if images < 2:
        raise UserError(f"{config.data.images} holds {images} image; contrasting needs at least 2, learning thousands")
    remarks = []
    if batch * accumulate > images:
        batch, accumulate = _reduced(batch, accumulate, images, processes)
        remarks.append(_reduction(training, batch, accumulate, images))
    if batch % processes:
        raise UserError(
            f"training.batch_size {batch} does not divide among {processes} processes; "
            f"use {math.ceil(batch / processes) * processes}"
        )
    if images < FEW_IMAGES:
        remarks.append(
            f"{images:,} images are too few to learn much from: expect a backbone hardly better than random; "
            f"some {FEW_IMAGES:,} are a minimum, and the method was designed for a hundred thousand."
        )
    if accumulate > 1:
        alone = "" if config.method.labeled else ": each batch is contrasted by itself"
        adds = "" if config.method.labeled else "positives or negatives to the loss of a batch, and no "
        remarks.append(
            f"Gradients of {accumulate} batches make one step; this adds no {adds}samples to batch "
            f"normalization{alone}."
        )
    views = batch * accumulate * views_per_image(config.views)
    per_epoch = images // (batch * accumulate)
    steps = per_epoch if training.hours is not None else training.total_steps(per_epoch)
    return TrainingPlan(images, batch, accumulate, steps, training.seed, views, tuple(remarks))


def _reduced(batch: int, accumulate: int, images: int, processes: int) -> tuple[int, int]:
    """Batch size and accumulation reduced to the number of images."""
    batch = min(batch, images // processes * processes)
    if batch < 2:
        raise UserError(f"{images} images cannot feed {processes} processes; use fewer")
    return batch, max(min(accumulate, images // batch), 1)


def _reduction(asked: TrainingConfig, batch: int, accumulate: int, images: int) -> str:
    changed = [
        f"{name} is reduced to {now}"
        for name, before, now in (
            ("the batch", asked.batch_size, batch),
            ("training.accumulate", asked.accumulate, accumulate),
        )
        if now != before
    ]
    return (
        f"Only {images:,} images for {asked.batch_size * asked.accumulate:,} per step: "
        f"{' and '.join(changed)}, and the learning rate with it."
    )


class BatchPlan:
    """Batch sampler of the loader: a pure function of the seed, so that resuming needs no stored state.

    Yields, from an optimizer step on, one list of (epoch, image index) for each forward pass of this process.
    """

    def __init__(self, plan: TrainingPlan, start_step: int = 0, rank: int = 0, processes: int = 1) -> None:
        self.plan = plan
        self.start_step = start_step
        self.rank = rank
        self.processes = processes

    def __len__(self) -> int:
        return (self.plan.steps - self.start_step) * self.plan.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        batch, accumulate = self.plan.batch_size, self.plan.accumulate
        share = batch // self.processes
        first_epoch, first_step = divmod(self.start_step, self.plan.steps_per_epoch)
        for epoch in range(first_epoch, self.plan.epochs):
            order = epoch_order(self.plan.seed, epoch, self.plan.images)
            start = first_step if epoch == first_epoch else 0
            for index in range(start * accumulate, self.plan.steps_in(epoch) * accumulate):
                begin = index * batch + self.rank * share
                yield [(epoch, int(image)) for image in order[begin : begin + share]]


def epoch_order(seed: int, epoch: int, images: int) -> np.ndarray:
    """Shuffled image indices of an epoch: a uniform permutation, int64, a pure function of the arguments."""
    return _generator(seed, epoch, 0).permutation(images)


def pair_order(seed: int, step: int, batch: int, pairs: int) -> np.ndarray:
    """Uniform permutation for shuffling a batch's pairs (Section 3.1) or keys; int64, equal on all processes."""
    return _generator(seed, step, batch + 1).permutation(pairs)


def replacements(seed: int, epoch: int, image: int, images: int, count: int) -> np.ndarray:
    """Replacement candidates, int64 (count,), for an unreadable image, in the order to try them."""
    return _generator(seed, epoch, image, _ORDER_COUNTER + 1).integers(images, size=count)


def _generator(seed: int, number: int, stream: int, purpose: int = _ORDER_COUNTER) -> np.random.Generator:
    key = np.array([seed, number], dtype=np.uint64)
    counter = np.array([0, 0, stream, purpose], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
