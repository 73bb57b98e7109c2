"""What a number of views is known to bring, for the recipes that were measured: the one table of it.

Measured in ``docs/results.md``: ResNet-18 on the 4,800 small photographs of ``scenes``, views of 64 pixels; mAP of
logistic regression at 128 pixels, on images held out, in points over random init.
"""

from __future__ import annotations

import math
from itertools import pairwise

from manyview.config import PretrainConfig

MEASURED: dict[str, tuple[tuple[int, float], ...]] = {
    "recommended": ((9_984, 5.0), (38_400, 7.0), (230_400, 12.0)),
    "paper": ((230_400, 3.6),),
    "simsiam": ((193_536, 2.0),),
    "simsiam-4pairs": ((230_400, 2.0),),
}
"""By recipe: views seen, ascending, and points of mAP over random init."""
_BEST = "recommended"

_HOW = "measured on 4,800 small photographs with ResNet-18, views of 64 pixels (docs/results.md)"
# What was measured is shown for runs of up to so many times more or fewer views.
_NEAR = 2.0


def expectation(config: PretrainConfig, views: int) -> str | None:
    """A sentence on what a run can be expected to bring; None where nothing like it was measured.

    Args:
        config: settled configuration.
        views: that the run sees.
    """
    if config.recipe not in MEASURED or config.backbone.init is not None:
        return None
    points = MEASURED[config.recipe]
    fewest, most = points[0][0], points[-1][0]
    if views * _NEAR < fewest:
        return (
            f"{views:,} views are fewer than were ever measured with this recipe; {fewest:,} brought "
            f"{points[0][1]:.2g} points of mAP over random init, {_HOW}."
        )
    beyond = f"; more than {most:,} views were not measured" if views > most * _NEAR else ""
    better = f" (recipe {_BEST}: {interpolated(MEASURED[_BEST], views):.2g})" if config.recipe != _BEST else ""
    return (
        f"At {views:,} views expect some {interpolated(points, views):.2g} points of mAP over random init"
        f"{better}, as {_HOW}{beyond}."
    )


def interpolated(points: tuple[tuple[int, float], ...], views: int) -> float:
    """Points at a number of views, linear in its logarithm between those measured, and constant beyond them."""
    if views <= points[0][0]:
        return points[0][1]
    for (fewer, low), (more, high) in pairwise(points):
        if views <= more:
            return low + (high - low) * math.log(views / fewer) / math.log(more / fewer)
    return points[-1][1]
