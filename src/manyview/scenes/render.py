"""Rendering of synthetic scenes: images of many known objects, for demonstrations and tests without real images.

Objects of ten categories lie on one of five grounds under one light; which go together, ``places`` says. They overlap
and extend beyond the border. Their colors are drawn from one distribution for all categories, so only outline and
pattern identify a category. Figures measured on these scenes say nothing about real images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageFilter

from manyview.scenes.grounds import Pixels, render_ground
from manyview.scenes.places import draw_contents
from manyview.scenes.shapes import PAINTERS, Plane

RADII = (0.11, 0.2)  # of objects, in shares of the image's shorter side
VISIBLE_SHARE = 0.5  # an object with a smaller visible share has neither label nor mask
_COVERED = 0.5  # coverage from which a pixel belongs to the object
_SUPERSAMPLING = 2
_SHADOW = 0.55  # share of the light that a shadow removes

Mask = Bool[np.ndarray, "height width"]
Color = Float32[np.ndarray, "rgb 1 1"]
Window = tuple[EllipsisType, slice, slice]  # part of a plane, or of all planes at once


@dataclass
class _Object:
    """One object with its position; ``alpha`` contains all of it, perhaps extending beyond the image."""

    category: str
    center: tuple[float, float]
    radius: float
    alpha: Float32[np.ndarray, "side side"]
    color: Float32[np.ndarray, "rgb side side"]

    @property
    def corner(self) -> tuple[int, int]:
        half = len(self.alpha) / 2
        return round(self.center[0] - half), round(self.center[1] - half)


class Scene(NamedTuple):
    """A rendered image and its visible objects.

    Attributes:
        pixels: RGB.
        objects: category and mask of each visible object, the lowest first. A mask has the pixels that its object
            covers at least half and no object above it does, so no pixel belongs to two masks.
    """

    pixels: UInt8[np.ndarray, "height width 3"]
    objects: list[tuple[str, Mask]]


def render_scene(seed: int, size: tuple[int, int] = (128, 128)) -> Scene:
    """Render one synthetic scene of several objects, some of the same category.

    Args:
        seed: decides everything; equal seeds give equal scenes.
        size: width and height in pixels.

    Returns:
        The pixels, and the objects of which at least ``VISIBLE_SHARE`` is visible: neither hidden by other objects nor
        cut off by the border. Less visible objects count as background.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    contents = draw_contents(rng)
    angle = rng.uniform(-0.8, -0.2) * np.pi
    light = (math.cos(angle), math.sin(angle))  # unit vector towards the light, x right, y down
    canvas = render_ground(contents.ground, width, height, rng)
    objects = _objects(contents.categories, rng, width, height, light)
    for item in objects:
        _cast_shadow(canvas, item, light)
        region, patch = _overlap(canvas, item.alpha, item.corner)
        canvas[region] += item.alpha[patch] * (item.color[patch] - canvas[region])
    canvas *= _lighting(rng, width, height, light)
    canvas += 0.012 * rng.standard_normal((height, width), dtype=np.float32)
    pixels = (np.clip(canvas, 0, 1, out=canvas) * 255 + 0.5).astype(np.uint8)
    return Scene(np.ascontiguousarray(pixels.transpose(1, 2, 0)), _visible(objects, canvas))


def _visible(objects: list[_Object], canvas: Pixels) -> list[tuple[str, Mask]]:
    """Categories and masks of the objects that are visible enough, the lowest first."""
    free = np.ones(canvas.shape[1:], dtype=np.float32)  # share of each pixel not covered by the objects above
    taken = np.zeros(canvas.shape[1:], dtype=bool)  # pixels of the objects above
    found = []
    for item in reversed(objects):
        region, patch = _overlap(canvas, item.alpha, item.corner)
        alpha = item.alpha[patch]
        shown, mask = (alpha * free[region]).sum(), np.zeros_like(taken)
        mask[region] = (alpha >= _COVERED) & ~taken[region]
        free[region] *= 1 - alpha
        taken |= mask
        # The smallest pictures have objects that are thinner than a pixel.
        if shown >= VISIBLE_SHARE * item.alpha.sum() and mask.any():
            found.append((item.category, mask))
    return found[::-1]


def _overlap(canvas: Pixels, patch: np.ndarray, corner: tuple[int, int]) -> tuple[Window, Window]:
    """Slices of the canvas and of a patch at ``corner`` (left, top) where the two meet."""
    (height, width), (rows, columns), (left, top) = canvas.shape[1:], patch.shape, corner
    x0, x1, y0, y1 = max(left, 0), min(left + columns, width), max(top, 0), min(top + rows, height)
    on_canvas = (..., slice(y0, max(y0, y1)), slice(x0, max(x0, x1)))
    on_patch = (..., slice(y0 - top, max(y0, y1) - top), slice(x0 - left, max(x0, x1) - left))
    return on_canvas, on_patch


