"""Multi-label metrics: average precision, and precision, recall and F1 overall and per class (paper Section 4.1)."""

# The annotations of ``ReportOptions`` are evaluated at run time: no ``from __future__ import annotations`` here.
from collections.abc import Mapping
from typing import Annotated, Any, TypedDict, Unpack

import numpy as np

from manyview.errors import UserError
from manyview.evaluation.metrics.average_precision import average_precisions, mean_over_classes, rank
from manyview.evaluation.metrics.bootstrap import Resampling, intervals
from manyview.evaluation.metrics.co_occurrence import MOST_CLASSES, false_predictions
from manyview.evaluation.metrics.decisions import (
    LOGIT_THRESHOLD,
    OVERALL,
    PER_CLASS,
    Rule,
    Threshold,
    best_thresholds,
    precision_recall,
    tallies,
)
from manyview.evaluation.metrics.scores import LabeledScores, Matrix
from manyview.options.base import Option, select, verb
from manyview.options.labeled import AveragePrecision, Compatibility, Figures
from manyview.runs.progress import Progress, no_progress

HALF, LOGIT, TOP_3, BEST_F1 = "p>=0.5", "logit>=0.6", "top-3", "best F1 on train"
"""Names of the rules that ``multilabel_report`` measures: the paper's, the authors' code's, ML-GCN's, and the best."""

METRICS, BY_CLASS = ("mAP", *OVERALL), ("AP", *PER_CLASS)
"""Names of the figures over all classes, in the order of the paper's tables, and of those of each class."""


def multilabel_metrics(
    scores: Matrix,
    targets: Matrix,
    threshold: Threshold = 0.5,
    top_k: int | None = None,
    *,
    average_precision: AveragePrecision = "all_points",
    compatibility: Compatibility | None = None,
    ignored: Matrix | None = None,
) -> dict[str, Any]:
    """Metrics of multi-label predictions, as fractions of 1.

    Definitions: ``manyview.evaluation.metrics.decisions``.

    A quotient with denominator 0 counts as 0: OP if nothing is predicted, OR if nothing is positive, the term of a
    class never predicted in CP and of a class without positives in CR, F1 if precision and recall are both 0. The AP of
    a class without positives is undefined: nan in "AP", and left out of "mAP" (nan too if no class has positives).

    Args:
        scores: probabilities (images, classes) in [0, 1], array or tensor on any device.
        targets: 0 or 1, of the same shape.
        threshold: a class is predicted where its probability is at least this: one number, or one for each class
            (compared in the scores' own precision).
        top_k: if given, a class is predicted only where it is *also* among the image's top_k probabilities; of equal
            ones, the first in order of class.
        average_precision: "all_points", the mean over positives of the precision at the positive's rank, where equal
            scores share the last of their ranks (so the value does not depend on the order of images, and equals
            scikit-learn's); or "voc07", the mean of the best precision at recall 0, .1, ..., 1 or above.
        compatibility: "ml-gcn" reproduces the published ML-GCN evaluation code, which sets Np = 0 to 1 and so adds 1 to
            OP's denominator for every class that is never predicted.
        ignored: 1 where a label counts neither as positive nor as negative, e.g. "difficult" ones, of the same shape;
            None for no such label. The image still counts in the other classes, and its top_k are of all classes.

    Returns:
        "mAP", "OP", "OR", "OF1", "CP", "CR", "CF1": floats; "AP", "precision", "recall", "f1": lists of floats in order
        of class. CP and CR are the means of "precision" and "recall".

    Raises:
        UserError: if the shapes differ or are not (images, classes) with at least one of each, if a score is outside
            [0, 1], if a target is neither 0 nor 1, if threshold or top_k is out of range.
    """
    labeled = LabeledScores.check(scores, targets, ignored)
    decided = _of_rule(labeled, Rule(threshold, top_k), compatibility)
    return {**_of_ranking(labeled, average_precision), **decided}


class TrainingSplit(TypedDict, total=False):
    """Predictions on the training split, on which thresholds are chosen."""

    train_scores: Annotated[
        Matrix | None, Option(None, "Probabilities (training images, classes) for the training split.")
    ]
    train_targets: Annotated[Matrix | None, Option(None, "0 or 1, of the same shape.")]
    train_ignored: Annotated[Matrix | None, Option(None, "1 where a label is left out, of the same shape.")]


class ReportOptions(TrainingSplit, Figures, total=False):
    """Options of ``multilabel_report``."""

    ignored: Annotated[Matrix | None, Option(None, "1 where a label is left out.")]
    resamples: Annotated[int, Option(1000, "Bootstrap resamples over images; 0 for no intervals.")]
    seed: Annotated[int, Option(0, "Seed of the bootstrap.")]
    confidence: Annotated[float, Option(0.95, "Share of the resamples within each interval.")]


