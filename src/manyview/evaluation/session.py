"""What the evaluations on labeled images begin and end with, whatever each makes of the features."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float64
from torch import Tensor, nn

from manyview import distributed
from manyview.backbones import Backbone, load_backbone
from manyview.backbones.build import untrained
from manyview.evaluation.data import Data, LabeledSplit, Sources
from manyview.evaluation.features.extract import FeatureSettings, Pooled, combine, extract
from manyview.evaluation.metrics.multilabel import multilabel_report
from manyview.evaluation.settings import MetricSettings, describe_features
from manyview.options.base import StrPath, among, select
from manyview.options.labeled import LabeledOptions
from manyview.runs import atomic_write, provenance
from manyview.runs.files import plain
from manyview.runs.output import claim_folder
from manyview.runs.progress import Progress
from manyview.runtime import resolve_device

RESULT_FILE = "metrics.json"


@dataclass(frozen=True, slots=True, eq=False)
class SplitFeatures:
    """Pooled features of the training and the validation images, in the order of their labels."""

    train: Float64[Tensor, "images dim"]
    val: Float64[Tensor, "others dim"]


@dataclass(frozen=True, slots=True, eq=False)
class LabeledEvaluation:
    """An evaluation that has begun: its folder is claimed, labels and weights are read.

    Attributes:
        out: folder for the result; None if nothing is to be written.
        data: images and labels.
        networks: the backbone as "pretrained" and, if asked, an untrained one of its architecture as "random_init".
        extraction: how features are extracted.
        protocol: all that features and labels depend on, as plain data.
        origin: where the result comes from, as plain data.
        start: of ``time.perf_counter``.
    """

    out: Path | None
    data: Data
    networks: Mapping[str, Backbone]
    extraction: FeatureSettings
    protocol: Mapping[str, Any]
    origin: Mapping[str, Any]
    start: float

    @classmethod
    def begin(cls, weights: StrPath, options: LabeledOptions, seed: int) -> LabeledEvaluation:
        """Claim the folder, read the labels, and load the weights; the processes of torchrun meet.

        Args:
            weights: run folder or checkpoint file.
            options: all of them.
            seed: of the untrained backbone.

        Raises:
            UserError: ``out`` already holds a result or cannot be written; or labels or weights cannot be used.
        """
        start, origin = time.perf_counter(), provenance()
        extraction = select(FeatureSettings, among(LabeledOptions, options))
        out = None if options["out"] is None else Path(options["out"])
        distributed.join(resolve_device(extraction.device))
        if out is not None:
            claim_folder(out, RESULT_FILE)
        data = select(Sources, options).read()
        pretrained = load_backbone(weights, options["backbone"])
        beside = {"random_init": untrained(pretrained, seed)} if options["random_init"] else {}
        # At once: a run that is still training replaces its weights every epoch.
        protocol = describe_features(extraction, data, Path(weights), pretrained)
        return cls(out, data, {"pretrained": pretrained, **beside}, extraction, protocol, origin, start)

    def features(self, progress: Progress) -> Iterator[tuple[str, SplitFeatures]]:
        """The name of each network with its features of both parts, extracted one network after the other.

        They are in main memory and in float64, in which what follows computes.

        Raises:
            UserError: an image cannot be read, or the features are not finite.
        """
        for name, network in self.networks.items():
            train, val = (
                combine(
                    extract_part(network, part, self.extraction, progress, f"{name}: {phase} features"),
                    self.extraction.pool,
                ).double()
                for part, phase in ((self.data.train, "training"), (self.data.val, "validation"))
            )
            yield name, SplitFeatures(train, val)

    def finish(self, evaluation: str, protocol: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
        """The evaluation as plain data, which is also written to metrics.json if anything is to be written.

        Args:
            evaluation: its tag, by which others tell what the results are.
            protocol: all that the figures depend on.
            results: by the names of the networks.

        Returns:
            "evaluation", "protocol", "results", with None for what is undefined, and "provenance", whose "seconds" are
            the time since the beginning.

        Raises:
            UserError: if it cannot be written.
        """
        result = {
            "evaluation": evaluation,
            "protocol": dict(protocol),
            "results": plain(dict(results)),
            "provenance": {**self.origin, "seconds": round(time.perf_counter() - self.start, 1)},
        }
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
) -> Pooled:
    """What ``extract`` makes of some labeled images."""
    return extract(
        network,
        part.folder,
        part.labels.names,
        settings.size,
        batch_size=settings.batch_size,
        device=settings.device,
        precision=settings.precision,
        workers=settings.workers,
        crop=settings.crop,
        flip=flip,
        progress=progress,
        phase=phase,
    )


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
    """What ``multilabel_report`` makes of the scores of both parts."""
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


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write metrics.json atomically; of several processes, the first alone.

    Raises:
        UserError: if it cannot be written.
    """
    if distributed.rank() == 0:
        atomic_write(folder / RESULT_FILE, json.dumps(result, indent=2, allow_nan=False) + "\n")
