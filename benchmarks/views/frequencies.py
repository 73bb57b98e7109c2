"""Frequencies of the random choices in views, compared with their probabilities.

    python -m benchmarks.views.frequencies --out frequencies.json [--page docs/performance.md]

A z-score is the distance from the target in standard deviations of the figure over its samples: of a hundred figures
about five are beyond 2, and none beyond 4.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from benchmarks.arguments import command_line, parsed
from benchmarks.records import origin, put_between_markers, table, write_json
from manyview.config import BlockViewsConfig, PretrainConfig
from manyview.recipes import recipe_settings
from manyview.views import ViewParameters, sample_views, views_per_image

RECIPES = ("paper", "released")
SIZE = (640, 480)
OPERATIONS = ("brightness", "contrast", "saturation", "hue")
GRID = 2000  # points a side for the integral over crops


@dataclass(frozen=True)
class Figure:
    """A frequency or a mean.

    Attributes:
        name: what is counted or averaged.
        samples: number of views.
        target: expected value.
        found: measured value.
        z: distance of the two in standard deviations of ``found``.
    """

    name: str
    samples: int
    target: float
    found: float
    z: float


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    recipes = {}
    for seed, recipe in enumerate(RECIPES):  # another seed for each, or the same numbers would be tested twice
        config = _views(recipe)
        recipes[recipe] = [asdict(figure) for figure in figures(config, sample(config, options.samples, seed))]
    result = {**origin("views.frequencies", options.given), "samples": options.samples, "recipes": recipes}
    write_json(options.out, result)
    text = markdown(result)
    if options.page:
        put_between_markers(options.page, "frequencies", text)
    print(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--samples", type=int, default=100_000, help="views of each recipe")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/frequencies.json"))
    parser.add_argument("--page", type=Path, help="document whose table is replaced")
    return parsed(parser, arguments)


def sample(config: BlockViewsConfig, count: int, seed: int) -> list[ViewParameters]:
    """Views of images 0, 1, 2 ... of one size; the first view of a pair has an even index."""
    images = -(-count // views_per_image(config))
    views = (sample_views(config, *SIZE, seed=seed, epoch=0, image=image) for image in range(images))
    return [view for of_image in views for view in of_image]


def figures(config: BlockViewsConfig, views: Sequence[ViewParameters]) -> Iterator[Figure]:
    """Every random choice for a view, compared with the configuration."""
    yield share("mirrored", [view.flip for view in views], config.flip)
    yield share("colors changed", [view.jitter is not None for view in views], config.jitter)
    jitters = [view.jitter for view in views if view.jitter is not None]
    for order in permutations(OPERATIONS):
        yield share("order " + ", ".join(order), [jitter.order == order for jitter in jitters], 1 / 24)
    for operation in OPERATIONS[:3]:
        strength = getattr(config, operation)
        factors = [getattr(jitter, operation) for jitter in jitters]
        yield from uniform(f"factor of {operation}", factors, max(0.0, 1 - strength), 1 + strength)
    yield from uniform("shift of hue", [jitter.hue for jitter in jitters], -config.hue, config.hue)
    yield share("gray", [view.grayscale for view in views], config.grayscale)
    for member, which in enumerate(("first", "second")):
        half = views[member::2]
        yield share(f"blurred, {which} view", [view.blur_sigma is not None for view in half], config.blur[member])
        yield share(f"solarized, {which} view", [view.solarize for view in half], config.solarize[member])
    sigmas = [view.blur_sigma for view in views if view.blur_sigma is not None]
    yield from uniform("standard deviation of the blur", sigmas, *config.blur_sigma)
    yield from crops(config, views)


def share(name: str, chosen: Sequence[bool], target: float) -> Figure:
    """Figure of a boolean choice; with a target of 0 or 1, z is 0 or infinite."""
    found = sum(chosen) / len(chosen)
    standard_error = math.sqrt(target * (1 - target) / len(chosen))
    return Figure(name, len(chosen), target, found, _z(found - target, standard_error))


def mean(name: str, values: Iterable[float], target: float) -> Figure:
    """Figure of a mean, with the standard deviation of the numbers themselves."""
    array = np.fromiter(values, dtype=np.float64)
    return Figure(
        name, len(array), target, float(array.mean()), _z(array.mean() - target, array.std() / len(array) ** 0.5)
    )


def uniform(name: str, values: Sequence[float], low: float, high: float) -> Iterator[Figure]:
    """Figures of numbers uniform from low to high: mean, share in the lowest tenth, share outside."""
    array = np.asarray(values)
    standard_error = (high - low) / math.sqrt(12 * len(array))
    middle = (low + high) / 2
    yield Figure(f"{name}, mean", len(array), middle, float(array.mean()), _z(array.mean() - middle, standard_error))
    yield share(f"{name}, in its lowest tenth", list(array < low + (high - low) / 10), 0.1)
    yield share(f"{name}, out of its range", list((array < low) | (array > high)), 0.0)


def crops(config: BlockViewsConfig, views: Sequence[ViewParameters]) -> Iterator[Figure]:
    """Area, aspect ratio and position of the crops; only drawn crops that fit in their block are used."""
    blocks = np.array([view.block for view in views])
    boxes = np.array([view.crop for view in views])
    (block_width, block_height), (width, height) = _sides(blocks), _sides(boxes)
    area, log_ratio = expected_crop(config, int(block_width[0]), int(block_height[0]))
    yield mean("crop's share of its block", width * height / (block_width * block_height), area)
    yield mean("logarithm of the crop's aspect ratio", np.log(width / height), log_ratio)
    for name, side in (("across", 0), ("down", 1)):
        free = (block_width, block_height)[side] - (width, height)[side]
        offset = boxes[:, side] - blocks[:, side]
        yield mean(f"crop's position {name}, from 0 to 1", offset[free > 0] / free[free > 0], 0.5)


def expected_crop(config: BlockViewsConfig, width: int, height: int) -> tuple[float, float]:
    """Means of a crop's share of a block and of the logarithm of its aspect ratio, by integration.

    Area and log-ratio are uniform over a rectangle. The first of ten attempts that fits in the block is used; if none
    does, the largest part of the block with an allowed aspect ratio.
    """
    area = _midpoints(*config.scale)[:, None]
    log_ratio = _midpoints(*np.log(config.ratio))[None, :]
    across = np.rint(np.sqrt(area * width * height * np.exp(log_ratio)))
    down = np.rint(np.sqrt(area * width * height / np.exp(log_ratio)))
    fits = (across <= width) & (down <= height)
    never = (1 - fits.mean()) ** 10
    share = (across * down)[fits].mean() / (width * height)
    log_ratio = np.broadcast_to(log_ratio, fits.shape)[fits].mean()
    low, high = config.ratio
    last = min(width, round(height * high)), min(height, round(width / low))
    last_share = last[0] * last[1] / (width * height)
    return _mix(share, last_share, never), _mix(log_ratio, math.log(last[0] / last[1]), never)


def markdown(result: dict[str, Any]) -> str:
    """Table with a row for each choice and three columns for each recipe; of the 24 orders the rarest and commonest."""
    recipes = {recipe: _shown(figures) for recipe, figures in result["recipes"].items()}
    names = dict.fromkeys(name for figures in recipes.values() for name in figures)
    rows = [[name, *(cell for figures in recipes.values() for cell in _cells(figures.get(name)))] for name in names]
    every = [abs(figure["z"]) for figures in result["recipes"].values() for figure in figures if not _never(figure)]
    text = (
        f"{result['samples']:,} views of each recipe. Of {len(every)} figures, {sum(z > 2 for z in every)} lie more "
        f"than two standard deviations from their target ({0.0455 * len(every):.1f} are to be expected); the farthest "
        f"lies {max(every):.1f} from it."
    )
    head = ["", *(f"`{name}`, {what}" for name in recipes for what in ("target", "found", "z"))]
    return text + "\n\n" + table(head, rows)


def _shown(figures: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Figures of a recipe for the table, by name: without those that never happen and should not, and most orders."""
    orders = sorted((figure for figure in figures if figure["name"].startswith("order ")), key=lambda row: row["found"])
    shown = {"rarest of the 24 orders": orders[0], "commonest of the 24 orders": orders[-1]}
    return shown | {row["name"]: row for row in figures if row not in orders and not _never(row)}


def _never(figure: dict[str, Any]) -> bool:
    return figure["target"] == figure["found"] == 0


def _views(recipe: str) -> BlockViewsConfig:
    config = PretrainConfig.model_validate({**recipe_settings(recipe), "data": {"images": "images"}}).views
    assert isinstance(config, BlockViewsConfig)
    return config


def _sides(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]


def _mix(usual: float, rare: float, share: float) -> float:
    return float((1 - share) * usual + share * rare)


def _midpoints(low: float, high: float) -> Float64[np.ndarray, " points"]:
    return low + (high - low) * (np.arange(GRID) + 0.5) / GRID


def _z(distance: float, standard_error: float) -> float:
    if distance == 0:
        return 0.0
    return float(distance / standard_error) if standard_error > 0 else math.copysign(math.inf, distance)


def _cells(figure: dict[str, Any] | None) -> tuple[str, str, str]:
    if figure is None:
        return "0", "0", ""
    return f"{figure['target']:.4f}", f"{figure['found']:.4f}", f"{figure['z']:+.1f}"


if __name__ == "__main__":
    main()
