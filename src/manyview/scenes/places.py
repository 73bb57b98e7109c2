"""Which grounds and objects go together in synthetic scenes, as cups and tables do in photographs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from manyview.scenes.grounds import GROUNDS
from manyview.scenes.shapes import PAINTERS

CATEGORIES: tuple[str, ...] = tuple(PAINTERS)
USUAL_GROUND, USUAL_OBJECT = 0.6, 0.9  # how often a scene has what is usual in its place, else any
FEWEST, MOST = 8, 13  # objects in a scene


class Place(NamedTuple):
    """A type of scene: its usual grounds and objects, each as often as the others."""

    grounds: tuple[str, ...]
    objects: tuple[str, ...]


# Every ground is usual in two places, every category in two or three.
PLACES: dict[str, Place] = {
    "beach": Place(("sand", "stone"), ("shell", "star", "fish", "ball")),
    "forest": Place(("grass", "stone"), ("mushroom", "leaf", "shell")),
    "garden": Place(("grass", "wood"), ("flower", "leaf", "ball")),
    "market": Place(("tiles", "wood"), ("crate", "fish", "mushroom", "flower")),
    "workshop": Place(("tiles", "sand"), ("gear", "ring", "crate", "star")),
}


class Contents(NamedTuple):
    """What a scene shows: the name of its ground, and the category of each object, from the lowest up."""

    ground: str
    categories: tuple[str, ...]


def draw_contents(rng: np.random.Generator) -> Contents:
    """The contents of a scene in a place drawn at random."""
    place = PLACES[_one_of(tuple(PLACES), rng)]
    ground = _one_of(place.grounds if rng.random() < USUAL_GROUND else tuple(GROUNDS), rng)
    shown = rng.choice(place.objects, size=min(int(rng.integers(1, 4)), len(place.objects)), replace=False)
    count = rng.integers(FEWEST, MOST + 1)
    categories = (_one_of(shown if rng.random() < USUAL_OBJECT else CATEGORIES, rng) for _ in range(count))
    return Contents(ground, tuple(categories))


def _one_of(names: tuple[str, ...] | np.ndarray, rng: np.random.Generator) -> str:
    return str(names[rng.integers(len(names))])