@verb(ReportOptions)
def multilabel_report(
    scores: Matrix,
    targets: Matrix,
    threshold: float | int = 0.5,
    *,
    progress: Progress = no_progress,
    **options: Unpack[ReportOptions],
) -> dict[str, Any]:
    """All metrics of one set of predictions under every decision rule, with confidence intervals.

    The rules are "p>=0.5" (the paper's), "logit>=0.6" (the authors' code: p >= .646), "top-3" (p >= .5 and among the
    image's three best, or all of fewer classes: ML-GCN's), "best F1 on train" (``best_thresholds``, if a training split
    is given), and "p>=T" for another ``threshold`` T. mAP does not depend on the rule.

    Args:
        scores: as for ``multilabel_metrics``, like all arguments of the same names.
        targets: 0 or 1, of the same shape.
        threshold: of the rule whose figures are at the top level.
        progress: called with the resamples done.
        **options: as ``ReportOptions`` declares them.

    Returns:
        the result of ``multilabel_metrics`` for ``threshold``; "rule": that rule's name; "intervals": of the seven
        figures, {"mAP": (low, high), ...}, and "AP_intervals", (low, high) of each class's AP, if there are resamples;
        "rules": for each rule by name "threshold" (a number, or a list of one for each class), "top_k", its metrics but
        for mAP and AP, and its "intervals"; "false_predictions", of up to 120 classes: "rule", that of the best
        thresholds or else the first, "beside" and "overall" (``false_predictions``).

    Raises:
        UserError: as for ``multilabel_metrics``; or if only one of train_scores and train_targets is given, or
            resamples, seed or confidence is out of range.
    """
    labeled = LabeledScores.check(scores, targets, options["ignored"])
    average_precision, compatibility = options["average_precision"], options["compatibility"]
    rules = _rules(float(threshold), labeled.scores.shape[1]) | _best_rule(options, labeled.scores.shape[1])
    headline = next(iter(rules))
    by_rule = {name: {**rule.describe(), **_of_rule(labeled, rule, compatibility)} for name, rule in rules.items()}
    metrics = {key: value for key, value in by_rule[headline].items() if key not in ("threshold", "top_k")}
    report = {**_of_ranking(labeled, average_precision), **metrics, "rule": headline}
    if options["resamples"]:
        resampling = select(Resampling, options)
        of_map, of_classes, of_rules = intervals(labeled, rules, resampling, average_precision, compatibility, progress)
        report["intervals"] = {"mAP": of_map, **of_rules[headline]}
        report["AP_intervals"] = of_classes
        for name, found in of_rules.items():
            by_rule[name]["intervals"] = found
    if labeled.scores.shape[1] <= MOST_CLASSES:
        decisive = BEST_F1 if BEST_F1 in rules else headline
        report["false_predictions"] = {"rule": decisive, **false_predictions(labeled, rules[decisive].decide(labeled))}
    return {**report, "rules": by_rule}


def _best_rule(train: TrainingSplit, classes: int) -> dict[str, Rule]:
    """The rule of the best thresholds on the training split, if there is one."""
    scores, targets = train["train_scores"], train["train_targets"]
    if (scores is None) != (targets is None):
        raise UserError("the best thresholds need both train_scores and train_targets: give both, or neither")
    if scores is None or targets is None:
        return {}
    best = best_thresholds(scores, targets, train["train_ignored"])
    if len(best) != classes:
        raise UserError(f"train_scores have {len(best)} classes, but scores {classes}: give both the same classes")
    return {BEST_F1: Rule(best)}


def _rules(threshold: float, classes: int) -> dict[str, Rule]:
    """The rules that need no training split, the one of this threshold first."""
    named: Mapping[str, Rule] = {HALF: Rule(0.5), LOGIT: Rule(LOGIT_THRESHOLD), TOP_3: Rule(0.5, min(3, classes))}
    same = [name for name in (HALF, LOGIT) if named[name].threshold == threshold]
    headline = same[0] if same else f"p>={threshold}"
    return {headline: Rule(threshold), **{name: rule for name, rule in named.items() if name != headline}}


def _of_ranking(labeled: LabeledScores, form: str) -> dict[str, Any]:
    """The mAP and the AP of each class, which depend on the ranking alone."""
    ap = average_precisions(rank(labeled), np.ones((len(labeled.scores), 1)), form)
    return {"mAP": mean_over_classes(ap).item(), "AP": ap[0].tolist()}


def _of_rule(labeled: LabeledScores, rule: Rule, compatibility: str | None) -> dict[str, Any]:
    """The metrics that depend on decisions."""
    counts = tallies(labeled, rule.decide(labeled)).sum(axis=0, keepdims=True)
    return {name: values[0].tolist() for name, values in precision_recall(counts, compatibility).items()}
