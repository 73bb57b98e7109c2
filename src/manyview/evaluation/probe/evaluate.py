"""Low-label evaluation: linear classifiers on frozen features, by the number of labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from manyview import distributed
from manyview.backbones.beside import in_words
from manyview.errors import require, require_seed
from manyview.evaluation.data import Data
from manyview.evaluation.logistic.classifiers import solver_device
from manyview.evaluation.logistic.protocol import LOGISTIC_REGRESSION, describe_choice
from manyview.evaluation.metrics.bootstrap import summarize
from manyview.evaluation.metrics.multilabel import multilabel_metrics
from manyview.evaluation.metrics.scores import Matrix
from manyview.evaluation.probe.classifiers import FOLDS, ProbeSettings, draw, probe
from manyview.evaluation.session import LabeledEvaluation, SplitFeatures, baseline_differences
from manyview.evaluation.settings import EXTRACTED_ONCE, MetricSettings
from manyview.options.base import StrPath, recorded, select, verb
from manyview.options.labeled import ProbeOptions
from manyview.runs import atomic_write
from manyview.runs.progress import Progress, no_progress
from manyview.runs.result import Result
from manyview.runtime import resolve_device

CURVE_FILE = "curve.png"

_RESAMPLES = 1000  # of the differences' intervals

# Words of the protocol, as in earlier results.
_CLASSIFIERS = {
    "logistic": LOGISTIC_REGRESSION,
    "svm": "linear SVM, squared hinge loss, L2-regularised, positives weighing double",
}
_SCALINGS = {
    "standardised": "every dimension to mean 0 and deviation 1 over the drawn photographs",
    "unit": "every photograph's features to length 1",
}


@dataclass(frozen=True, slots=True)
class Draws:
    """Fractions of the training images and seeds of their draws; checked when made.

    Raises:
        UserError: if a value is out of range.
    """

    fractions: tuple[float | int, ...] = (0.01, 0.1, 1.0)
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        for name, values in (("fraction", self.fractions), ("seed", self.seeds)):
            require(bool(values), f"{name} needs at least one value")
            require(len(set(values)) == len(values), f"{name} has one value twice: give each once")
        for fraction in self.fractions:
            require(0 < fraction <= 1, f"fraction is a share of the images above 0 and up to 1, not {fraction}")
        for seed in self.seeds:
            require_seed(seed)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Draws, classifiers and metrics, and the device to fit on."""

    draws: Draws
    probes: ProbeSettings
    metrics: MetricSettings
    device: torch.device


@verb(ProbeOptions)
def low_label_evaluation(
    weights: StrPath, *, progress: Progress = no_progress, **options: Unpack[ProbeOptions]
) -> Result:
    """Train and evaluate linear classifiers on a frozen backbone's features of few and many labeled images.

    For each fraction and seed, images are drawn (``manyview.evaluation.probe.classifiers.draw``) and a classifier is
    fitted for each class; all are evaluated on the same validation images. A fraction that is all images is evaluated
    once, since every seed draws the same.

    Args:
        weights: run folder or checkpoint file.
        progress: called as work goes on.
        **options: as ``ProbeOptions`` declares them.

    Returns:
        Plain data, as in metrics.json: "protocol" (all that the figures depend on), "results" (for "pretrained" and
        each baseline, such as "random_init" or "initial", a list with an entry for each fraction, ascending:
        "fraction", "images" (their number), "runs" (for each seed "seed", "positives" by class, the result of
        ``multilabel_metrics``, "costs" by class, "costs_at_edge" (classes whose chosen C is the least or the most that
        may be chosen) and "unconverged") and "summary" (of ``summarize``)), "differences" (to each baseline, of
        ``map_differences``, with the most labels: means over the draws), "provenance" with "seconds", the total time.
        None stands for undefined figures.

    Raises:
        UserError: if a setting is out of range, a file is missing, malformed or unreadable, or ``out`` already holds a
            metrics.json or cannot be written.
    """
    draws = Draws(tuple(sorted(options["fractions"])), tuple(options["seeds"]))
    probes = select(ProbeSettings, options, costs=tuple(options["costs"]))
    device = solver_device(resolve_device(options["device"]))
    plan = _Plan(draws, probes, select(MetricSettings, options), device)
    out = options["out"]
    curve = None if out is None else Path(out) / CURVE_FILE
    require(curve is None or not curve.exists(), f"{out} already holds a {CURVE_FILE}: choose another folder")
    begun = LabeledEvaluation.begin(weights, options, draws.seeds[0])
    results, scores = {}, {}
    for name, features in begun.features(progress):
        results[name], scores[name] = _curve(name, features, begun.data, plan, progress)
    differences = baseline_differences(
        begun.data, scores, plan.metrics, resamples=_RESAMPLES, seed=draws.seeds[0], progress=progress
    )
    protocol = {**_describe(options, plan), **begun.protocol}
    # The figures first: a picture can be made of them again, and they cannot be had from a picture.
    result = begun.finish("probe", protocol, results, differences)
    if curve is not None and distributed.rank() == 0:
        from manyview.evaluation.probe.figure import draw_low_label_curve

        atomic_write(curve, draw_low_label_curve(result))
    return result


