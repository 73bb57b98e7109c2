"""Multi-label linear evaluation of a frozen backbone (paper Sections 3.3 and 4.1)."""

from __future__ import annotations

import os
from typing import Any

from manyview.evaluation.data import Sources
from manyview.evaluation.features.extract import FeatureSettings
from manyview.evaluation.linear.head import HeadSettings
from manyview.evaluation.linear.settings import LinearSettings, recipe_value
from manyview.evaluation.linear.training import LinearEvaluation
from manyview.evaluation.metrics.average_precision import AveragePrecision
from manyview.evaluation.resume import unfinished
from manyview.evaluation.session import LabelledEvaluation
from manyview.evaluation.settings import Compatibility, MetricSettings
from manyview.labels.read_image_labels import Difficult, Problems
from manyview.runs.progress import Progress, no_progress


def linear_evaluation(
    weights: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str],
    train_labels: str | os.PathLike[str],
    val_labels: str | os.PathLike[str],
    val_images: str | os.PathLike[str] | None = None,
    difficult: Difficult = "ignore",
    label_problems: Problems = "refuse",
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    recipe: str = "paper",
    pool: str = "gamp",
    size: int = 224,
    crop: str = "warp",
    epochs: int = 100,
    batch_size: int = 64,
    base_learning_rate: float | int = 10.0,
    weight_decay: float | int | None = None,
    threshold: float | int | None = None,
    measured: str = "last",
    cached: bool = False,
    flips: bool = False,
    average_precision: AveragePrecision = "all_points",
    compatibility: Compatibility | None = None,
    resamples: int = 1000,
    random_init: bool = False,
    seed: int = 0,
    workers: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    backbone: str | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Train a linear head on a frozen backbone's pooled features and measure it on other photographs.

    The backbone is in eval mode. The head is one linear layer (weights N(0, .01), bias 0), trained with binary
    cross-entropy on logits by SGD (momentum .9) with the learning rate base_learning_rate x batch_size / 256, which
    falls along a cosine. Training photographs are cropped at random (8 to 100 % of the area) and mirrored anew every
    epoch; validation photographs are seen as ``crop`` says. Under torchrun the photographs are shared out over the
    processes; every process trains the same head on the features of all, so that the figures are those of one process.

    Args:
        weights: run folder or checkpoint file.
        images: folder that the label files' names are relative to.
        train_labels: labels to train on, of any kind that ``manyview.labels.read_labels`` reads.
        val_labels: the same to measure on; its classes must be among those of train_labels.
        val_images: folder of the validation photographs; unset: ``images``.
        difficult: "ignore" leaves difficult labels (Pascal VOC) out of the loss and of the metrics, "positive" counts
            them.
        label_problems: "refuse" ends with the first entry of a label file that cannot be used; "skip" leaves such out,
            and the protocol lists them.
        out: folder for metrics.json; unset: nothing is written.
        resume: take up an evaluation that was stopped, in ``out``; the figures are those of one that was not, to the
            bit on a CPU.
        recipe: "paper", or "released" for the authors' code: no weight decay, and a threshold at a logit of .6.
        pool: "gamp" (the mean of global average and maximum pooling), "avg", "max", "avg_minus_max" or "cat".
        size: S, the side of the inputs in pixels, at least 8.
        crop: of validation photographs: "warp", the whole one warped to S x S, or "center", the square at its centre
            whose side is 7/8 of the shorter side.
        epochs: passes over the training photographs.
        batch_size: photographs a step, over all processes.
        base_learning_rate: learning rate at a batch of 256.
        weight_decay: of SGD; unset: the recipe's.
        threshold: probability from which a class counts as predicted, at the top level of the results; unset: the
            recipe's. Other rules stand under "rules".
        measured: the head of the "last" epoch, or of that of the "best" validation mAP, which is chosen on the very
            photographs it is measured on and so flatters.
        cached: extract the training features once, without augmentation, and train the head on those: seconds instead
            of hours, and another protocol, so its figures compare only with other cached ones.
        flips: with cached, extract those of the mirrored photographs too, and take either with probability .5.
        average_precision: "all_points" or "voc07", as for ``multilabel_metrics``.
        compatibility: None or "ml-gcn", likewise.
        resamples: of the bootstrap over validation photographs; 0 for no intervals.
        random_init: evaluate an untrained backbone of the same architecture in the same way beside it.
        seed: of the head's first weights, the order, the crops, the bootstrap and the untrained backbone.
        workers: loader processes; unset: by cores. No figure depends on it.
        device: "auto" (CUDA, Metal or CPU, the first there is), "cpu", "cuda", "cuda:1", "mps".
        precision: of the backbone: "float32" (which "auto" means) or "bf16", slow on CPUs without instructions for it.
        backbone: architecture, where the weights do not say it themselves.
        progress: called as work goes on.

    Returns:
        Plain data, as in metrics.json: "protocol" (all that the figures depend on), "results" (for "pretrained" and,
        if asked, "random_init": what ``multilabel_report`` gives, with None for what is undefined; "measured_epoch"
        and "epochs"; "loss_by_epoch", the head's mean training losses; and "mAP_by_epoch" where the best is measured),
        "provenance", which holds "seconds", the time that all took (since it was resumed).

    Raises:
        UserError: if a setting is out of range, a file is missing, malformed or unreadable, ``out`` already holds a
            metrics.json or cannot be written, an evaluation to resume is missing or another, or the head diverges.
    """
    decay = recipe_value(recipe, "weight_decay", weight_decay)
    head = HeadSettings(epochs, batch_size, base_learning_rate, decay, seed=seed)
    metrics = MetricSettings(recipe_value(recipe, "threshold", threshold), average_precision, compatibility)
    settings = LinearSettings(head, recipe, metrics, cached, flips, measured, resamples)
    extraction = FeatureSettings(pool, size, workers, device, precision, crop)
    sources = Sources(images, train_labels, val_labels, val_images, difficult, label_problems)
    begun = LabelledEvaluation.begin(
        weights, sources, extraction, out=out, backbone=backbone, random_init=random_init, seed=seed
    )
    protocol = {**settings.describe(), **begun.protocol}
    with unfinished(begun.out, protocol, resume) as kept:
        evaluation = LinearEvaluation(begun.data, settings, extraction, kept, progress)
        results = {name: evaluation.measure(name, network) for name, network in begun.networks.items()}
        result = begun.finish("linear", protocol, results)
        if begun.out is not None:
            kept.remove()
    return result
