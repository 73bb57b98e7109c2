"""Projection and prediction heads (MLPs) on pooled features, which can be described as plain data and rebuilt from it.

``Projector`` and ``Predictor`` are those of SimSiam (arXiv 2011.10566, Section 3), the others of the methods that they
are named after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Head(nn.Module):
    """An MLP head: a sequence of layers.

    Args:
        layers: linear layers, batch normalizations, ReLUs and GELUs.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "rows in_dim"]) -> Float[Tensor, "rows out_dim"]:
        """Apply the layers in order."""
        output: Tensor = self.layers(x)
        return output

    def describe(self) -> list[dict[str, Any]]:
        """Plain data from which ``build_head`` builds the same layers."""
        return [_describe(layer) for layer in self.layers]


def build_head(description: Iterable[Mapping[str, Any]]) -> Head:
    """Build a head, with random weights, from the data of ``Head.describe``.

    Raises:
        KeyError: an unknown layer type, or a missing number.
    """
    makers = {
        "linear": lambda layer: nn.Linear(layer["in"], layer["out"], bias=layer["bias"]),
        "batch_norm": lambda layer: nn.BatchNorm1d(layer["width"], affine=layer["affine"]),
        "relu": lambda _: nn.ReLU(inplace=True),
        "gelu": lambda _: nn.GELU(),
    }
    return Head(*(makers[layer["layer"]](layer) for layer in description))


def _describe(layer: nn.Module) -> dict[str, Any]:
    if isinstance(layer, nn.Linear):
        return {
            "layer": "linear", "in": layer.in_features, "out": layer.out_features, "bias": layer.bias is not None
        }  # fmt: skip
    if isinstance(layer, _BatchNorm):  # includes SyncBatchNorm
        return {"layer": "batch_norm", "width": layer.num_features, "affine": layer.affine}
    if isinstance(layer, nn.GELU):
        return {"layer": "gelu"}
    assert isinstance(layer, nn.ReLU), f"a head has no {type(layer).__name__}"
    return {"layer": "relu"}


class Projector(Head):
    """Three linear layers, each with batch normalization; ReLU after the first two.

    SimSiam's, and with other widths Barlow Twins' (arXiv 2103.03230, Section 2.2) and, without the last normalization,
    VICReg's (2105.04906, Section 4.2). No layer has a bias, which normalization would cancel; VICReg's last one has
    none either. The last normalization has no learned scale and shift.

    Args:
        in_dim: dimension of the pooled features.
        out_dim: width of the projection z.
        hidden_dim: width of the hidden layers; None: as wide as z.
        normalized: whether the output is batch-normalized.
    """

    def __init__(
        self, in_dim: int, out_dim: int = 2048, hidden_dim: int | None = None, *, normalized: bool = True
    ) -> None:
        hidden_dim = hidden_dim or out_dim
        super().__init__(
            nn.Linear(in_dim, hidden_dim, bias=False),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, hidden_dim, bias=False),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, out_dim, bias=False),
            *([nn.BatchNorm1d(out_dim, affine=False)] if normalized else []),
        )


class Predictor(Head):
    """A bottleneck of two linear layers: normalization and ReLU after the first, only a bias in the second.

    Args:
        dim: width of z and of the prediction p.
        hidden_dim: width of the bottleneck.
    """

    def __init__(self, dim: int = 2048, hidden_dim: int = 512) -> None:
        super().__init__(
            nn.Linear(dim, hidden_dim, bias=False),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, dim),
        )


class ContrastiveProjector(Head):
    """Two linear layers, each with batch normalization, and a ReLU between them (arXiv 2002.05709, Section 2.1).

    As in SimCLR's released code, the output is normalized, too, here without learned scale and shift, so that no mean
    shared by all projections dominates their cosines. No layer has a bias, which normalization would cancel.

    Args:
        in_dim: dimension of the pooled features.
        hidden_dim: width of the hidden layer.
        out_dim: width of the projection z.
    """

    def __init__(self, in_dim: int, hidden_dim: int = 2048, out_dim: int = 256) -> None:
        super().__init__(
            nn.Linear(in_dim, hidden_dim, bias=False),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, out_dim, bias=False),
            nn.BatchNorm1d(out_dim, affine=False),
        )


class MoCoProjector(Head):
    """Two linear layers with biases and a ReLU between them (arXiv 2003.04297, Section 3).

    Args:
        in_dim: dimension of the pooled features.
        hidden_dim: width of the hidden layer.
        out_dim: width of the projection.
    """

    def __init__(self, in_dim: int, hidden_dim: int = 2048, out_dim: int = 128) -> None:
        super().__init__(nn.Linear(in_dim, hidden_dim), nn.ReLU(inplace=True), nn.Linear(hidden_dim, out_dim))


class BYOLHead(Head):
    """BYOL's projector and predictor: linear, batch normalization, ReLU, linear (arXiv 2006.07733, Section 3.3).

    The output is not normalized. As in the released code, the last layer has no bias; that of the first, which
    normalization would cancel, is left out, too.

    Args:
        in_dim: dimension of the pooled features, or of the projection z.
        hidden_dim: width of the hidden layer.
        out_dim: width of the projection z, or of the prediction p.
    """

    def __init__(self, in_dim: int, hidden_dim: int = 4096, out_dim: int = 256) -> None:
        super().__init__(
            nn.Linear(in_dim, hidden_dim, bias=False),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, out_dim, bias=False),
        )


class BottleneckProjector(Head):
    """DINO's three linear layers with GELU between them, the last a bottleneck (arXiv 2104.14294, Appendix C).

    As in the released code, weights are from a normal distribution of standard deviation .02, and biases are 0.

    Args:
        in_dim: dimension of the pooled features.
        hidden_dim: width of the two hidden layers.
        out_dim: width of the bottleneck.
        batch_norm: whether the hidden layers have batch normalization, as the released code can (use_bn_in_head).
    """

    def __init__(self, in_dim: int, hidden_dim: int = 2048, out_dim: int = 256, batch_norm: bool = False) -> None:
        layers: list[nn.Module] = []
        for width in (in_dim, hidden_dim):
            norm = [nn.BatchNorm1d(hidden_dim)] if batch_norm else []
            layers += [nn.Linear(width, hidden_dim), *norm, nn.GELU()]
        super().__init__(*layers, nn.Linear(hidden_dim, out_dim))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
