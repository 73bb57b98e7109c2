"""What the evaluations on labelled photographs begin and end with, whatever each makes of the features."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview import distributed
from manyview.backbones import Backbone, load_backbone
from manyview.backbones.untrained import untrained
from manyview.evaluation.data import Data, Sources
from manyview.evaluation.frozen_features import Features, extract_both
from manyview.evaluation.record import RESULT_FILE, write_result
from manyview.evaluation.settings import FeatureSettings, describe_features
from manyview.runs import provenance
from manyview.runs.files import plain
from manyview.runs.output import claim_folder
from manyview.runs.progress import Progress
from manyview.runtime import resolve_device


@dataclass(frozen=True, slots=True, eq=False)
class LabelledEvaluation:
    """An evaluation that has begun: its folder is claimed, labels and weights are read.

    Attributes:
        out: folder for the result; None if nothing is to be written.
        data: photographs and labels.
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
    def begin(
        cls,
        weights: str | os.PathLike[str],
        sources: Sources,
        extraction: FeatureSettings,
        *,
        out: str | os.PathLike[str] | None,
        backbone: str | None,
        random_init: bool,
        seed: int,
    ) -> LabelledEvaluation:
        """Claim the folder, read the labels, and load the weights; the processes of torchrun meet.

        Args:
            weights: run folder or checkpoint file.
            sources: of photographs and labels.
            extraction: how features are extracted.
            out: folder for the result, if any.
            backbone: architecture, where the weights do not say it themselves.
            random_init: whether an untrained backbone is evaluated beside it.
            seed: of that one.

        Raises:
            UserError: ``out`` already holds a result or cannot be written; or labels or weights cannot be used.
        """
        start, origin = time.perf_counter(), provenance()
        distributed.join(resolve_device(extraction.device))
        if out is not None:
            claim_folder(Path(out), RESULT_FILE)
        data = sources.read()
        pretrained = load_backbone(weights, backbone)
        networks = {"pretrained": pretrained, **({"random_init": untrained(pretrained, seed)} if random_init else {})}
        # At once: a run that is still training replaces its weights every epoch.
        protocol = describe_features(extraction, data, Path(weights), pretrained)
        return cls(None if out is None else Path(out), data, networks, extraction, protocol, origin, start)

    def features(self, progress: Progress) -> Iterator[tuple[str, Features]]:
        """The name of each network with its features of both parts, extracted one network after the other.

        Raises:
            UserError: a photograph cannot be read, or the features are not finite.
        """
        for name, network in self.networks.items():
            yield name, extract_both(network, self.data, self.extraction, name, progress)

    def result(self, protocol: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
        """The evaluation as plain data.

        Args:
            protocol: all that the figures depend on.
            results: by the names of the networks.

        Returns:
            "protocol", "results", with None for what is undefined, and "provenance", whose "seconds" are the time since
            the beginning.
        """
        seconds = round(time.perf_counter() - self.start, 1)
        return {
            "protocol": dict(protocol),
            "results": plain(dict(results)),
            "provenance": {**self.origin, "seconds": seconds},
        }

    def write(self, result: dict[str, Any]) -> None:
        """Write metrics.json, if anything is to be written.

        Raises:
            UserError: if it cannot be written.
        """
        if self.out is not None:
            write_result(self.out, result)
