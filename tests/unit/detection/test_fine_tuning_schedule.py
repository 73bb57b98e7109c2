"""Recipes, what follows from them, and what each iteration takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from manyview.detection.schedule import (
    learning_rate,
    sampling_seed,
    statistics_indices,
    statistics_seed,
    training_indices,
)
from manyview.detection.settings import RECIPES, DetectionSettings, read_sides, settle
from manyview.errors import UserError
from manyview.options.base import defaults
from manyview.options.detection import FineTuneOptions

pytestmark = pytest.mark.usefixtures("narrow")


def settled(recipe: str, **options: Any) -> DetectionSettings:
    return settle({**defaults(FineTuneOptions), "recipe": recipe, **options})  # type: ignore[typeddict-item]


def test_recipes_are_the_published_ones() -> None:
    voc, coco = settled("voc-24k"), settled("coco-1x")
    assert (voc.iterations, voc.steps, voc.warm_up) == (24_000, (18_000, 22_000), 100)
    assert voc.short_sides == (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    assert (coco.iterations, coco.steps, coco.warm_up) == (90_000, (60_000, 80_000), 1_000)
    assert coco.short_sides == (640, 672, 704, 736, 768, 800)
    for settings, rate in ((voc, 0.01), (coco, 0.02)):
        assert (settings.batch_size, settings.learning_rate) == (8, rate)
        assert (settings.test_short_side, settings.max_side) == (800, 1333)
        assert (settings.regions, settings.test_proposals, settings.precise_batches) == (512, 1000, 200)


def test_a_shorter_schedule_keeps_its_shape() -> None:
    settings = settled("voc-24k", iterations=480, batch_size=16, short_side="160-240")
    assert settings.steps == (360, 440)
    assert settings.warm_up == 48
    assert settings.learning_rate == 0.02
    assert settings.short_sides == (160, 192, 224)
    assert settings.test_short_side == 224
    assert settled("voc-24k", iterations=48_000).warm_up == 100
    assert settled("voc-24k", batch_size=16, learning_rate=0.3).learning_rate == 0.3


def test_the_learning_rate_is_that_of_a_separate_computation() -> None:
    settings = settled("voc-24k", iterations=1_200)
    assert (settings.warm_up, settings.steps) == (100, (900, 1_100))
    expected = np.full(1_200, 0.01)
    expected[:100] = np.linspace(1e-5, 0.01, 101)[:100]
    expected[900:] /= 10
    expected[1_100:] /= 10
    assert [learning_rate(settings, step) for step in range(1_200)] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "sides"),
    [("480", (480,)), (96, (96,)), ("480,512,640", (480, 512, 640)), ("64-128", (64, 96, 128)), ([64, 80], (64, 80))],
)
def test_sides_are_read(text: Any, sides: tuple[int, ...]) -> None:
    assert read_sides(text) == sides


@pytest.mark.parametrize("text", ["", "a", "64-", "128-64", []])
def test_sides_that_are_none_are_reported(text: Any) -> None:
    with pytest.raises(UserError, match=r"the short side .* cannot be read"):
        read_sides(text)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"recipe": "voc"}, "unknown recipe 'voc': choose voc-24k or coco-1x"),
        ({"architecture": "yolo"}, "unknown architecture 'yolo': choose c4 or fpn"),
        ({"iterations": 0}, "iterations must be at least 1, not 0"),
        ({"eval_every": 0}, "eval_every must be at least 1, not 0"),
        ({"learning_rate": 0}, "learning_rate must be over 0 and finite, not 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be over 0 and finite, not nan"),
        ({"seed": -1}, "seed must be from 0 to 2**63 - 1, not -1"),
        ({"short_side": 16}, "short_side must be at least 32 pixels, not 16"),
        ({"max_side": 700}, "max_side must be at least the short side, 800, not 700"),
        ({"short_side": "wide"}, "the short side 'wide' cannot be read"),
        ({"short_side": "512-480"}, "the short side '512-480' cannot be read"),
        ({"precise_batches": -1}, "precise_batches must be at least 0"),
        ({"precision": "half"}, "precision must be"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        settled(**{"recipe": "voc-24k", **wrong})
    assert message in str(caught.value)


def shapes(count: int, first: int = 0) -> dict[int, bool]:
    """Two in three are wider than high."""
    return {index: index % 3 > 0 for index in range(first, first + count)}


def test_all_images_are_taken_once_in_each_pass_in_orders_of_their_own() -> None:
    settings = settled("voc-24k", iterations=35, batch_size=4)
    chosen = dict.fromkeys(range(100, 114), True)
    taken = [place for batch in training_indices(settings, chosen, 0) for place in batch]
    assert len(taken) == 140
    orders = [[index for epoch, index in taken if epoch == number] for number in range(10)]
    assert all(sorted(order) == list(chosen) for order in orders)
    assert len({tuple(order) for order in orders}) == 10
    other = settled("voc-24k", iterations=35, batch_size=4, seed=1)
    assert taken != [place for batch in training_indices(other, chosen, 0) for place in batch]


def test_a_batch_is_of_one_orientation_and_none_is_left_behind() -> None:
    settings = settled("voc-24k", iterations=300, batch_size=4)
    images = shapes(15)
    batches = list(training_indices(settings, images, 0))
    assert all(len({images[index] for _, index in batch}) == 1 for batch in batches)
    taken = [place for batch in batches for place in batch]
    assert len(set(taken)) == len(taken) == 1200
    for wide in (True, False):
        of_shape = [place for place in taken if images[place[1]] == wide]
        # In passes, one after the other, each whole: only the batch that the run did not come to lacks some.
        assert [epoch for epoch, _ in of_shape] == sorted(epoch for epoch, _ in of_shape)
        size = sum(shape == wide for shape in images.values())
        for start in range(0, len(of_shape) - size, size):
            assert len(set(of_shape[start : start + size])) == size
            assert len({epoch for epoch, _ in of_shape[start : start + size]}) == 1
    assert sum(images[index] for _, index in taken) / len(taken) == pytest.approx(2 / 3, abs=4 / 1200)


def test_too_few_of_one_orientation_are_mixed_with_the_others() -> None:
    """A batch of one orientation would hold the same image several times."""
    settings = settled("voc-24k", iterations=100, batch_size=4, precise_batches=9)
    images = {index: index > 0 for index in range(8)}
    batches = list(training_indices(settings, images, 0))
    assert all(len({index for _, index in batch}) == 4 for batch in batches)
    assert sum(index == 0 for batch in batches for _, index in batch) == 50
    measured = statistics_indices(settings, images, 5)
    assert sorted(index for batch in measured for _, index in batch) == list(range(8))


def test_a_later_start_and_several_processes_change_nothing() -> None:
    settings = settled("voc-24k", iterations=20, batch_size=4)
    whole = list(training_indices(settings, shapes(7), 0))
    assert list(training_indices(settings, shapes(7), 11)) == whole[11:]
    parts = [list(training_indices(settings, shapes(7), 0, rank, 2)) for rank in range(2)]
    assert [first + second for first, second in zip(*parts, strict=True)] == whole


def test_statistics_are_measured_on_whole_batches_of_different_images() -> None:
    settings = settled("voc-24k", batch_size=4, precise_batches=3)
    images = shapes(19, first=50)
    batches = statistics_indices(settings, images, 500)
    taken = [index for batch in batches for _, index in batch]
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert all(len({images[index] for _, index in batch}) == 1 for batch in batches)
    assert len(set(taken)) == 12
    assert set(taken) <= set(images)
    assert batches != statistics_indices(settings, images, 600)
    parts = [statistics_indices(settings, images, 500, rank, 2) for rank in range(2)]
    assert [first + second for first, second in zip(*parts, strict=True)] == batches


def test_statistics_of_few_images() -> None:
    settings = settled("voc-24k", batch_size=4)
    assert len(statistics_indices(settings, shapes(19), 5)) == 4  # of 12 wide and 7 high
    [batch] = statistics_indices(settings, shapes(3), 5)
    assert {index for _, index in batch} == {0, 1, 2}
    assert len(batch) == 4
    assert statistics_indices(settled("voc-24k", precise_batches=0), shapes(19), 5) == []


def test_no_two_draws_share_a_seed() -> None:
    settings = settled("voc-24k")
    seeds = [sampling_seed(settings, iteration, rank) for iteration in range(50) for rank in range(4)]
    seeds += [statistics_seed(settings, 10, batch, rank) for batch in range(20) for rank in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert set(RECIPES) == {"voc-24k", "coco-1x"}
