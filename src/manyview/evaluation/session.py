"""Common beginning and end of the evaluations on labeled images."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float64
from torch import Tensor, nn

from manyview import distributed, pooling
from manyview.backbones import load_backbone
from manyview.backbones.beside import PRETRAINED, in_words
from manyview.evaluation.beside import Networks
from manyview.evaluation.data import Data, LabeledSplit, Sources
from manyview.evaluation.features.extract import FeatureSettings, FromMaps, average_and_maximum, collect, combine
from manyview.evaluation.features.layers import at_layer
from manyview.evaluation.input_size import input_size
from manyview.evaluation.metrics.differences import MapDifference, map_differences
from manyview.evaluation.metrics.multilabel import multilabel_report
from manyview.evaluation.metrics.scores import LabeledScores, Matrix
from manyview.evaluation.resume import RESULT_FILE, clear_ended
from manyview.evaluation.settings import MetricSettings, describe_features
from manyview.options.base import StrPath, among, select
from manyview.options.labeled import LabeledOptions
from manyview.options.shared import Normalization
from manyview.runs import atomic_write, provenance
from manyview.runs.environment import environment
from manyview.runs.files import claim_folder, plain
from manyview.runs.progress import Progress
from manyview.runs.result import Result
from manyview.runtime import resolve_device


@dataclass(frozen=True, slots=True, eq=False)
class SplitFeatures:
    """Pooled features of the training and validation images, in the order of their labels."""

    train: Float64[Tensor, "images dim"]
    val: Float64[Tensor, "others dim"]


@dataclass(frozen=True, slots=True, eq=False)
class LabeledEvaluation:
    """A running evaluation: its folder is claimed, labels and weights are read.

    Attributes:
        out: folder for the result; None to write nothing.
        data: images and labels.
        networks: the backbone as "pretrained", and its baselines.
        extraction: how features are extracted.
        protocol: all that features and labels depend on, as plain data.
        origin: provenance, as plain data.
        start: time on ``time.perf_counter``.
    """

    out: Path | None
    data: Data
    networks: Networks
    extraction: FeatureSettings
    protocol: Mapping[str, Any]
    origin: Mapping[str, Any]
    start: float

    @classmethod
    def begin(
        cls, weights: StrPath, options: LabeledOptions, seed: int, poolings: tuple[str, ...] = pooling.KINDS
    ) -> LabeledEvaluation:
        """Join the processes of torchrun, claim the folder, read the labels and load the weights.

        Args:
            weights: run folder or checkpoint file.
            options: of the evaluation.
            seed: of random init.
            poolings: that the evaluation can do.

        Raises:
            UserError: ``out`` already holds a result or cannot be written; or labels, weights or baselines cannot be
                used.
        """
        start, origin = time.perf_counter(), provenance()
        # Only the options of every evaluation: ``batch_size`` is that of the linear head.
        size = input_size(weights, options["size"])
        origin |= size.said
        extraction = select(FeatureSettings, among(LabeledOptions, options), poolings=poolings, size=size.side)
        out = None if options["out"] is None else Path(options["out"])
        distributed.join(resolve_device(extraction.device))
        if out is not None:
            clear_ended(out)
            claim_folder(out, RESULT_FILE)
        data = select(Sources, options).read()
        pretrained = at_layer(
            load_backbone(weights, options["backbone"], **among(Normalization, options)),
            options["layer"],
            weights,
        )
        # Hashed at once: a run that is still training replaces its weights every epoch.
        protocol = describe_features(extraction, data, Path(weights), pretrained)
        networks = Networks.load(weights, pretrained, options, seed)
        protocol["beside"] = networks.describe(data.train, extraction)
        return cls(out, data, networks, extraction, protocol, origin, start)

    def features(self, progress: Progress) -> Iterator[tuple[str, SplitFeatures]]:
        """Yield each network's name and its features of both splits, in main memory and in float64.

        Raises:
            UserError: an image cannot be read, or the features are not finite.
        """
        for name, network in self.networks.prepared(self.data.train, self.extraction, progress):
            train, val = (
                combine(
                    extract_part(network, part, self.extraction, progress, f"{in_words(name)}: {phase} features"),
                    self.extraction.pool,
                ).double()
                for part, phase in ((self.data.train, "training"), (self.data.val, "validation"))
            )
            yield name, SplitFeatures(train, val)

    def finish(
        self,
        evaluation: str,
        protocol: Mapping[str, Any],
        results: Mapping[str, Any],
        differences: Mapping[str, MapDifference],
        remarks: Sequence[str] = (),
    ) -> Result:
        """The result as plain data, also written to metrics.json if there is a folder.

        Args:
            evaluation: tag of the type of evaluation.
            protocol: all that the figures depend on.
            results: by the names of the networks.
            differences: to each baseline, of ``map_differences``.
            remarks: sentences on how a resumed evaluation was taken up.

        Returns:
            "evaluation", "protocol", "results" and "differences", with None for undefined figures, and "provenance"
            with "seconds" since the beginning.

        Raises:
            UserError: if it cannot be written.
        """
        result = Result(
            evaluation=evaluation,
            protocol=dict(protocol),
            results=plain(dict(results)),
            differences=plain(dict(differences)),
            provenance={
                **self.origin,
                "environment": environment(),
                **({"remarks": list(remarks)} if remarks else {}),
                "seconds": round(time.perf_counter() - self.start, 1),
            },
        )
        if self.out is not None:
            write_result(self.out, result)
        return result


def extract_part(
    network: nn.Module,
    part: LabeledSplit,
    settings: FeatureSettings,
    progress: Progress,
    phase: str,
    flip: bool = False,
    reduce: FromMaps = average_and_maximum,
) -> dict[str, Tensor]:
    """Features of one split: what ``reduce`` makes of its feature maps (see ``collect``)."""
    names = part.labels.names
    return collect(network, part.folder, names, settings, reduce, flip=flip, progress=progress, phase=phase)


def report(
    data: Data,
    train_scores: Float64[Tensor, "images classes"],
    val_scores: Float64[Tensor, "others classes"],
    metrics: MetricSettings,
    *,
    resamples: int,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """The ``multilabel_report`` of the scores of both splits."""
    train, val = data.train.labels, data.val.labels
    return multilabel_report(
        val_scores,
        val.targets,
        metrics.threshold,
        train_scores=train_scores,
        train_targets=train.targets,
        train_ignored=train.ignored,
        average_precision=metrics.average_precision,
        compatibility=metrics.compatibility,
        ignored=val.ignored,
        resamples=resamples,
        seed=seed,
        progress=progress,
    )


def baseline_differences(
    data: Data,
    scores: Mapping[str, Sequence[Matrix]],
    metrics: MetricSettings,
    *,
    resamples: int,
    seed: int,
    progress: Progress,
) -> dict[str, MapDifference]:
    """``map_differences`` of the validation scores of the evaluated network to those of its baselines."""
    val = data.val.labels
    labeled = {
        name: [LabeledScores.check(each, val.targets, val.ignored) for each in own] for name, own in scores.items()
    }
    return map_differences(
        labeled, PRETRAINED, metrics.average_precision, resamples=resamples, seed=seed, progress=progress
    )


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write metrics.json atomically; of several processes, only the first does.

    Raises:
        UserError: if it cannot be written.
    """
    if distributed.rank() == 0:
        atomic_write(folder / RESULT_FILE, json.dumps(result, indent=2, allow_nan=False) + "\n")
