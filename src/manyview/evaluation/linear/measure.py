"""What linear evaluations of several backbones share: features, reports, scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float32, Float64
from torch import Tensor, nn

from manyview.backbones import Backbone
from manyview.backbones.beside import in_words
from manyview.evaluation.data import Data, LabeledSplit
from manyview.evaluation.features.extract import FeatureSettings, FromMaps, average_and_maximum, combine
from manyview.evaluation.linear.settings import LinearSettings
from manyview.evaluation.resume import Unfinished
from manyview.evaluation.session import extract_part, report
from manyview.runs.progress import Progress
from manyview.runtime import resolve_device

PooledFeatures = Float32[Tensor, "images dim"]


class LinearMeasure(ABC):
    """Linear evaluation of several backbones with the same data and settings.

    Attributes:
        scores: validation probabilities of each network measured so far.

    Args:
        data: images and labels.
        settings: of the classifiers and the report.
        extraction: how features are extracted.
        kept: the state to resume.
        progress: called as work goes on.
    """

    def __init__(
        self,
        data: Data,
        settings: LinearSettings,
        extraction: FeatureSettings,
        kept: Unfinished,
        progress: Progress,
    ) -> None:
        self.data, self.settings, self.extraction, self.kept, self.progress = data, settings, extraction, kept, progress
        self.device = resolve_device(extraction.device)
        self.scores: dict[str, list[Float64[Tensor, "images classes"]]] = {}

    @abstractmethod
    def measure(self, name: str, network: Backbone) -> dict[str, Any]:
        """The report for one backbone, and how its classifiers were made."""

    def features(self, name: str, network: nn.Module) -> tuple[PooledFeatures, Float32[Tensor, "others dim"]]:
        """Pooled features of the training and of the validation images, on the device."""
        # Extracted before any training, so that an unreadable image is found at once.
        val = self.part_features(name, network, self.data.val, "validation")
        return self.part_features(name, network, self.data.train, "training"), val

    def part_features(
        self, name: str, network: nn.Module, part: LabeledSplit, phase: str, flip: bool = False
    ) -> PooledFeatures:
        """Pooled features of one split, on the device."""
        pooled = self.extracted(name, network, part, phase, flip, average_and_maximum)
        return combine(pooled, self.extraction.pool).to(self.device)

    def extracted(
        self, name: str, network: nn.Module, part: LabeledSplit, phase: str, flip: bool, reduce: FromMaps
    ) -> dict[str, Tensor]:
        """What ``reduce`` makes of the feature maps of one split, in main memory; kept in an unfinished evaluation."""
        return self.kept.tensors(
            f"{name}-{phase}".replace(" ", "-"),
            lambda: extract_part(
                network, part, self.extraction, self.progress, f"{in_words(name)}: {phase} features", flip, reduce
            ),
        )

    def report(
        self, name: str, train: Float64[Tensor, "images classes"], val: Float64[Tensor, "others classes"]
    ) -> dict[str, Any]:
        """The ``multilabel_report`` of the probabilities of both splits."""
        self.scores[name] = [val]
        return report(
            self.data,
            train,
            val,
            self.settings.metrics,
            resamples=self.settings.resamples,
            seed=self.settings.seed,
            progress=lambda done, total, phase: self.progress(done, total, f"{in_words(name)}: {phase}"),
        )
