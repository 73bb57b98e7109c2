"""The five grounds of synthetic scenes: sand, grass, wood, tiles and stone, each in two colors of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from PIL import Image

Plane = Float32[np.ndarray, "height width"]
Pixels = Float32[np.ndarray, "rgb height width"]  # planes: NumPy is far slower over three interleaved channels
RGB = tuple[float, float, float]


class Ground(NamedTuple):
    """A ground: how much of its second color each pixel has, and its two colors (RGB, 0 to 1)."""

    mix: Callable[[Plane, Plane, np.random.Generator], Plane]
    first: RGB
    second: RGB


def render_ground(name: str, width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A ground of ``GROUNDS`` in even light, seen from a distance and at a slant that vary, with coarse patches."""
    ground = GROUNDS[name]
    turn, scale = rng.uniform(-0.5, 0.5), rng.uniform(0.6, 1.5) * min(width, height)
    x, y = np.arange(width, dtype=np.float32)[None] / scale, np.arange(height, dtype=np.float32)[:, None] / scale
    cos, sin = math.cos(turn), math.sin(turn)
    mix = ground.mix(x * cos + y * sin + rng.uniform(), y * cos - x * sin + rng.uniform(), rng)
    mix = np.clip(0.75 * mix + 0.4 * (_hills(mix, rng, 3) - 0.25), 0, 1).astype(np.float32)
    first, second = (np.array(color, dtype=np.float32).reshape(3, 1, 1) for color in (ground.first, ground.second))
    canvas: Pixels = first + mix * (second - first)
    return canvas


def _hills(like: Plane, rng: np.random.Generator, count: int) -> Plane:
    """Smooth noise of another plane's size, with about ``count`` hills along either side, 0 to 1 at the knots."""
    height, width = like.shape
    knots = Image.fromarray(rng.random((count, count), dtype=np.float32))
    return np.asarray(knots.resize((width, height), Image.Resampling.BICUBIC))


def _sand(u: Plane, v: Plane, rng: np.random.Generator) -> Plane:
    ripples = np.sin(2 * np.pi * (15 * (v + 0.12 * _hills(u, rng, 4))))
    return 0.5 + 0.3 * ripples + 0.3 * (_hills(u, rng, 64) - 0.5)


def _grass(u: Plane, v: Plane, rng: np.random.Generator) -> Plane:
    return _hills(u, rng, 42) * (0.6 + 0.6 * _hills(u, rng, 6))


def _wood(u: Plane, v: Plane, rng: np.random.Generator) -> Plane:
    plank = np.floor(4 * v)
    grain = 0.5 + 0.5 * np.sin(2 * np.pi * (14 * (v + 0.06 * _hills(u, rng, 5)) + 0.37 * plank))
    gap = (4 * v) % 1 < 0.06
    return np.where(gap, 1.0, 0.5 * grain + 0.3 * _hills(u, rng, 40))


def _tiles(u: Plane, v: Plane, rng: np.random.Generator) -> Plane:
    joints = np.minimum(np.abs((5 * u) % 1 - 0.5), np.abs((5 * v) % 1 - 0.5)) < 0.04
    checks = 0.35 * ((np.floor(5 * u + 0.5) + np.floor(5 * v + 0.5)) % 2)
    return np.where(joints, 1.0, checks + 0.25 * _hills(u, rng, 20))


def _stone(u: Plane, v: Plane, rng: np.random.Generator) -> Plane:
    return 0.5 * _hills(u, rng, 9) + 0.5 * _hills(u, rng, 28)


GROUNDS: dict[str, Ground] = {
    "grass": Ground(_grass, (0.45, 0.55, 0.22), (0.18, 0.33, 0.12)),
    "sand": Ground(_sand, (0.86, 0.76, 0.56), (0.66, 0.55, 0.38)),
    "stone": Ground(_stone, (0.66, 0.66, 0.68), (0.36, 0.37, 0.4)),
    "tiles": Ground(_tiles, (0.82, 0.8, 0.76), (0.45, 0.5, 0.56)),
    "wood": Ground(_wood, (0.68, 0.48, 0.3), (0.38, 0.24, 0.14)),
}
