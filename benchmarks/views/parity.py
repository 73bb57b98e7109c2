"""Difference of each renderer from the reference, Pillow on all pixels, in levels of 255 and by operation.

    python -m benchmarks.views.parity [--photos DIR] --out parity.json [--page docs/performance.md]

Color operations, blur, solarization and flip are each compared alone, on crops of the reference; "composed" is the
whole rendering from the image to the view, with parameters sampled by the recipe "released".
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from benchmarks.arguments import command_line, parsed
from benchmarks.images import Pixels, describe, jpegs, load_images
from benchmarks.records import origin, put_between_markers, table, write_json
from manyview.config import BlockViewsConfig
from manyview.images import decode_image, open_image
from manyview.recipes.named import RECIPES
from manyview.views import ColorJitter, ViewParameters, largest_shrink, sample_views, shrink_crops
from manyview.views.render import fast, pillow
from manyview.views.render.batch_parameters import view_table
from manyview.views.render.torch import augment_views, crop_resize

Views = UInt8[np.ndarray, "views 3 size size"]

LIMIT = 2.0  # mean levels of 255
VIEW_SIZES = (224, 64)
SIZE, LARGE = (640, 480), (2000, 1500)
CROP, COMPOSED = "crop and resize", "composed"
REDUCED = {"reduced, little detail": True, "reduced, much detail": False}  # enlarged images, or mosaics
WAYS = ("cpu", "device", *REDUCED)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    small = load_images(options.photos, SIZE, options.count)
    large = {
        way: jpegs(options.photos, LARGE, options.large_count, enlarge=enlarge) for way, enlarge in REDUCED.items()
    }
    result = {
        **origin("views.parity", options.given),
        "photographs": describe(options.photos),
        "counts": {"x".join(map(str, SIZE)): options.count, "x".join(map(str, LARGE)): options.large_count},
        "device": str(options.device),
        "limit": LIMIT,
        "view_sizes": {},
    }
    for size in VIEW_SIZES:
        rows = {**operations(small, size, options.device), **whole_ways(small, large, size, options.device)}
        result["view_sizes"][size] = rows
        write_json(options.out, result)
    text = markdown(result)
    if options.page:
        put_between_markers(options.page, "parity", text)
    print(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--photos", type=Path, help="folder of images; unset: synthetic scenes")
    parser.add_argument("--count", type=int, default=32, help="images of 640 x 480")
    parser.add_argument("--large-count", type=int, default=8, help="images of 2000 x 1500, for reduced decoding")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="of the device renderer")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/parity.json"))
    parser.add_argument("--page", type=Path, help="document whose table is replaced")
    return parsed(parser, arguments)


def operations(images: Sequence[Pixels], size: int, device: torch.device) -> dict[str, dict[str, Any]]:
    """Each operation alone: the CPU's renderer and PyTorch compared with Pillow, on resized crops."""
    config = _config(size)
    views = [
        np.ascontiguousarray(view.transpose(1, 2, 0))
        for index, image in enumerate(images)
        for view in pillow.render_views(image, [_bare(p) for p in _sample(config, image, index)], size)
    ]
    rows = {}
    for name, parameters in _alone(config, size):
        given = list(itertools.islice(itertools.cycle(parameters), len(views)))
        reference = _each(pillow.render_views, views, given, size)
        stacked = torch.from_numpy(np.stack(views).transpose(0, 3, 1, 2).copy()).to(device)
        rows[name] = {
            "cpu": difference(_each(fast.render_views, views, given, size), reference),
            "device": difference(augment_views(stacked, view_table(given)).cpu().numpy(), reference),
        }
    return rows


def whole_ways(
    small: Sequence[Pixels], large: Mapping[str, Sequence[bytes]], size: int, device: torch.device
) -> dict[str, dict[str, Any]]:
    """Crop and resize, and the whole rendering."""
    rows = {}
    for name, prepare in ((CROP, _bare), (COMPOSED, lambda parameters: parameters)):
        found: dict[str, list[tuple[Views, Views]]] = {way: [] for way in WAYS}
        for index, image in enumerate(small):
            parameters = [prepare(p) for p in _sample(_config(size), image, index)]
            reference = pillow.render_views(image, parameters, size)
            found["cpu"].append((fast.render_views(image, parameters, size), reference))
            found["device"].append((_on_device(image, parameters, size, device), reference))
        for way, encoded in large.items():
            found[way] = [_reduced_and_whole(data, index, size, prepare) for index, data in enumerate(encoded)]
        rows[name] = {
            way: difference(np.concatenate([views for views, _ in pairs]), np.concatenate([of for _, of in pairs]))
            for way, pairs in found.items()
        }
    return rows


