from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from manyview.scenes.grounds import GROUNDS, render_ground
from manyview.scenes.places import CATEGORIES, FEWEST, MOST, PLACES, USUAL_GROUND, USUAL_OBJECT, draw_contents

DRAWS = 4000


def test_every_ground_and_every_category_is_usual_in_more_than_one_place_and_in_few() -> None:
    """So that neither says which place it is, nor the place what is there."""
    grounds = Counter(ground for place in PLACES.values() for ground in place.grounds)
    objects = Counter(category for place in PLACES.values() for category in place.objects)
    assert set(grounds) == set(GROUNDS)
    assert set(objects) == set(CATEGORIES)
    assert set(grounds.values()) == {2}
    assert set(objects.values()) <= {1, 2}


@pytest.mark.parametrize("name", PLACES)
def test_contents_of_a_place_are_usual_as_often_as_declared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = PLACES[name]
    monkeypatch.setattr("manyview.scenes.places.PLACES", {name: place})
    contents = [draw_contents(np.random.default_rng(seed)) for seed in range(DRAWS)]
    counts = Counter(len(categories) for _, categories in contents)
    assert set(counts) == set(range(FEWEST, MOST + 1))
    within(max(counts.values()) / DRAWS, 1 / len(counts), DRAWS)
    usual = np.mean([ground in place.grounds for ground, _ in contents])
    within(usual, USUAL_GROUND + (1 - USUAL_GROUND) * len(place.grounds) / len(GROUNDS), DRAWS)
    # The objects of a scene are drawn from the same few, so only scenes are independent.
    share = np.mean([np.mean([each in place.objects for each in categories]) for _, categories in contents])
    within(float(share), USUAL_OBJECT + (1 - USUAL_OBJECT) * len(place.objects) / len(CATEGORIES), DRAWS)
    assert max(len({each for each in categories if each in place.objects}) for _, categories in contents) > 1


def within(share: float, expected: float, draws: int) -> None:
    assert abs(share - expected) < 4.5 * np.sqrt(expected * (1 - expected) / draws)


def test_every_place_is_as_frequent() -> None:
    """By the categories that are usual in one place alone."""
    shown = Counter(each for seed in range(DRAWS) for each in set(draw_contents(np.random.default_rng(seed)).categories))
    assert min(shown[category] for category in CATEGORIES) > 0.1 * DRAWS


@pytest.mark.parametrize("name", GROUNDS)
def test_a_ground_has_its_two_colors_and_no_others(name: str) -> None:
    canvas = render_ground(name, 80, 60, np.random.default_rng(0))
    assert canvas.shape == (3, 60, 80)
    first, second = np.array(GROUNDS[name].first), np.array(GROUNDS[name].second)
    mix = (canvas - first[:, None, None]) / (second - first)[:, None, None]
    np.testing.assert_allclose(mix, np.broadcast_to(mix[:1], mix.shape), atol=1e-4)
    assert mix.min() >= -1e-5
    assert mix.max() <= 1 + 1e-5
    assert mix.std() > 0.08
