"""Multi-label kNN classification with frozen features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from manyview.backbones.beside import in_words
from manyview.errors import require, require_seed
from manyview.evaluation.data import Data
from manyview.evaluation.session import LabeledEvaluation, SplitFeatures, baseline_differences, report
from manyview.evaluation.settings import EXTRACTED_ONCE, MetricSettings, describe_report
from manyview.options.base import StrPath, recorded, select, verb
from manyview.options.labeled import KnnOptions
from manyview.runs.progress import Progress, no_progress
from manyview.runs.result import Result

# Similarities held at a time: 32 MB, for any number of images.
CHUNK_NUMBERS = 2**22


@dataclass(frozen=True, slots=True)
class KnnSettings:
    """Settings of the vote (k is ``neighbours``) and of its metrics and bootstrap; checked when made.

    Raises:
        UserError: if a value is out of range.
    """

    neighbours: int = 20
    temperature: float | int = 0.07
    metrics: MetricSettings = field(default_factory=MetricSettings)
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.neighbours >= 1, f"neighbours must be at least 1, not {self.neighbours}")
        require(0 < self.temperature < float("inf"), f"temperature must be above 0, not {self.temperature}")
        require(self.resamples >= 0, f"resamples must be at least 0, not {self.resamples}")
        require_seed(self.seed)


@verb(KnnOptions)
def knn_evaluation(weights: StrPath, *, progress: Progress = no_progress, **options: Unpack[KnnOptions]) -> Result:
    """Evaluate a frozen backbone by multi-label kNN classification (see ``knn_scores``).

    An image that both label files name, or a copy of one, never votes for itself. The thresholds of the rule "best F1
    on train" are found on the training images, each scored by the others.

    Args:
        weights: run folder or checkpoint file.
        progress: called as work goes on.
        **options: as ``KnnOptions`` declares them.

    Returns:
        Plain data, as in metrics.json: "protocol" (all that the figures depend on), "results" (for "pretrained" and
        each baseline, such as "random_init" or "initial": what ``multilabel_report`` gives, with None for what is
        undefined), "differences" (to each baseline: of ``map_differences``), "provenance" with "seconds", the total
        time.

    Raises:
        UserError: if a setting is out of range, a file is missing, malformed or unreadable, or ``out`` already holds a
            metrics.json or cannot be written.
    """
    settings = select(KnnSettings, options, metrics=select(MetricSettings, options))
    begun = LabeledEvaluation.begin(weights, options, settings.seed)
    neighbours, count = settings.neighbours, len(begun.data.train.labels.names)
    require(neighbours <= count, f"neighbours is {neighbours}, but {options['train_labels']} names only {count} images")
    results, scores = {}, {}
    for name, features in begun.features(progress):
        results[name], scores[name] = _measure(name, features, begun.data, settings, progress)
    differences = baseline_differences(
        begun.data,
        {name: [own] for name, own in scores.items()},
        settings.metrics,
        resamples=settings.resamples,
        seed=settings.seed,
        progress=progress,
    )
    return begun.finish("knn", {**_describe(options), **begun.protocol}, results, differences)


def knn_scores(
    queries: Float64[Tensor, "queries dim"],
    keys: Float64[Tensor, "images dim"],
    targets: UInt8[Tensor, "images classes"],
    neighbours: int = 20,
    temperature: float | int = 0.07,
    *,
    itself: Int64[Tensor, "queries most"] | None = None,
    ignored: UInt8[Tensor, "images classes"] | None = None,
    progress: Progress = no_progress,
    phase: str = "nearest neighbors",
) -> Float64[Tensor, "queries classes"]:
    """Share of the weighted votes of the k nearest images for each class.

    The score of a class is the sum of exp(cos / T) over those of the k images of the highest cosine that show the
    class, divided by the sum over all k; exactly 1 if all of them show it (Wu et al., CVPR 2018, for one label an
    image; here each class is voted on separately). Of equally near images, the first in order of ``keys`` are taken. A
    vector of zeros has the cosine 0 with all others. Memory is bounded: queries are processed in chunks.

    Args:
        queries: features of the images to classify.
        keys: features of the images that vote; neither need be normalized.
        targets: 1 where an image that votes shows the class, else 0.
        neighbours: k, from 1 to the number of keys.
        temperature: T, above 0.
        itself: for each query the indices of the same image among the keys, which then has no vote; -1 for none.
        ignored: 1 where a label is left out: that image has no vote on that class. None for no such label.
        progress: called with the queries done.
        phase: the description for progress.

    Returns:
        shares in [0, 1]; 0 without votes.
    """
    assert 1 <= neighbours <= len(keys)
    assert temperature > 0
    keys, labels = F.normalize(keys, dim=1), targets.double()
    counted = torch.ones_like(labels) if ignored is None else 1 - ignored.double()
    chunk = max(1, CHUNK_NUMBERS // len(keys))
    parts = []
    progress(0, len(queries), phase)
    for start in range(0, len(queries), chunk):
        cosines = F.normalize(queries[start : start + chunk], dim=1) @ keys.T
        if itself is not None:
            same = itself[start : start + chunk]
            known = same >= 0
            cosines[torch.where(known)[0], same[known]] = -torch.inf
        votes = _votes(cosines, neighbours, temperature)
        # So unanimous votes are exactly 1, and tie; sums over all voters may be rounded differently.
        cast, against = votes @ (labels * counted), votes @ ((1 - labels) * counted)
        parts.append(torch.where(cast > 0, cast / (cast + against), 0))
        progress(start + len(cosines), len(queries), phase)
    return torch.cat(parts)


def _votes(
    cosines: Float64[Tensor, "queries images"], neighbours: int, temperature: float | int
) -> Float64[Tensor, "queries images"]:
    """Weight of each image for each query: 0 but for the k nearest; of equally near ones the first."""
    best = cosines.topk(neighbours, dim=1).values
    last = best[:, -1:]
    nearer, tied = cosines > last, cosines == last
    room = neighbours - nearer.sum(dim=1, keepdim=True)
    chosen = nearer | (tied & (tied.cumsum(dim=1) <= room))
    # Relative to the nearest, whose weight is 1: otherwise exp overflows at a small temperature.
    return torch.exp((cosines - best[:, :1].clamp(min=-1)) / temperature) * chosen


def _measure(
    name: str, features: SplitFeatures, data: Data, settings: KnnSettings, progress: Progress
) -> tuple[Mapping[str, Any], Tensor]:
    """The report for one backbone's features, and its validation scores."""
    targets = torch.from_numpy(data.train.labels.targets)
    left_out = data.train.labels.ignored
    ignored = None if left_out is None else torch.from_numpy(left_out)

    def scores(queries: Float64[Tensor, "queries dim"], itself: Tensor, of: str) -> Tensor:
        return knn_scores(
            queries,
            features.train,
            targets,
            settings.neighbours,
            settings.temperature,
            itself=itself,
            ignored=ignored,
            progress=progress,
            phase=f"{in_words(name)}: neighbors of the {of} images",
        )

    val = scores(features.val, _same_images(data), "validation")
    measured = report(
        data,
        scores(features.train, torch.arange(len(targets)).unsqueeze(1), "training"),
        val,
        settings.metrics,
        resamples=settings.resamples,
        seed=settings.seed,
        progress=lambda done, total, phase: progress(done, total, f"{name}: {phase}"),
    )
    return measured, val


def _same_images(data: Data) -> Int64[Tensor, "others most"]:
    """Indices of each validation image and of its copies among the training images; -1 where there are no more."""
    twins = data.shared.twins
    same = torch.full((len(data.val.labels.names), max(map(len, twins.values()), default=1)), -1)
    for index, found in twins.items():
        same[index, : len(found)] = torch.tensor(found)
    return same


def _describe(options: KnnOptions) -> dict[str, Any]:
    """The protocol, in words that are compared with those of earlier results."""
    return {
        "evaluation": "multi-label classification by the nearest neighbours of a frozen backbone's features",
        **recorded(KnnOptions, options),
        "similarity": "cosine, in float64",
        "score": "share of the votes for the class, each weighing exp(cosine / temperature)",
        "ties": "of equally near photographs the first in order of the training labels",
        "itself": "a photograph that is also among the training ones does not vote for itself",
        "train_transform": EXTRACTED_ONCE,
        **describe_report(options["resamples"], "of each training photograph by the others"),
    }
