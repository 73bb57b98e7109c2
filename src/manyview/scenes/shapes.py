"""The ten object categories of synthetic scenes: an outline and a two-color pattern each, in object coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32

Plane = Float32[np.ndarray, "side side"]
Painting = tuple[Bool[np.ndarray, "side side"], Bool[np.ndarray, "side side"]]
Painter = Callable[[Plane, Plane, np.random.Generator], Painting]

# Every painter takes x (to the right) and y (down) and returns two masks: the object, and the part in the second of its
# two colors. An object lies inside the unit circle. Random numbers vary the objects of one category.


def _ball(x: Plane, y: Plane, rng: np.random.Generator) -> Painting:
    meridian = np.arcsin(np.clip(x / np.sqrt(np.maximum(1 - y * y, 1e-3)), -1, 1))
    return np.hypot(x, y) < 0.92, np.floor(meridian * rng.uniform(1.7, 2.3) + rng.uniform()) % 2 == 0


def _crate(x: Plane, y: Plane, rng: np.random.Generator) -> Painting:
    half, frame = 0.68, rng.uniform(0.5, 0.56)
    brace = np.abs(x - y) < 0.13
    slits = np.abs((x * int(rng.integers(4, 6)) / (2 * half)) % 1 - 0.5) > 0.42
    outline = np.maximum(np.abs(x), np.abs(y))
    return outline < half, (outline > frame) | brace | (slits & ~brace)


def _fish(x: Plane, y: Plane, rng: np.random.Generator) -> Painting:
    body = np.hypot((x + 0.18) / 0.7, y / rng.uniform(0.42, 0.5)) < 1
    tail = (x > 0.3) & (x < 0.84) & (np.abs(y) < (x - 0.2) * 0.8)
    rows = y * 6.5
    scales = np.hypot((x * 6.5 + np.floor(rows) % 2 * 0.5) % 1 - 0.9, rows % 1 - 0.5) > 0.62
    eye = np.hypot(x + 0.6, y + 0.1) < 0.09
    return body | tail, np.where(x < -0.42, eye, scales | (tail & ~body & (np.abs(y * 9) % 1 < 0.5)))


def _flower(x: Plane, y: Plane, rng: np.random.Generator) -> Painting:
    petals, radius = int(rng.integers(5, 8)), np.hypot(x, y)
    wave = np.cos(petals * np.arctan2(y, x))
    return radius < 0.64 + 0.3 * wave, (radius < 0.3) | ((wave > 0.93) & (radius < 0.75))


def _gear(x: Plane, y: Plane, rng: np.random.Generator) -> Painting:
    teeth, radius, angle = int(rng.integers(8, 12)), np.hypot(x, y), np.arctan2(y, x)
    rim = np.where(np.cos(teeth * angle) > 0, 0.95, 0.74)
    holes = (np.abs(radius - 0.46) < 0.1) & (np.cos(int(rng.integers(4, 7)) * angle) > 0.3)
    return (radius < rim) & (radius > 0.16), holes | (radius < 0.27)


def _leaf(x: Plane, y: Plane, rng: np.random.Generator) -> Painting:
    width = rng.uniform(0.46, 0.6) * np.clip(1 - x * x, 0, 1) ** 0.8
    blade, stalk = (np.abs(y) < width) & (x > -0.8), (np.abs(y) < 0.05) & (x < -0.6) & (x > -0.98)
    veins = ((x - 0.9 * np.abs(y)) * rng.uniform(3.6, 4.6)) % 1 < 0.3
    return blade | stalk, (np.abs(y) < 0.055) | (veins & blade)


def _mushroom(x: Plane, y: Plane, rng: np.random.Generator) -> Painting:
    cap = (np.hypot(x / 0.9, (y - 0.1) / rng.uniform(0.8, 0.95)) < 1) & (y < 0.1)
    stem = (np.abs(x) < rng.uniform(0.17, 0.24) + 0.1 * y * y) & (y >= 0.1) & (y < 0.86)
    spots = np.zeros_like(cap)
    for center in (-0.55, 0.0, 0.52):
        spots |= np.hypot(x - center, y + rng.uniform(0.1, 0.5) - 0.4 * abs(center)) < rng.uniform(0.13, 0.18)
    return cap | stem, (cap & spots) | stem


def _ring(x: Plane, y: Plane, rng: np.random.Generator) -> Painting:
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    return (radius < 0.93) & (radius > rng.uniform(0.46, 0.54)), np.sin(
        int(rng.integers(5, 8)) * angle + 4 * radius
    ) > 0


def _shell(x: Plane, y: Plane, rng: np.random.Generator) -> Painting:
    radius = np.hypot(x, y)
    turns = np.log(np.maximum(radius, 0.03)) * rng.uniform(1.3, 1.7) + np.arctan2(y, x) / (2 * np.pi)
    return radius < 0.92, turns % 1 < 0.5


def _star(x: Plane, y: Plane, rng: np.random.Generator) -> Painting:
    sector = 2 * np.pi / 5
    turn = (np.arctan2(y, x) + np.pi / 2) % sector
    offset = np.minimum(turn, sector - turn)  # angle to the nearest of the five points
    inner, half = rng.uniform(0.4, 0.48), sector / 2
    # On the straight edge from a point (radius 1, angle 0) to a notch (radius inner, angle half).
    across, along = inner * math.sin(half), 1 - inner * math.cos(half)
    edge = across / (np.sin(offset) * along + np.cos(offset) * across)
    return np.hypot(x, y) < 0.98 * edge, turn < half


PAINTERS: dict[str, Painter] = {
    "ball": _ball,
    "crate": _crate,
    "fish": _fish,
    "flower": _flower,
    "gear": _gear,
    "leaf": _leaf,
    "mushroom": _mushroom,
    "ring": _ring,
    "shell": _shell,
    "star": _star,
}
