"""Multi-label linear evaluation of a frozen backbone (paper Sections 3.3 and 4.1)."""

from __future__ import annotations

from typing import Unpack, cast

from manyview.evaluation.linear.logistic import LogisticEvaluation
from manyview.evaluation.linear.recipes import of_recipe
from manyview.evaluation.linear.settings import LogisticSettings, settings_of
from manyview.evaluation.linear.sgd import SgdEvaluation
from manyview.evaluation.resume import unfinished
from manyview.evaluation.session import LabeledEvaluation, baseline_differences
from manyview.options.base import StrPath, verb
from manyview.options.labeled import LabeledOptions, LinearOptions
from manyview.pooling import ATTENTION, KINDS
from manyview.runs.progress import Progress, no_progress
from manyview.runs.result import Result


@verb(LinearOptions)
def linear_evaluation(
    weights: StrPath, *, progress: Progress = no_progress, **options: Unpack[LinearOptions]
) -> Result:
    """Train linear classifiers on a frozen backbone's pooled features and evaluate them on the validation images.

    The backbone is in eval mode. With the recipe "logistic", features are extracted once, standardized, and a logistic
    regression is fitted for each class; its regularization is chosen by cross-validation on the training labels.

    With the other recipes, the head is one linear layer (weights N(0, .01), bias 0), trained with binary cross-entropy
    on logits by SGD (momentum .9) with the learning rate base_learning_rate x batch_size / 256, which follows a cosine.
    The loss is a mean over the classes, so that a base rate of 10 suits 80 classes; "sgd" has 10/80 for each class.
    Training images get new random crops (8 to 100 % of the area) and flips every epoch; validation images are
    transformed by ``crop``. Under torchrun the images are split over the processes; every process trains the same
    classifiers on all features, so that the figures are those of one process.

    Args:
        weights: run folder or checkpoint file.
        progress: called as work goes on.
        **options: as ``LinearOptions`` declares them.

    Returns:
        Plain data, as in metrics.json: "protocol" (all that the figures depend on; "recipe" says which made them),
        "results" (for "pretrained" and each baseline, such as "random_init" or "initial": what ``multilabel_report``
        gives, with None for what is undefined, and of logistic regression "costs" (C of each class, None without a
        classifier), "costs_at_edge" (classes whose best C is the least or the most that may be chosen),
        "cross_validated" ([C, mAP], of each C that was tried for all classes) and "unconverged"; of a head
        "measured_epoch" and "epochs"; "loss_by_epoch", the mean training losses; "base_rate_entropy", the least loss
        without features; and "mAP_by_epoch" if the best is measured), "differences" (to each baseline: of
        ``map_differences``), "provenance" with "seconds", the total time (since it was resumed).

    Raises:
        UserError: if a setting is out of range or not of the recipe, a file is missing, malformed or unreadable,
            ``out`` already holds a metrics.json or cannot be written, an evaluation to resume is missing or another, or
            the head diverges.
    """
    options = of_recipe(options)
    settings_of(options, classes=1)  # mistakes are found before anything is read
    labeled = cast("LabeledOptions", options)
    begun = LabeledEvaluation.begin(weights, labeled, options["seed"], poolings=(*KINDS, ATTENTION))
    settings = settings_of(options, len(begun.data.classes))
    protocol = {**settings.describe(options), **begun.protocol}
    with unfinished(begun.out, protocol, options["resume"]) as kept:
        made = LogisticEvaluation if isinstance(settings, LogisticSettings) else SgdEvaluation
        evaluation = made(begun.data, settings, begun.extraction, kept, progress)
        prepared = begun.networks.prepared(begun.data.train, begun.extraction, progress, kept.tensors)
        results = {name: evaluation.measure(name, network) for name, network in prepared}
        differences = baseline_differences(
            begun.data,
            evaluation.scores,
            settings.metrics,
            resamples=settings.resamples,
            seed=settings.seed,
            progress=progress,
        )
        result = begun.finish("linear", protocol, results, differences, kept.remarks)
        if begun.out is not None:
            kept.remove()
    return result
