"""SimSiam's projector and predictor (arXiv 2011.10566, Section 3)."""

from __future__ import annotations

from torch import nn


class Projector(nn.Sequential):
    """Three linear layers, each with batch normalisation; ReLU after the first two, no affine at the last.

    Maps (batch, in_dim) to (batch, out_dim).

    Args:
        in_dim: channels of the backbone's feature map.
        out_dim: width of all three layers.
    """

    def __init__(self, in_dim: int, out_dim: int = 2048) -> None:
        super().__init__(
            nn.Linear(in_dim, out_dim, bias=False),
            nn.BatchNorm1d(out_dim),
            nn.ReLU(inplace=True),
            nn.Linear(out_dim, out_dim, bias=False),
            nn.BatchNorm1d(out_dim),
            nn.ReLU(inplace=True),
            nn.Linear(out_dim, out_dim, bias=False),
            nn.BatchNorm1d(out_dim, affine=False),
        )


class Predictor(nn.Sequential):
    """Two linear layers with a bottleneck; batch normalisation and ReLU after the first only.

    Maps (batch, dim) to (batch, dim).

    Args:
        dim: width of the projections.
        hidden_dim: width of the bottleneck.
    """

    def __init__(self, dim: int = 2048, hidden_dim: int = 512) -> None:
        super().__init__(
            nn.Linear(dim, hidden_dim, bias=False),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, dim),
        )
