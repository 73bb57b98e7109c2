"""From label-free measures to one sentence that somebody can act on.

What the thresholds rest on is in ``docs/results.md``, under "Label-free measures".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

Verdict = Literal["healthy", "partly collapsed", "collapsed", "undecided"]

MIN_IMAGES = 128
"""With fewer, the ranks of a healthy and of a collapsed backbone lie too close together."""
MIN_STEPS = 50
"""Before so many, batch norms still keep statistics of their beginning, of which each step renews a tenth."""
COLLAPSED_RATIO = 0.3
"""RankMe of the features over an untrained network's, under which they are collapsed."""
HEALTHY_RATIO = 0.45
"""The ratio from which they are healthy."""
COLLAPSED_SHARE = 0.1
"""RankMe as a share of the most possible, under which they are collapsed; for want of an untrained network."""
COLLAPSED_STD = 0.45
"""Deviation of z/|z| of the projections, as a share of 1/sqrt(d), under which they are collapsed."""
HEALTHY_STD = 0.8
"""The deviation from which they are healthy; the monitor's default too."""


class Measures(TypedDict):
    """The measures of one kind of vectors; alpha-ReQ is None where there are too few dimensions."""

    dim: int
    std: float
    rankme: float
    rankme_share: float
    alpha_req: float | None
    uniformity: float
    alignment: float


@dataclass(frozen=True)
class Diagnosis:
    """A verdict, and the sentence that gives it with its reasons and what to do."""

    verdict: Verdict
    sentence: str


def diagnose(
    features: Measures,
    photographs: int,
    *,
    untrained: Measures | None = None,
    projections: Measures | None = None,
    remedies: Sequence[str] | None = None,
    steps: int | None = None,
) -> Diagnosis:
    """Judge a backbone by the rank of its features, and a run also by the deviation of its projections.

    An untrained network's features use many directions. Healthy training keeps more than half of them, collapse takes
    them away. The projections show it before the features do, but only a run has them; the worse verdict counts.

    Args:
        features: measures of the backbone's pooled features.
        photographs: how many were measured.
        untrained: the same of an untrained network of that architecture, whose batch norms normalize by each batch.
        projections: measures of the projections z.
        remedies: settings that may help the run that made the weights; None where they are of no run.
        steps: how many optimizer steps the run has done, if known.
    """
    if photographs < MIN_IMAGES:
        few = f"{photographs} images are too few to judge by; measure at least {MIN_IMAGES}"
        return Diagnosis("undecided", f"Undecided: {few}.")
    if steps is not None and steps < MIN_STEPS:
        few = f"after {steps} steps a network has not settled; train it for {MIN_STEPS} or more"
        return Diagnosis("undecided", f"Undecided: {few}.")
    verdict = _worse(_by_rank(features, untrained), _by_std(projections))
    reasons = " and ".join(_reasons(features, untrained, projections))
    return Diagnosis(verdict, f"{verdict.capitalize()}: {reasons}; {_advice(verdict, remedies)}.")


def _by_rank(features: Measures, untrained: Measures | None) -> Verdict:
    if untrained is None:
        return "collapsed" if features["rankme_share"] < COLLAPSED_SHARE else "undecided"
    ratio = features["rankme"] / untrained["rankme"]
    if ratio >= HEALTHY_RATIO:
        return "healthy"
    return "collapsed" if ratio < COLLAPSED_RATIO else "partly collapsed"


def _by_std(projections: Measures | None) -> Verdict:
    if projections is None:
        return "undecided"
    if projections["std"] >= HEALTHY_STD:
        return "healthy"
    return "collapsed" if projections["std"] < COLLAPSED_STD else "partly collapsed"


def _worse(first: Verdict, second: Verdict) -> Verdict:
    order: tuple[Verdict, ...] = ("undecided", "healthy", "partly collapsed", "collapsed")
    return max(first, second, key=order.index)


def _reasons(features: Measures, untrained: Measures | None, projections: Measures | None) -> list[str]:
    share = f"{100 * features['rankme_share']:.0f} % of the most possible"
    if untrained is None:
        bound = f"{share} (collapsed: under {100 * COLLAPSED_SHARE:.0f} %)"
    else:
        ratio = features["rankme"] / untrained["rankme"]
        bound = f"{ratio:.2f} of an untrained network's (healthy: from {HEALTHY_RATIO})"
    reasons = [f"RankMe of the features is {features['rankme']:.1f}, {bound}"]
    if projections is not None:
        reasons.append(
            f"the projections' deviation is {projections['std']:.2f} of 1/sqrt(d) (healthy: from {HEALTHY_STD})"
        )
    return reasons


def _advice(verdict: Verdict, remedies: Sequence[str] | None) -> str:
    if verdict == "healthy":
        return "what the features are worth for your classes, only labels tell (manyview linear)"
    if verdict == "undecided":
        return "for more than that, measure an untrained network beside"
    if remedies is None:
        return "try other weights, or pre-train on your own images (manyview pretrain)"
    return "train anew with " + " or ".join(remedies)
