"""Means over images with 95 % bootstrap intervals, as plain data for ``metrics.json``, tables and curve."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from manyview.report.common_objects.croppings import Cropping
from manyview.report.common_objects.measures import PER_PAIR, PER_SHARE, PairMeasures
from manyview.views import views_per_image

DRAWS = 1000
_DRAWS_AT_ONCE = 50  # of the bootstrap, which bounds the memory
_COMMON = PER_SHARE.index("common")


def summarize(measures: PairMeasures, seed: int) -> dict[str, Any]:
    """Means over all pairs of the images that have an object, and of all images.

    Intervals are percentiles of a bootstrap over images, as pairs of one image are not independent. The
    differences between blocks and controls are taken within each resample, since they share images and random
    numbers.

    Args:
        measures: of each image; at least one image has an object.
        seed: of the bootstrap.

    Returns:
        ``results``: for each cropping its type, overlap, pairs, scale, and the measures over ``with_objects`` and over
        ``all`` images; ``differences``: blocks minus each control, at each overlap and share, over images
        with an object. Shares, areas and differences are fractions of 1.
    """
    assert measures.has_object.any(), "no image has an object"
    populations = {"with_objects": measures.has_object, "all": np.ones_like(measures.has_object)}
    resampled = {"with_objects": _bootstrap(measures, measures.has_object, seed)}
    resampled["all"] = (
        resampled["with_objects"] if measures.has_object.all() else _bootstrap(measures, populations["all"], seed)
    )
    results = [
        {
            **_describe(cropping),
            **{
                name: _means(measures, number, chosen, resampled[name][:, number])
                for name, chosen in populations.items()
            },
        }
        for number, cropping in enumerate(measures.croppings)
    ]
    return {"results": results, "differences": _differences(measures, resampled["with_objects"])}


def _describe(cropping: Cropping) -> dict[str, Any]:
    views = cropping.views
    return {
        "cropping": cropping.name,
        "overlap": cropping.overlap,
        "pairs": views_per_image(views) // 2,
        "scale": list(views.scale),
        "ratio": list(views.ratio),
    }


def _means(
    measures: PairMeasures, number: int, chosen: Bool[np.ndarray, " images"], draws: Float64[np.ndarray, "draws shares"]
) -> dict[str, Any]:
    """One cropping's means over some images."""
    per_pair = measures.per_pair[number][:, chosen].mean(axis=1)
    per_share = measures.per_share[number][:, :, chosen].mean(axis=2)
    shares = []
    for level, share in enumerate(measures.shares):
        means = dict(zip(PER_SHARE, map(float, per_share[level]), strict=True))
        shares.append({"share": share, **means, "common_interval": _interval(draws[:, level])})
    return {**dict(zip(PER_PAIR, map(float, per_pair), strict=True)), "shares": shares}


def _differences(measures: PairMeasures, draws: Float64[np.ndarray, "draws croppings shares"]) -> list[dict[str, Any]]:
    """Blocks minus controls: how many more pairs show a common object."""
    numbers = {(cropping.name, cropping.overlap): number for number, cropping in enumerate(measures.croppings)}
    common = measures.per_share[:, :, _COMMON, measures.has_object].mean(axis=2)
    rows = []
    for (name, overlap), number in numbers.items():
        if name not in ("control", "moved"):
            continue
        blocks = numbers["blocks", overlap]
        for level, share in enumerate(measures.shares):
            rows.append(
                {
                    "overlap": overlap,
                    "minus": name,
                    "share": share,
                    "common": float(common[blocks, level] - common[number, level]),
                    "common_interval": _interval(draws[:, blocks, level] - draws[:, number, level]),
                }
            )
    return rows


def _bootstrap(
    measures: PairMeasures, chosen: Bool[np.ndarray, " images"], seed: int
) -> Float64[np.ndarray, "draws croppings shares"]:
    """Bootstrap means of "common" over images drawn with replacement."""
    values = measures.per_share[:, :, _COMMON, chosen]
    count = values.shape[-1]
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, DRAWS, _DRAWS_AT_ONCE):
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=min(_DRAWS_AT_ONCE, DRAWS - start))
        parts.append(np.einsum("di,csi->dcs", drawn / count, values, optimize=True))
    return np.concatenate(parts)


def _interval(draws: Float64[np.ndarray, " draws"]) -> list[float]:
    """The 2.5th and the 97.5th percentile."""
    return [float(end) for end in np.percentile(draws, (2.5, 97.5))]
