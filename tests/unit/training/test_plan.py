"""What a run will do is a pure function of its settings and the number of images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from manyview.config import PretrainConfig, resolve
from manyview.config.resolve import Assignment
from manyview.errors import UserError
from manyview.training.plan import BatchPlan, TrainingPlan, epoch_order, make_plan, pair_order, replacements


def config(**settings: Any) -> PretrainConfig:
    user = [Assignment(key.replace("__", "."), value, "set") for key, value in settings.items()]
    return resolve({"data": {"images": "photos"}}, user)


def plan(images: int, processes: int = 1, **settings: Any) -> TrainingPlan:
    return make_plan(config(**settings), images, processes)


@pytest.mark.parametrize("draw", [lambda s, n: epoch_order(s, n, 1000), lambda s, n: pair_order(s, n, 0, 1000)])
def test_orders_are_pure_permutations_that_differ(draw: Any) -> None:
    orders = {(seed, number): tuple(draw(seed, number)) for seed in range(3) for number in range(3)}

    assert all(sorted(order) == list(range(1000)) for order in orders.values())
    assert len(set(orders.values())) == 9
    assert all(tuple(draw(*key)) == order for key, order in orders.items())


def test_the_batches_of_a_step_are_shuffled_apart() -> None:
    assert tuple(pair_order(0, 0, 0, 100)) != tuple(pair_order(0, 0, 1, 100))


def test_orders_are_uniform() -> None:
    """Each image comes first equally often: 6,000 epochs of 6, within 5 standard deviations of 1,000 each."""
    first = np.bincount([epoch_order(7, epoch, 6)[0] for epoch in range(6000)], minlength=6)

    assert np.all(np.abs(first - 1000) < 5 * math.sqrt(6000 * 1 / 6 * 5 / 6))


def test_stand_ins_are_pure_and_reach_all_images() -> None:
    found = [replacements(0, epoch, 3, 10, 32) for epoch in range(20)]

    assert all(np.array_equal(again, replacements(0, epoch, 3, 10, 32)) for epoch, again in enumerate(found))
    assert len({tuple(candidates) for candidates in found}) == 20
    assert set(np.concatenate(found)) == set(range(10))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("processes", [1, 2])
def test_an_epoch_shows_every_image_at_most_once(processes: int, accumulate: int) -> None:
    made = plan(50, processes, training__batch_size=8, training__epochs=3, training__accumulate=accumulate)
    ranks = [list(BatchPlan(made, rank=rank, processes=processes)) for rank in range(processes)]

    assert made.steps_per_epoch == 50 // (8 * accumulate)
    assert all(len(batches) == made.steps * accumulate == len(BatchPlan(made)) for batches in ranks)
    assert all(len(batch) == 8 // processes for batches in ranks for batch in batches)
    for epoch in range(3):
        shown = [image for batches in ranks for batch in batches for number, image in batch if number == epoch]
        assert len(shown) == len(set(shown)) == made.steps_per_epoch * accumulate * 8
        assert set(shown) <= set(range(50))


def test_shares_of_the_processes_make_up_the_batch() -> None:
    made = plan(50, 2, training__batch_size=8, training__epochs=2)

    alone = list(BatchPlan(made))
    shares = [list(BatchPlan(made, rank=rank, processes=2)) for rank in (0, 1)]

    assert [first + second for first, second in zip(*shares, strict=True)] == alone


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resuming_from_any_step_continues_exactly(accumulate: int) -> None:
    made = plan(20, training__batch_size=4, training__epochs=3, training__accumulate=accumulate)
    whole = list(BatchPlan(made))

    for step in range(made.steps + 1):
        rest = BatchPlan(made, start_step=step)
        assert list(rest) == whole[step * accumulate :]
        assert len(rest) == len(whole) - step * accumulate


def test_epochs_differ() -> None:
    batches = list(BatchPlan(plan(8, training__batch_size=8, training__epochs=4)))

    orders = {tuple(image for _, image in batch) for batch in batches}

    assert len(orders) == 4


def test_batch_larger_than_the_images_is_reduced_and_said() -> None:
    made = plan(100, training__batch_size=128)

    assert made.batch_size == 100
    assert (made.steps_per_epoch, made.views_per_step) == (1, 800)
    assert made.remarks[0] == (
        "Only 100 images for 128 per step: the batch is reduced to 100, and the learning rate with it."
    )


def test_accumulated_batch_larger_than_the_images() -> None:
    made = plan(100, training__batch_size=64, training__accumulate=4)

    assert (made.batch_size, made.accumulate, made.steps_per_epoch) == (64, 1, 1)
    assert "Only 100 images for 256 per step: training.accumulate is reduced to 1" in made.remarks[0]
    assert plan(500, training__batch_size=128, training__accumulate=4).accumulate == 3


def test_reduced_batch_still_divides_among_processes() -> None:
    assert plan(101, 4, training__batch_size=128).batch_size == 100


def test_too_few_images_to_learn_from_is_said() -> None:
    assert any("too few to learn much from" in remark for remark in plan(999).remarks)
    assert plan(1000).remarks == ()


def test_accumulation_is_said_to_add_no_positives_or_negatives() -> None:
    (remark,) = plan(5000, training__accumulate=2).remarks

    assert "this adds no positives or negatives to the loss of a batch" in remark


@pytest.mark.parametrize(
    ("images", "processes", "batch", "sentence"),
    [
        (1, 1, 128, "holds 1 image; contrasting needs at least 2"),
        (5000, 3, 128, r"training.batch_size 128 does not divide among 3 processes; use 129"),
        (3, 4, 128, "3 images cannot feed 4 processes; use fewer"),
    ],
)
def test_impossible_plans(images: int, processes: int, batch: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        plan(images, processes, training__batch_size=batch)
