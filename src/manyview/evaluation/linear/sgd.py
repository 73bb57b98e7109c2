"""Linear evaluation by a head trained with SGD (paper Section 4.1)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor, nn

from manyview import distributed
from manyview.backbones import Backbone
from manyview.backbones.beside import in_words
from manyview.evaluation.data import LabeledSplit
from manyview.evaluation.features.backbone import FrozenBackbone, Maps
from manyview.evaluation.features.dataset import images_for, load_readable, random_crops, random_views
from manyview.evaluation.linear.attention import AttentiveHead, check_memory
from manyview.evaluation.linear.head import (
    FeatureBatch,
    HeadSettings,
    HeadTraining,
    new_head,
    shuffled_batches,
    train_head,
)
from manyview.evaluation.linear.measure import LinearMeasure, PooledFeatures
from manyview.evaluation.linear.settings import SgdSettings
from manyview.evaluation.metrics.average_precision import average_precisions, mean_over_classes, rank
from manyview.evaluation.metrics.scores import LabeledScores
from manyview.evaluation.session import extract_part
from manyview.images import ImageFiles
from manyview.pooling import ATTENTION
from manyview.pooling import pool as pool_features
from manyview.runtime import single_thread

# The random stream of the flips of each epoch.
_FLIPS = 1
# Images whose feature maps are scored together.
_MAPS_TOGETHER = 256


class SgdEvaluation(LinearMeasure):
    """Linear evaluation by heads that SGD trains, on features extracted once or on augmented images."""

    settings: SgdSettings

    def measure(self, name: str, network: Backbone) -> dict[str, Any]:
        """The report for one backbone, with the measured epoch and the losses."""
        train, val = self._inputs(name, network)
        targets = known_targets(self.data.train).to(self.device)
        training, best = self._begin(name, network.out_channels if train is None else train.shape[1])
        batches = self._batches(name, network, train, targets, training.epoch)
        train_scores, val_scores = (
            partial(self._scores, name, network, *part)
            for part in ((train, self.data.train, "training"), (val, self.data.val, "validation"))
        )
        if val is None and training.epoch == 0:
            val_scores(training.head)  # finds an unreadable image before the training

        def after_epoch(training: HeadTraining) -> None:
            if self.settings.measured == "best":
                best.consider(training, self._map(val_scores(training.head)))
            tensors = {**training.tensors(), **best.tensors()}
            self.kept.save(name, training.epoch, tensors, {"losses": training.losses, "maps": best.maps})

        with single_thread() if self.settings.cached else contextlib.nullcontext():
            train_head(
                batches,
                training,
                len(targets),
                after_epoch=after_epoch,
                progress=self.progress,
                phase=f"{in_words(name)}: training the linear head",
            )
        best.choose(training)
        scores = self.report(name, train_scores(training.head), val_scores(training.head))
        epochs = {"measured_epoch": best.epoch or training.epoch, "epochs": training.epoch}
        by_epoch = {"mAP_by_epoch": best.maps} if best.maps else {}
        losses = {"loss_by_epoch": training.losses, "base_rate_entropy": base_rate_entropy(targets)}
        return {**scores, **epochs, **losses, **by_epoch}

    @property
    def _attentive(self) -> bool:
        """Whether the head pools feature maps by itself."""
        return self.extraction.pool == ATTENTION

    def _inputs(self, name: str, network: Backbone) -> tuple[Tensor | None, Tensor | None]:
        """What the head sees of the images of both splits, or None where it sees feature maps too many to keep."""
        if not self._attentive:
            return self.features(name, network)
        if not self.settings.cached:
            return None, None
        images = [len(part.labels.names) for part in (self.data.train, self.data.val)]
        kept = sum(images) + (images[0] if self.settings.flips else 0)
        check_memory(network, kept, self.extraction.size, self.extraction.device)
        val = self._maps(name, network, self.data.val, "validation")
        return self._maps(name, network, self.data.train, "training"), val

    def _maps(self, name: str, network: nn.Module, part: LabeledSplit, phase: str, flip: bool = False) -> Maps:
        """Feature maps of one split, in main memory."""
        return self.extracted(name, network, part, phase, flip, lambda maps: {"maps": maps.contiguous()})["maps"]

    def _scores(
        self,
        name: str,
        network: nn.Module,
        inputs: PooledFeatures | Maps | None,
        part: LabeledSplit,
        phase: str,
        head: nn.Linear,
    ) -> Float64[Tensor, "images classes"]:
        """Probabilities of a split's images by a head; without ``inputs``, from feature maps extracted meanwhile."""
        if inputs is not None:
            return probabilities(head, inputs)

        def scored(maps: Maps) -> dict[str, Tensor]:
            return {"scores": probabilities(head, maps)}

        phase = f"{in_words(name)}: scores of the {phase} images"
        return extract_part(network, part, self.extraction, self.progress, phase, reduce=scored)["scores"]

    def _begin(self, name: str, dim: int) -> tuple[HeadTraining, BestEpoch]:
        """A new head, or the one to resume."""
        of = AttentiveHead if self._attentive else nn.Linear
        head = new_head(dim, len(self.data.classes), self.settings.head.seed, of).to(self.device)
        training, best = HeadTraining(head, self.settings.head), BestEpoch([], {})
        checkpoint = self.kept.load(name)
        if checkpoint is not None:
            training.restore(checkpoint.tensors, checkpoint.state["losses"])
            best = BestEpoch.restored(checkpoint.state["maps"], checkpoint.tensors)
        return training, best

    def _batches(
        self, name: str, network: nn.Module, train: PooledFeatures | Maps | None, targets: Tensor, first_epoch: int
    ) -> Iterator[FeatureBatch]:
        if not self.settings.cached:
            return self._augmented_batches(network, targets, first_epoch)
        assert train is not None
        mirrored = None
        if self.settings.flips:
            extracted = self._maps if self._attentive else self.part_features
            mirrored = extracted(name, network, self.data.train, "mirrored training", flip=True)
        return cached_batches(train, mirrored, targets, self.settings.head, first_epoch)

    def _augmented_batches(self, network: nn.Module, targets: Tensor, first_epoch: int) -> Iterator[FeatureBatch]:
        """Batches of features of augmented images; each process extracts its share."""
        settings, extraction = self.settings.head, self.extraction
        frozen = FrozenBackbone(network, self.device, extraction.precision)
        files = ImageFiles(self.data.train.folder, self.data.train.labels.names)
        views = partial(random_views, config=random_crops(extraction.size), seed=settings.seed)
        images = images_for(network, files, extraction.size, views)
        own = (distributed.share(batch) for batch in shuffled_batches(settings, len(images), first_epoch))
        loaded = load_readable(images, own, workers=extraction.workers, pin=self.device.type == "cuda")
        for batch, pixels in zip(shuffled_batches(settings, len(images), first_epoch), loaded, strict=True):
            maps = frozen(pixels)
            own_features = maps if self._attentive else pool_features(maps, extraction.pool)
            features = distributed.gather_shares(own_features, len(batch))
            yield features, targets[torch.tensor([index for _, index in batch], device=self.device)]

    def _map(self, scores: Float64[Tensor, "images classes"]) -> float:
        """Validation mAP, which selects the epoch; -1 if no class has a validation image."""
        labels = self.data.val.labels
        ranking = rank(LabeledScores.check(scores, labels.targets, labels.ignored))
        found = average_precisions(ranking, np.ones((len(scores), 1)), self.settings.metrics.average_precision)
        return float(np.nan_to_num(mean_over_classes(found).item(), nan=-1))