def difference(views: Views, reference: Views) -> dict[str, float]:
    """Mean absolute difference, its 99th percentile over all values, and the mean of the worst view."""
    distance = np.abs(views.astype(np.int16) - reference)
    return {
        "mean": float(distance.mean()),
        "percentile_99": float(np.percentile(distance, 99)),
        "worst_view": float(distance.mean(axis=(1, 2, 3)).max()),
    }


def markdown(result: dict[str, Any]) -> str:
    """A table for each view size: mean and 99th percentile for each renderer."""
    parts = [
        "Absolute difference from Pillow on all pixels, in levels of 255: mean, and 99th percentile in brackets. "
        f"{result['photographs'].capitalize()}; the limit for the mean is {result['limit']:g}."
    ]
    for size, rows in result["view_sizes"].items():
        cells = [[name, *(_cell(row.get(way)) for way in WAYS)] for name, row in rows.items()]
        parts.append(table([f"views of {size} pixels", *WAYS], cells))
    return "\n\n".join(parts)


def _cell(figures: dict[str, float] | None) -> str:
    return f"{figures['mean']:.2f} ({figures['percentile_99']:.0f})" if figures else ""


def _config(size: int) -> BlockViewsConfig:
    return BlockViewsConfig(size=size, **{k: v for k, v in RECIPES["released"]["views"].items() if k != "kind"})


def _sample(config: BlockViewsConfig, image: Pixels, index: int) -> tuple[ViewParameters, ...]:
    height, width, _ = image.shape
    return sample_views(config, width, height, seed=0, epoch=0, image=index)


def _bare(parameters: ViewParameters) -> ViewParameters:
    """The crop alone."""
    return replace(parameters, flip=False, jitter=None, grayscale=False, blur_sigma=None, solarize=False)


def _alone(config: BlockViewsConfig, size: int) -> Iterator[tuple[str, list[ViewParameters]]]:
    """Each operation alone on a whole view, with strengths spread evenly over their range."""
    whole = ViewParameters((0, 0, size, size), (0, 0, size, size), False, None, False, None, False)
    spread = np.random.default_rng(0).permutation(64) / 63
    yield "mirroring", [replace(whole, flip=True)]
    for name in ("brightness", "contrast", "saturation"):
        strength = getattr(config, name)
        factors = 1 + strength * (2 * spread - 1)
        yield name, [replace(whole, jitter=_jitter(name, float(factor))) for factor in factors]
    shifts = config.hue * (2 * spread - 1)
    yield "hue", [replace(whole, jitter=_jitter("hue", float(shift))) for shift in shifts]
    yield "gray", [replace(whole, grayscale=True)]
    low, high = config.blur_sigma
    yield "blur", [replace(whole, blur_sigma=float(sigma)) for sigma in low + (high - low) * spread]
    yield "solarization", [replace(whole, solarize=True)]


def _jitter(operation: str, strength: float) -> ColorJitter:
    neutral = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    return ColorJitter((operation,), **{**neutral, operation: strength})


def _each(
    render: Callable[..., Views], images: Sequence[Pixels], parameters: Sequence[ViewParameters], size: int
) -> Views:
    """One view of each image."""
    return np.concatenate([render(image, [its], size) for image, its in zip(images, parameters, strict=True)])


def _on_device(image: Pixels, parameters: Sequence[ViewParameters], size: int, device: torch.device) -> Views:
    """Views rendered on the device, including the crops."""
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy()).to(device)
    crops = crop_resize(pixels, [view.crop for view in parameters], size)
    return augment_views(crops, view_table(parameters)).cpu().numpy()


def _reduced_and_whole(
    data: bytes, index: int, size: int, prepare: Callable[[ViewParameters], ViewParameters]
) -> tuple[Views, Views]:
    """Pillow's views of an image decoded at the reduced size that they allow, and at full size."""
    pixels = decode_image(data)
    parameters = [prepare(p) for p in _sample(_config(size), pixels, index)]
    shrink = largest_shrink((view.crop for view in parameters), size)
    fewer = open_image(data).decode(shrink)
    scaled = shrink_crops(parameters, shrink, (fewer.shape[1], fewer.shape[0]))
    return pillow.render_views(fewer, scaled, size), pillow.render_views(pixels, parameters, size)


if __name__ == "__main__":
    main()
