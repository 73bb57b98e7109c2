"""Labels of training images as the classifiers need them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, UInt8
from torch import Tensor

from manyview.evaluation.logistic.solver import Problem


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labels of the training images: 1 where one is positive, and 1 where it counts at all."""

    targets: UInt8[np.ndarray, "images classes"]
    counted: UInt8[np.ndarray, "images classes"]

    @classmethod
    def of(
        cls, targets: UInt8[np.ndarray, "images classes"], ignored: UInt8[np.ndarray, "images classes"] | None = None
    ) -> Labels:
        """Labels, of which the ignored ones count neither as positive nor as negative."""
        counted = np.ones_like(targets) if ignored is None else (1 - ignored).astype(targets.dtype)
        return cls(targets * counted, counted)

    def at(self, images: Bool[np.ndarray, " images"]) -> Labels:
        """Labels of some of the images."""
        return Labels(self.targets[images], self.counted[images])

    @property
    def two_sided(self) -> Bool[np.ndarray, " classes"]:
        """Which classes have positives and negatives."""
        positives = self.targets.sum(axis=0, dtype=np.int64)
        return (positives > 0) & (positives < self.counted.sum(axis=0, dtype=np.int64))

    def problem(
        self,
        features: Float64[Tensor, "images rank_and_1"],
        classes: Bool[np.ndarray, " classes"],
        costs: Float64[np.ndarray, " classes"],
    ) -> Problem:
        """The problem of some classes on the features of the images."""
        targets, counted = (
            torch.from_numpy(each.T[classes]).to(features.device, torch.float64)
            for each in (self.targets, self.counted)
        )
        return Problem(features, targets, counted, torch.from_numpy(costs[classes]).to(features.device))