@dataclass(slots=True)
class BestEpoch:
    """The head of the best validation mAP so far; empty if the last epoch is measured.

    Attributes:
        maps: validation mAP of each epoch.
        head: parameters by name of the best epoch, the first of equal ones.
    """

    maps: list[float]
    head: dict[str, Tensor]

    @property
    def epoch(self) -> int | None:
        """The best epoch, counted from 1."""
        return 1 + self.maps.index(max(self.maps)) if self.maps else None

    def consider(self, training: HeadTraining, mean_average_precision: float) -> None:
        """Keep the head after an epoch if it is the best."""
        self.maps.append(mean_average_precision)
        if self.epoch == training.epoch:
            self.head = {name: value.detach().cpu().clone() for name, value in training.head.named_parameters()}

    def choose(self, training: HeadTraining) -> None:
        """Load the weights of the best epoch into the training's head."""
        if self.head:
            training.head.load_state_dict(self.head)

    def tensors(self) -> dict[str, Tensor]:
        """The head, named for a checkpoint."""
        return {f"best.{name}": value for name, value in self.head.items()}

    @classmethod
    def restored(cls, maps: list[float], tensors: Mapping[str, Tensor]) -> BestEpoch:
        """Restore from a checkpoint that contains ``tensors()``."""
        own = {name.removeprefix("best."): value for name, value in tensors.items() if name.startswith("best.")}
        return cls(list(maps), own)


