"""Multi-label linear evaluation of a frozen backbone (paper Sections 3.3 and 4.1)."""

from __future__ import annotations

from typing import Any, Unpack

from manyview.evaluation.linear.settings import LinearSettings, describe, of_recipe
from manyview.evaluation.linear.training import LinearEvaluation
from manyview.evaluation.resume import unfinished
from manyview.evaluation.session import LabeledEvaluation
from manyview.options.base import StrPath, verb
from manyview.options.labeled import LinearOptions
from manyview.runs.progress import Progress, no_progress


@verb(LinearOptions)
def linear_evaluation(
    weights: StrPath, *, progress: Progress = no_progress, **options: Unpack[LinearOptions]
) -> dict[str, Any]:
    """Train a linear head on a frozen backbone's pooled features and measure it on other images.

    The backbone is in eval mode. The head is one linear layer (weights N(0, .01), bias 0), trained with binary
    cross-entropy on logits by SGD (momentum .9) with the learning rate base_learning_rate x batch_size / 256, which
    falls along a cosine. Training images are cropped at random (8 to 100 % of the area) and mirrored anew every
    epoch; validation images are seen as ``crop`` says. Under torchrun the images are shared out over the
    processes; every process trains the same head on the features of all, so that the figures are those of one process.

    Args:
        weights: run folder or checkpoint file.
        progress: called as work goes on.
        **options: as ``LinearOptions`` declares them.

    Returns:
        Plain data, as in metrics.json: "protocol" (all that the figures depend on), "results" (for "pretrained" and,
        if asked, "random_init": what ``multilabel_report`` gives, with None for what is undefined; "measured_epoch"
        and "epochs"; "loss_by_epoch", the head's mean training losses; and "mAP_by_epoch" where the best is measured),
        "provenance", which holds "seconds", the time that all took (since it was resumed).

    Raises:
        UserError: if a setting is out of range, a file is missing, malformed or unreadable, ``out`` already holds a
            metrics.json or cannot be written, an evaluation to resume is missing or another, or the head diverges.
    """
    options = of_recipe(options)
    settings = LinearSettings.of(options)
    begun = LabeledEvaluation.begin(weights, options, settings.head.seed)
    protocol = {**describe(options, settings.head), **begun.protocol}
    with unfinished(begun.out, protocol, options["resume"]) as kept:
        evaluation = LinearEvaluation(begun.data, settings, begun.extraction, kept, progress)
        results = {name: evaluation.measure(name, network) for name, network in begun.networks.items()}
        result = begun.finish("linear", protocol, results)
        if begun.out is not None:
            kept.remove()
    return result
