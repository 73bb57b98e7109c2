"""The networks of an evaluation: the evaluated one, and the baselines beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from manyview.backbones import Backbone
from manyview.backbones.beside import PRETRAINED, RANDOM_INIT, Baseline, find_baselines, in_words
from manyview.backbones.norm_statistics import running_norms, set_norms
from manyview.errors import require
from manyview.evaluation.data import LabeledSplit
from manyview.evaluation.features.extract import FeatureSettings
from manyview.evaluation.features.layers import at_same_layer, whole
from manyview.evaluation.features.norms import BATCH_SIZE, measure_on_images, whole_batches
from manyview.evaluation.settings import describe_loading, describe_pixels, describe_pooled
from manyview.options.base import StrPath
from manyview.options.labeled import LabeledOptions
from manyview.runs.progress import Progress

MEASURED, ZERO_ONE = "measured", "zero-one"

Keep = Callable[[str, Callable[[], dict[str, Tensor]]], dict[str, Tensor]]
"""Gives the tensors kept under a name, or else those that a function makes (``Unfinished.tensors``)."""


def make(name: str, tensors: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Keep nothing."""
    return tensors()


@dataclass(frozen=True, slots=True, eq=False)
class Networks:
    """The evaluated network and its baselines, in eval mode.

    Attributes:
        by_name: all at one layer; "pretrained" first; then "random_init", "initial" or a name from the weights' path.
        baselines: of all but the first, in order.
        seed: of random init, and of the batches its norms are measured on.
        norms: "measured" or "zero-one", of random init.
    """

    by_name: Mapping[str, Backbone]
    baselines: tuple[Baseline, ...]
    seed: int
    norms: str

    @classmethod
    def load(cls, weights: StrPath, pretrained: Backbone, options: LabeledOptions, seed: int) -> Networks:
        """Build the baselines of an evaluation.

        Args:
            weights: of the evaluated network.
            pretrained: the evaluated network, at the layer that is evaluated (``features.layers.at_layer``).
            options: of the evaluation.
            seed: of random init.

        Raises:
            UserError: a baseline or ``untrained_norms`` cannot be used.
        """
        norms = options["untrained_norms"]
        known = (MEASURED, ZERO_ONE)
        require(norms in known, f"untrained_norms must be {' or '.join(known)}, not {norms!r}")
        baselines = tuple(find_baselines(weights, options["beside"]))
        others = {
            each.name: at_same_layer(each, each.build(whole(pretrained), seed), pretrained, seed) for each in baselines
        }
        return cls({PRETRAINED: pretrained, **others}, baselines, seed, norms)

    def prepared(
        self, train: LabeledSplit, settings: FeatureSettings, progress: Progress, keep: Keep = make
    ) -> Iterator[tuple[str, Backbone]]:
        """Each network with its name; random init with its norms' statistics set.

        Args:
            train: images to measure statistics on.
            settings: of the evaluation's features.
            progress: called while they are measured.
            keep: of the statistics, in an evaluation that can be resumed.

        Raises:
            UserError: an image cannot be read.
        """
        for name, network in self.by_name.items():
            if name == RANDOM_INIT and self.norms == MEASURED and running_norms(network):
                measure = partial(self._measure, network, train, settings, progress)
                set_norms(network, keep(f"{name}-norms", measure))
            yield name, network

    def describe(self, train: LabeledSplit, settings: FeatureSettings) -> dict[str, Any]:
        """Protocol of the baselines by name; {} without any."""
        entries = {}
        for baseline in self.baselines:
            network = self.by_name[baseline.name]
            entries[baseline.name] = {
                **baseline.describe(network, self.seed),
                "loading": describe_loading(network.loading),
                **describe_pooled(settings, network),
                **describe_pixels(network),
                **(self._describe_norms(network, train) if baseline.weights is None else {}),
            }
        return entries

    def _measure(
        self, network: Backbone, train: LabeledSplit, settings: FeatureSettings, progress: Progress
    ) -> dict[str, Tensor]:
        """Statistics of an untrained network's norms, in main memory."""
        phase = f"{in_words(RANDOM_INIT)}: statistics of the norms"
        found = measure_on_images(
            network, train.folder, train.labels.names, settings, self.seed, progress=progress, phase=phase
        )
        return {norm: statistics.cpu() for norm, statistics in found.items()}

    def _describe_norms(self, network: Backbone, train: LabeledSplit) -> dict[str, Any]:
        """Of random init; None for networks without batch norms."""
        if not running_norms(network):
            return {"norm_statistics": None}
        if self.norms == ZERO_ONE:
            return {"norm_statistics": ZERO_ONE}
        batches = whole_batches(len(train.labels.names), self.seed)
        return {
            "norm_statistics": MEASURED,
            "norm_images": sum(map(len, batches)),
            "norm_batches": f"whole ones of {min(BATCH_SIZE, len(batches[0]))}, shuffled; a plain mean over them",
        }