def _curve(
    name: str, features: SplitFeatures, data: Data, plan: _Plan, progress: Progress
) -> tuple[list[dict[str, Any]], list[Matrix]]:
    """One backbone's metrics for each fraction, and the validation scores of each draw of the last."""
    draws, targets = plan.draws, data.train.labels.targets
    total, phase = len(draws.fractions) * len(draws.seeds), f"{in_words(name)}: fitting classifiers"
    entries = []
    progress(0, total, phase)
    for row, fraction in enumerate(draws.fractions):
        runs, scores = [], []
        for column, seed in enumerate(draws.seeds):
            drawn = draw(targets, fraction, seed)
            if column == 0 or len(drawn) < len(targets):  # else the first seed has the same images
                run, probabilities = _run(features, data, drawn, plan, seed)
                runs.append({"seed": seed, **run})
                scores.append(probabilities)
            progress(row * len(draws.seeds) + column + 1, total, phase)
        entries.append({"fraction": fraction, "images": len(drawn), "runs": runs, "summary": summarize(runs)})
    return entries, scores


def _run(
    features: SplitFeatures, data: Data, drawn: np.ndarray, plan: _Plan, seed: int
) -> tuple[dict[str, Any], Matrix]:
    """Metrics of the classifiers of one draw, and their probabilities."""
    train, val = data.train.labels, data.val.labels
    targets, ignored = train.targets[drawn], None if train.ignored is None else train.ignored[drawn]
    probed = probe(
        features.train.numpy()[drawn], targets, features.val.numpy(), plan.probes, seed, ignored, plan.device
    )
    metrics = multilabel_metrics(
        probed.probabilities,
        val.targets,
        plan.metrics.threshold,
        average_precision=plan.metrics.average_precision,
        compatibility=plan.metrics.compatibility,
        ignored=val.ignored,
    )
    run = {
        "positives": targets.sum(axis=0, dtype=int).tolist(),
        **metrics,
        "costs": probed.costs,
        "costs_at_edge": probed.at_edge,
        "unconverged": probed.unconverged,
    }
    return run, probed.probabilities


def _describe(options: ProbeOptions, plan: _Plan) -> dict[str, Any]:
    classifier, scaling = plan.probes.classifier, plan.probes.resolved_scaling
    return {
        "evaluation": "one-vs-rest linear classification on a frozen backbone's features of some training photographs",
        **recorded(ProbeOptions, {**options, "fractions": plan.draws.fractions, "scaling": scaling}),
        "classifier_is": _CLASSIFIERS[classifier],
        **_describe_choice(plan.probes),
        "scaling_is": _SCALINGS[scaling],
        "draw": "at random, but with a positive of every class wherever there is room for one of each",
        "scores": "sigmoid of the decision values",
        "train_transform": EXTRACTED_ONCE,
        "threshold": plan.metrics.threshold,
    }


def _describe_choice(probes: ProbeSettings) -> dict[str, Any]:
    """How C is chosen, and the library that fits the classifiers if it is not this one."""
    if probes.classifier == "logistic":
        return describe_choice(probes.costs, probes.cost_by_class, "the drawn photographs")
    import sklearn

    chosen = f"by class, of the best average precision in {FOLDS}-fold cross-validation on the drawn photographs"
    return {"cost_chosen": chosen if len(probes.costs) > 1 else "given", "scikit_learn": sklearn.__version__}
