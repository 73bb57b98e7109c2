"""SimSiam's heads (arXiv 2011.10566, Section 3): the projector after the backbone, the predictor after that."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class Projector(nn.Module):
    """Three linear layers, each with batch normalisation; ReLU after the first two.

    No layer has a bias, as the normalisation after it would take it away again. The last normalisation has no
    learnt scale and shift.

    Args:
        in_dim: channels of the pooled backbone.
        out_dim: width of the hidden layers and of the projection z.
    """

    def __init__(self, in_dim: int, out_dim: int = 2048) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_dim, out_dim, bias=False),
            nn.BatchNorm1d(out_dim),
            nn.ReLU(inplace=True),
            nn.Linear(out_dim, out_dim, bias=False),
            nn.BatchNorm1d(out_dim),
            nn.ReLU(inplace=True),
            nn.Linear(out_dim, out_dim, bias=False),
            nn.BatchNorm1d(out_dim, affine=False),
        )

    def forward(self, x: Float[Tensor, "rows in_dim"]) -> Float[Tensor, "rows out_dim"]:
        """Projections of pooled features."""
        z: Tensor = self.layers(x)
        return z


class Predictor(nn.Module):
    """A bottleneck of two linear layers: normalisation and ReLU after the first; the second has only a bias.

    Args:
        dim: width of z and of the prediction p.
        hidden_dim: width of the bottleneck.
    """

    def __init__(self, dim: int = 2048, hidden_dim: int = 512) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim, hidden_dim, bias=False),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, dim),
        )

    def forward(self, z: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
        """Predictions from projections."""
        p: Tensor = self.layers(z)
        return p
