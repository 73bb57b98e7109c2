"""Diagnosis of collapse from label-free measures.

The thresholds are derived in ``docs/results.md``, under "Label-free measures".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

Verdict = Literal["healthy", "partly collapsed", "collapsed", "undecided"]

MIN_IMAGES = 128
"""With fewer, the ranks of healthy and collapsed backbones are too close."""
MIN_STEPS = 50
"""With fewer, batch norms still hold their initial statistics, of which each step replaces a tenth."""
COLLAPSED_RATIO = 0.3
"""RankMe of the features over an untrained network's, below which they are collapsed."""
HEALTHY_RATIO = 0.45
"""The ratio from which they are healthy."""
COLLAPSED_SHARE = 0.1
"""RankMe as a share of the maximum, below which they are collapsed; used without an untrained network."""
COLLAPSED_STD = 0.45
"""Standard deviation of z/|z| of the projections, as a share of 1/sqrt(d), below which they are collapsed."""
HEALTHY_STD = 0.8
"""The standard deviation from which they are healthy; also the monitor's default."""


class Measures(TypedDict):
    """Measures of features or projections; alpha-ReQ is None if there are too few dimensions."""

    dim: int
    std: float
    rankme: float
    rankme_share: float
    alpha_req: float | None
    uniformity: float
    alignment: float


@dataclass(frozen=True)
class Diagnosis:
    """A verdict, and a sentence with its reasons and advice."""

    verdict: Verdict
    sentence: str


def diagnose(
    features: Measures,
    images: int,
    *,
    untrained: Measures | None = None,
    projections: Measures | None = None,
    remedies: Sequence[str] | None = None,
    steps: int | None = None,
) -> Diagnosis:
    """Diagnose a backbone by the rank of its features, and a run also by the standard deviation of its projections.

    An untrained network's features use many directions. Healthy training keeps more than half of them, collapse loses
    them. Projections show it before features do, but only a run has them; the worse verdict counts.

    Args:
        features: measures of the backbone's pooled features.
        images: number measured.
        untrained: measures of an untrained network of this architecture, whose batch norms normalize by each batch.
        projections: measures of the projections z.
        remedies: settings that may help the weights' run; None without a run.
        steps: optimizer steps of the run, if known.
    """
    if images < MIN_IMAGES:
        few = f"{images} images are too few to judge by; measure at least {MIN_IMAGES}"
        return Diagnosis("undecided", f"Undecided: {few}.")
    if steps is not None and steps < MIN_STEPS:
        few = f"after {steps} steps a network has not settled; train it for {MIN_STEPS} or more"
        return Diagnosis("undecided", f"Undecided: {few}.")
    verdict = _worse(_by_rank(features, untrained), _by_std(projections))
    reasons = " and ".join(_reasons(features, untrained, projections))
    return Diagnosis(verdict, f"{verdict.capitalize()}: {reasons}; {_advice(verdict, remedies)}.")


def beside_initial(features: Measures, initial: Measures) -> str:
    """A sentence that compares a run's features with those of the weights it began with, without a judgment.

    None of the measures says which are better for a task: rank may fall while the features improve, and rise while they
    do not (arXiv 2510.17299).
    """
    return (
        f"Beside the weights it began with: RankMe {features['rankme']:.1f} (before {initial['rankme']:.1f}), squared "
        f"distance between the features of an image's two views {features['alignment']:.3f} (before "
        f"{initial['alignment']:.3f}), uniformity {features['uniformity']:.2f} (before {initial['uniformity']:.2f})."
    )


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
        bound = f"{ratio:.2f} of random init's (healthy: from {HEALTHY_RATIO})"
    reasons = [f"RankMe of the features is {features['rankme']:.1f}, {bound}"]
    if projections is not None:
        reasons.append(
            f"the projections' standard deviation is {projections['std']:.2f} of 1/sqrt(d) "
            f"(healthy: from {HEALTHY_STD})"
        )
    return reasons


def _advice(verdict: Verdict, remedies: Sequence[str] | None) -> str:
    if verdict == "healthy":
        return "what the features are worth for your classes, only labels tell (manyview linear)"
    if verdict == "undecided":
        return "to judge further, also measure random init (--random-init)"
    if remedies is None:
        return "try other weights, or pre-train on your own images (manyview pretrain)"
    return "train anew with " + " or ".join(remedies)
