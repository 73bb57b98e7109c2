"""Eigenbasis of the training features, in which all classifiers of all folds are fitted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Eigenbasis:
    """An orthonormal basis of the space of the centered (and scaled) training features.

    The weights of an L2-regularized classifier lie in the space of the training features, and a rotation changes
    neither their norm nor the decision values: classifiers fitted on rotated features are those of the features
    themselves, with at most as many weights as there are images.

    Attributes:
        mean: of the training features, subtracted first. The bias, which is not penalized, makes up for it.
        scale: of each dimension, by which it is divided then: its standard deviation, or 1.
        directions: orthonormal eigenvectors of the covariance, in ascending order of its eigenvalues.
    """

    mean: Float64[Tensor, " dim"]
    scale: Float64[Tensor, " dim"]
    directions: Float64[Tensor, "dim rank"]

    @classmethod
    def of(cls, features: Float64[Tensor, "images dim"], standardize: bool = True) -> Eigenbasis:
        """The basis of some training features, without directions in which they vary by no more than rounding.

        Args:
            features: of the training images.
            standardize: whether every dimension gets standard deviation 1; a dimension that is constant but for
                rounding is only centered.
        """
        mean, scale = features.mean(dim=0), torch.ones_like(features[0])
        if standardize:
            std = features.std(dim=0, correction=0)
            scale = torch.where(std > 1e-12 * mean.abs(), std, scale)
        centered = (features - mean) / scale
        images, dim = features.shape
        if images < dim:
            # Orthonormal to rounding also where the features are nearly collinear, unlike (features.T @ eigenvectors).
            span, small = torch.linalg.qr(centered.T)
            values, vectors = torch.linalg.eigh(small @ small.T)
            directions = span @ vectors
        else:
            values, directions = torch.linalg.eigh(centered.T @ centered)
        rounding = torch.finfo(values.dtype).eps * max(images, dim) * values[-1].clamp(min=0)
        return cls(mean, scale, directions[:, values > rounding])

    def rotate(self, features: Float64[Tensor, "others dim"]) -> Float64[Tensor, "others rank"]:
        """Coordinates of features, of the training images or of others, in the basis."""
        return ((features - self.mean) / self.scale) @ self.directions