def _objects(
    categories: Sequence[str], rng: np.random.Generator, width: int, height: int, light: tuple[float, float]
) -> list[_Object]:
    objects: list[_Object] = []
    for category in categories:
        radius = min(width, height) * math.exp(rng.uniform(*np.log(RADII)))
        center = _find_center(rng, width, height, radius, objects)
        alpha, color = _paint(rng, category, radius, light)
        objects.append(_Object(category, center, radius, alpha, color))
    return objects


def _find_center(
    rng: np.random.Generator, width: int, height: int, radius: float, others: list[_Object]
) -> tuple[float, float]:
    """A center that leaves most of the other objects visible, or the last one tried."""
    margin = 0.6 * radius
    for _ in range(8):
        x, y = rng.uniform(margin, width - margin), rng.uniform(margin, height - margin)
        gaps = [math.dist((x, y), other.center) / (radius + other.radius) for other in others]
        if all(gap > 0.7 for gap in gaps):
            break
    return x, y


def _paint(
    rng: np.random.Generator, category: str, radius: float, light: tuple[float, float]
) -> tuple[Float32[np.ndarray, "side side"], Pixels]:
    """An object's coverage (0 to 1) and colors (0 to 1), rotated, squeezed and lit."""
    side = 2 * math.ceil(radius) + 2
    right, down = _grid(side, radius, _SUPERSAMPLING)
    turn, squeeze = rng.uniform(-0.9, 0.9), rng.uniform(0.78, 1.0)
    cos, sin, mirror = math.cos(turn), math.sin(turn), int(rng.choice((-1, 1)))
    x, y = mirror * (cos * right + sin * down), (cos * down - sin * right) / squeeze
    inside, second = PAINTERS[category](x, y, rng)
    alpha = _reduce(inside)
    share = _reduce(second & inside) / np.maximum(alpha, 1e-3)
    first_color, second_color = _two_colors(rng)
    color = first_color + share * (second_color - first_color)
    # Shading of a rounded body: brighter towards the light, darker away from it and near the rim.
    right, down = _grid(side, radius, 1)
    relief = 1 + 0.3 * (right * light[0] + down * light[1]) - 0.18 * (right**2 + down**2)
    grain = 1 + 0.04 * rng.standard_normal(alpha.shape, dtype=np.float32)
    return alpha, color * (relief * grain)


def _grid(side: int, radius: float, samples: int) -> tuple[Plane, Plane]:
    """Coordinates of a square of ``side`` pixels around its center, in radii, with ``samples`` per pixel and axis."""
    steps = ((np.arange(side * samples, dtype=np.float32) + 0.5) / samples - side / 2) / radius
    right, down = np.meshgrid(steps, steps)
    return right, down


def _reduce(mask: Bool[np.ndarray, "fine fine"]) -> Plane:
    """Share of each pixel that a mask at _SUPERSAMPLING points a pixel covers."""
    total = np.zeros((len(mask) // _SUPERSAMPLING,) * 2, dtype=np.float32)
    for row in range(_SUPERSAMPLING):
        for column in range(_SUPERSAMPLING):
            total += mask[row::_SUPERSAMPLING, column::_SUPERSAMPLING]
    return total / _SUPERSAMPLING**2


def _two_colors(rng: np.random.Generator) -> tuple[Color, Color]:
    """A light and a dark color of any hues, in either order."""
    light = _color(rng, rng.uniform(0.75, 1.0), rng.uniform(0.1, 0.75))
    dark = _color(rng, rng.uniform(0.15, 0.5), rng.uniform(0.2, 0.9))
    return (light, dark) if rng.random() < 0.5 else (dark, light)


def _color(rng: np.random.Generator, value: float, saturation: float) -> Color:
    hue = np.abs((rng.random() * 6 + np.array([0, 4, 2]).reshape(3, 1, 1)) % 6 - 3) - 1
    color: Color = (value * (1 - saturation * (1 - np.clip(hue, 0, 1)))).astype(np.float32)
    return color


def _cast_shadow(canvas: Pixels, item: _Object, light: tuple[float, float]) -> None:
    margin = max(2, round(item.radius / 3))
    mask = Image.fromarray((np.pad(item.alpha, margin) * 255).astype(np.uint8))
    shadow = np.asarray(mask.filter(ImageFilter.GaussianBlur(item.radius / 10)), dtype=np.float32) / 255
    reach, (left, top) = 0.16 * item.radius, item.corner
    corner = (round(left - margin - reach * light[0]), round(top - margin - reach * light[1]))
    region, patch = _overlap(canvas, shadow, corner)
    canvas[region] *= 1 - _SHADOW * shadow[patch]


def _lighting(rng: np.random.Generator, width: int, height: int, light: tuple[float, float]) -> Pixels:
    """Brightness factors across the scene, with the tint of the light."""
    across = np.linspace(-1, 1, width, dtype=np.float32) * light[0]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * light[1]
    strength, exposure = rng.uniform(0.05, 0.3), rng.uniform(0.8, 1.2)
    tint = 1 + rng.uniform(-0.08, 0.08, (3, 1, 1)).astype(np.float32)
    factors: Pixels = exposure * (1 + strength * (across + down)) * tint
    return factors
