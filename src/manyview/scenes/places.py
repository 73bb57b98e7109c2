"""Which grounds and objects go together in synthetic scenes, as cups and tables do in photographs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from manyview.scenes.grounds import GROUNDS
from manyview.scenes.shapes import PAINTERS

CATEGORIES: tuple[str, ...] = tuple(PAINTERS)
USUAL_GROUND, USUAL_OBJECT = 0.6, 0.92  # how often a scene has what is usual in its place, else any
FEWEST, MOST = 7, 11  # objects in a scene
LEAST_SHARE = 0.25  # of the usual objects that are of either category, on average


class Place(NamedTuple):
    """A type of scene: its usual grounds, and the two categories that are usual together."""

    grounds: tuple[str, str]
    categories: tuple[str, str]


# Every category is usual in two places and every ground in four, so that neither alone says what else is there.
PLACES: dict[str, Place] = {
    "beach": Place(("sand", "stone"), ("shell", "star")),
    "pool": Place(("tiles", "sand"), ("star", "ring")),
    "playroom": Place(("wood", "tiles"), ("ring", "ball")),
    "garden": Place(("grass", "wood"), ("ball", "flower")),
    "meadow": Place(("grass", "sand"), ("flower", "mushroom")),
    "forest": Place(("grass", "stone"), ("mushroom", "leaf")),
    "pond": Place(("stone", "grass"), ("leaf", "fish")),
    "harbor": Place(("wood", "stone"), ("fish", "crate")),
    "workshop": Place(("tiles", "wood"), ("crate", "gear")),
    "cabinet": Place(("sand", "tiles"), ("gear", "shell")),
}


class Contents(NamedTuple):
    """What a scene shows: the name of its ground, and the category of each object, from the lowest up."""

    ground: str
    categories: tuple[str, ...]


def draw_contents(rng: np.random.Generator) -> Contents:
    """The contents of a scene in a place drawn at random."""
    place = PLACES[_one_of(tuple(PLACES), rng)]
    ground = _one_of(place.grounds if rng.random() < USUAL_GROUND else tuple(GROUNDS), rng)
    first_share, count = rng.uniform(LEAST_SHARE, 1 - LEAST_SHARE), rng.integers(FEWEST, MOST + 1)
    categories = []
    for _ in range(count):
        usual = place.categories[int(rng.random() >= first_share)]
        categories.append(usual if rng.random() < USUAL_OBJECT else _one_of(CATEGORIES, rng))
    return Contents(ground, tuple(categories))


def _one_of(names: tuple[str, ...], rng: np.random.Generator) -> str:
    return names[rng.integers(len(names))]
