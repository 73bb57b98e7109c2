"""The instrument that measures a backbone while it trains; it meets ``training.quality.Instrument``."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from manyview import distributed, pooling
from manyview.backbones import Backbone
from manyview.backbones.norm_statistics import measure_norms, set_norms
from manyview.config import PretrainConfig
from manyview.errors import require
from manyview.evaluation.features.backbone import FrozenBackbone, Pixels
from manyview.evaluation.features.dataset import ImageDataset, fixed_views, in_batches, load, load_readable
from manyview.evaluation.features.extract import require_finite
from manyview.evaluation.knn import knn_scores
from manyview.evaluation.logistic.classifiers import fit_logistic
from manyview.evaluation.metrics.multilabel import multilabel_metrics
from manyview.evaluation.quality.dense import dense_structure
from manyview.evaluation.quality.labeled import HeldOut, read_held_out
from manyview.images import ImageFiles, find_images, image_root
from manyview.labels import LabelTable
from manyview.measures import alpha_req, collapse_std, effective_rank, uniformity
from manyview.views import normalize

POOL = "gamp"
NEIGHBORS = 20
SAMPLE = 256
"""Images of the label-free measures."""
_BATCH = 64
_SMALLEST, _LARGEST = 64, 224


@dataclass(eq=False)
class QualityInstrument:
    """Measures backbones on the same images each time, whose pixels it keeps in memory (``training.quality``).

    With labels: the mAP of logistic regression, C chosen by cross-validation, and of the 20 nearest neighbors, on the
    held-out images, from GAMP features. Without: standard deviation, RankMe, alpha-ReQ and uniformity of the features'
    global averages, and the dense structure of the feature maps, of a sample of the run's images.

    Attributes:
        size: S, to which each image is warped.
        sample: images of the label-free measures, without those that cannot be read.
        held_out: labeled images; None for label-free measures alone.
        config: of the run.
    """

    size: int
    sample: ImageFiles
    held_out: HeldOut | None
    config: PretrainConfig

    @classmethod
    def of(cls, config: PretrainConfig) -> QualityInstrument:
        """The instrument of a run's configuration; no image is read yet.

        Raises:
            UserError: the labels or the folder of images cannot be used.
        """
        data = config.data
        folder, listed = image_root(data.images), Path(data.list) if data.list else None
        held_out = read_held_out(folder, config.monitor, LabelTable.of(data), data.class_names)
        files = find_images(folder, listed, arrays=data.bands != "rgb")
        # Not in order, as images next to each other may be of one class, and norms see a batch.
        drawn = np.random.default_rng(0).permutation(len(files))[:SAMPLE].tolist()
        size = config.monitor.eval_size or max(_SMALLEST, min(2 * config.views.layout[0].size, _LARGEST))
        return cls(size, ImageFiles(folder, tuple(files[index] for index in drawn)), held_out, config)

    @property
    def pixels(self) -> int:
        """Pixels that go through the backbone in a measurement, over all processes."""
        labeled = () if self.held_out is None else (*self.held_out.train.names, *self.held_out.val.names)
        return (len(self.sample) + len(labeled)) * self.size**2

    def describe(self) -> dict[str, Any]:
        """What the figures depend on, as plain data."""
        labeled = {} if self.held_out is None else {"pool": POOL, "neighbors": NEIGHBORS, **self.held_out.describe()}
        return {"size": self.size, "sample": len(self.sample), **labeled}

    def prepare(self) -> None:
        """Load the images, once."""
        assert self._sampled
        assert self.held_out is None or self._labeled

    @torch.no_grad()
    def measure(self, backbone: Backbone, *, measured_norms: bool = False) -> dict[str, float]:
        """The figures of a copy of the backbone; see ``training.quality.Instrument``.

        Returns:
            "logistic" and "knn" (fractions of 1) with labels; "std", "rankme", "alpha_req" (left out where undefined),
            "uniformity", "dense".

        Raises:
            UserError: an image cannot be read, or the features are not finite.
        """
        network, device = copy.deepcopy(backbone), next(backbone.parameters()).device
        if measured_norms:
            # Whole batches; an image that cannot be read makes any of them smaller, also the first.
            most = max(map(len, self._sampled))
            whole = [part for part in self._sampled if len(part) == most]
            batches = ((normalize(part.to(device), network.mean, network.std),) for part in whole)
            set_norms(network, measure_norms(network, batches))
        frozen = FrozenBackbone(network, device)
        maps = torch.cat([frozen(part).cpu() for part in self._sampled])
        require_finite(maps)
        labeled = {} if self.held_out is None else self._by_labels(frozen, self.held_out)
        return {**labeled, **_label_free(pooling.pool(maps, "avg")), "dense": dense_structure(maps)}

    @cached_property
    def _sampled(self) -> list[Pixels]:
        """The sample, in batches."""
        images = self._images(self.sample)
        batches = in_batches(range(len(images)), _BATCH)
        loaded = [batch.pixels for batch in load(images, batches, workers=self.config.data.workers)]
        read = [pixels.squeeze(1) for pixels in loaded if pixels is not None]
        require(sum(map(len, read)) > 1, f"fewer than two images of {self.sample.root} can be read")
        return read

    @cached_property
    def _labeled(self) -> list[Pixels]:
        """This process's share of the labeled images, in batches: those to train with, then those held out."""
        assert self.held_out is not None
        files = ImageFiles(self.sample.root, (*self.held_out.train.names, *self.held_out.val.names))
        batches = in_batches(distributed.share(range(len(files))), _BATCH)
        return list(load_readable(self._images(files), batches, workers=self.config.data.workers))

    def _images(self, files: ImageFiles) -> ImageDataset:
        data = self.config.data
        return ImageDataset(files, self.size, fixed_views, data.bands, data.rgb_bands, data.max_pixels, data.bit_depth)

    def _by_labels(self, frozen: FrozenBackbone, held_out: HeldOut) -> dict[str, float]:
        """The mAP of both classifiers."""
        train, val = held_out.train, held_out.val
        own = torch.cat([pooling.pool(frozen(part), POOL).cpu() for part in self._labeled])
        features = distributed.gather_shares(own, len(train.names) + len(val.names))
        require_finite(features)
        keys, queries = features.double().split([len(train.names), len(val.names)])
        logistic = fit_logistic(keys, train.targets, train.ignored).probabilities(queries)
        ignored = None if train.ignored is None else torch.from_numpy(train.ignored)
        neighbors = min(NEIGHBORS, len(train.names))
        knn = knn_scores(queries, keys, torch.from_numpy(train.targets), neighbors, ignored=ignored)
        return {
            name: multilabel_metrics(scores.clamp(0, 1), val.targets, ignored=val.ignored)["mAP"]
            for name, scores in (("logistic", logistic), ("knn", knn))
        }


def _label_free(z: Float32[Tensor, "images dim"]) -> dict[str, float]:
    """Measures of one vector an image."""
    alpha = alpha_req(z)
    found = {"std": collapse_std(z), "rankme": effective_rank(z), "uniformity": uniformity(z)}
    return found if math.isnan(alpha) else {**found, "alpha_req": alpha}