def probabilities(head: nn.Linear, features: PooledFeatures | Maps) -> Float64[Tensor, "images classes"]:
    """Class probabilities in main memory; float64 preserves the order of more confident predictions than float32."""
    # Maps are many times as large as pooled features, and in main memory whatever the device.
    parts = features.split(_MAPS_TOGETHER) if features.ndim > 2 else (features,)
    with torch.no_grad():
        logits = torch.cat([head(part.to(head.weight.device)).cpu() for part in parts])
    return torch.sigmoid(logits.double())


def known_targets(part: LabeledSplit) -> Float32[Tensor, "images classes"]:
    """Targets 0 or 1, and nan where a label is left out."""
    targets = torch.from_numpy(part.labels.targets).float()
    if part.labels.ignored is not None:
        targets[torch.from_numpy(part.labels.ignored).bool()] = torch.nan
    return targets


def base_rate_entropy(targets: Float32[Tensor, "images classes"]) -> float:
    """Loss of a head that knows only how often each class occurs: the least without any features.

    Args:
        targets: 0 or 1; nan for a label left out.

    Returns:
        the mean over the known labels of the entropy of their class's frequency, in nats.
    """
    known = (~targets.isnan()).sum(dim=0).double()
    rates = targets.double().nansum(dim=0) / known.clamp(min=1)
    entropies = -(torch.xlogy(rates, rates) + torch.xlogy(1 - rates, 1 - rates))
    return float((known * entropies).sum() / known.sum().clamp(min=1))


def cached_batches(
    features: PooledFeatures | Maps,
    mirrored: PooledFeatures | Maps | None,
    targets: Float32[Tensor, "images classes"],
    settings: HeadSettings,
    first_epoch: int = 0,
) -> Iterator[FeatureBatch]:
    """Batches of cached features on the targets' device; with ``mirrored``, each epoch uses either with probability .5.

    Args:
        features: of each image, on any device.
        mirrored: of the mirrored images, on the same device.
        targets: of each image.
        settings: of the head.
        first_epoch: to begin with.
    """
    for batch in shuffled_batches(settings, len(features), first_epoch):
        indices = torch.tensor([index for _, index in batch], device=features.device)
        chosen = features[indices]
        if mirrored is not None:
            flipped = flipped_images(settings.seed, batch[0][0], len(features)).to(features.device)[indices]
            chosen = torch.where(flipped.view(-1, *[1] * (features.ndim - 1)), mirrored[indices], chosen)
        yield chosen.to(targets.device), targets[indices.to(targets.device)]


def flipped_images(seed: int, epoch: int, images: int) -> Tensor:
    """Mask of the images that an epoch mirrors, each with probability .5, drawn from (seed, epoch)."""
    return torch.from_numpy(np.random.default_rng((seed, epoch, _FLIPS)).random(images) < 0.5)
