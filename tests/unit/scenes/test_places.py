from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from manyview.scenes.grounds import GROUNDS, render_ground
from manyview.scenes.places import CATEGORIES, FEWEST, MOST, PLACES, USUAL_GROUND, USUAL_OBJECT, draw_contents

DRAWS = 4000


def test_neither_a_ground_nor_a_category_says_the_place() -> None:
    grounds = Counter(ground for place in PLACES.values() for ground in place.grounds)
    categories = Counter(category for place in PLACES.values() for category in place.categories)
    assert set(grounds) == set(GROUNDS)
    assert set(categories) == set(CATEGORIES)
    assert set(grounds.values()) == {4}
    assert set(categories.values()) == {2}
    assert len({frozenset(place.categories) for place in PLACES.values()}) == len(PLACES)


@pytest.mark.parametrize("name", PLACES)
def test_contents_of_a_place_are_usual_as_often_as_declared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = PLACES[name]
    monkeypatch.setattr("manyview.scenes.places.PLACES", {name: place})
    contents = [draw_contents(np.random.default_rng(seed)) for seed in range(DRAWS)]
    counts = Counter(len(categories) for _, categories in contents)
    assert set(counts) == set(range(FEWEST, MOST + 1))
    for count in counts.values():
        within(count / DRAWS, 1 / len(counts), DRAWS)
    usual = np.mean([ground in place.grounds for ground, _ in contents])
    within(float(usual), USUAL_GROUND + (1 - USUAL_GROUND) * len(place.grounds) / len(GROUNDS), DRAWS)
    objects = [each for _, categories in contents for each in categories]
    expected = USUAL_OBJECT + (1 - USUAL_OBJECT) * len(place.categories) / len(CATEGORIES)
    within(float(np.mean([each in place.categories for each in objects])), expected, len(objects))
    # Which of the two prevails differs between scenes, not between places.
    first, second = (np.array([categories.count(each) for _, categories in contents]) for each in place.categories)
    share = first / (first + second)
    assert abs(share.mean() - 0.5) < 4.5 * share.std() / np.sqrt(DRAWS)
    assert share.std() > 1.1 * np.sqrt(0.25 / FEWEST)  # more than for equal shares in the smallest scenes


def within(share: float, expected: float, draws: int) -> None:
    assert abs(share - expected) < 4.5 * np.sqrt(expected * (1 - expected) / draws)


def test_every_place_is_as_frequent() -> None:
    """By the two categories that prevail in a scene, which are those of one place or, where strays prevail, none's."""
    pairs = {frozenset(place.categories): name for name, place in PLACES.items()}
    found = Counter(
        pairs.get(
            frozenset(each for each, _ in Counter(draw_contents(np.random.default_rng(seed)).categories).most_common(2))
        )
        for seed in range(DRAWS)
    )
    known = DRAWS - found.pop(None)
    assert known > 0.7 * DRAWS
    assert set(found) == set(PLACES)
    for count in found.values():
        within(count / known, 1 / len(PLACES), known)


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
