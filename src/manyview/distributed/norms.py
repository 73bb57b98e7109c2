"""Batch normalization over the batch of all processes, on any device.

PyTorch's ``SyncBatchNorm`` runs on accelerators only; this one takes its place where processes meet by gloo. For the
elements x of a channel in the batches of all processes, n in number,

    y = (x - mu) / sqrt(M / n + eps) * gamma + beta,        mu their mean, M = sum (x - mu)^2

mu and M come from the processes' own n_i, mu_i and M_i, by the formula of Chan, Golub and LeVeque (The American
Statistician 37, 1983) for any number of parts:

    mu = sum_i n_i mu_i / n        M = sum_i M_i + sum_i n_i (mu_i - mu)^2

With the gradient g of the sum of all processes' losses with respect to y and z = (x - mu) / sqrt(M / n + eps), the
gradient with respect to x is (arXiv 1502.03167, Section 3)

    gamma / sqrt(M / n + eps) * (g - sum g / n - z sum g z / n)

whose two sums are over all processes; those of gamma and beta are the process's own, for DistributedDataParallel to
average.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from manyview.distributed.collectives import of_all
from manyview.distributed.group import initialized, world_size
from manyview.precision import at_least_float32

Network = TypeVar("Network", bound=nn.Module)


class Moments(NamedTuple):
    """Moments of the channels over all processes, the same to the bit on each of them.

    Attributes:
        elements: number of them in a channel.
        mean: Float[Tensor, " channels"], float32, or float64 of such input.
        variance: Float[Tensor, " channels"], the biased one.
    """

    elements: int
    mean: Tensor
    variance: Tensor


class SynchronizedBatchNorm(_BatchNorm):
    """A batch norm whose training mode normalizes by the batch of all processes; the same names in its ``state_dict``.

    The processes may have different numbers of rows, even none. Running statistics become what one process with the
    whole batch would make of them. In eval mode, and on one process, it is the norm that it was made from. All
    processes call it together, forward and backward.

    Args:
        norm: with any number of dimensions, whose parameters, buffers and submodules it shares. Submodules are applied
            to the result in their order, as the activation in timm's ``BatchNormAct2d``.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        for name, child in norm.named_children():
            self.add_module(name, child)
        self.train(norm.training)

    def forward(self, x: Float[Tensor, "rows channels *positions"]) -> Float[Tensor, "rows channels *positions"]:
        """Normalize; the result has the input's dtype, and is computed in float32 at least.

        Raises:
            ValueError: a single element in each channel over all processes.
        """
        if self.training and world_size() > 1:
            moments = moments_of_all(x)
            if moments.elements < 2:
                raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
            self._track(moments)
            y: Tensor = _Normalize.apply(x, self.weight, self.bias, moments, self.eps)  # type: ignore[no-untyped-call]
        else:
            y = super().forward(x)
        for layer in self.children():
            y = layer(y)
        return y

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.dim()}")

    @torch.no_grad()
    def _track(self, moments: Moments) -> None:
        """Update the running statistics; the variance is the unbiased one."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        factor = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = moments.variance * (moments.elements / (moments.elements - 1))
        for running, newest in ((self.running_mean, moments.mean), (self.running_var, unbiased)):
            running.mul_(1 - factor).add_(newest.to(running.dtype), alpha=factor)


def synchronize_norms(network: Network) -> Network:
    """The network with batch norms over all processes; weights are shared.

    Where processes meet by gloo by ``SynchronizedBatchNorm``. Else by timm's conversion to PyTorch's ``SyncBatchNorm``:
    PyTorch's own drops the activation that follows within timm's ``BatchNormAct2d``.
    """
    convert: Any
    if _meet_by_gloo():
        convert = _convert
    else:
        from timm.layers import convert_sync_batchnorm

        convert = convert_sync_batchnorm
    converted: Network = convert(network)
    return converted


@torch.no_grad()
def moments_of_all(x: Float[Tensor, "rows channels *positions"]) -> Moments:
    """Number of elements, mean and biased variance of each channel over all processes.

    Args:
        x: this process's rows, perhaps none; half precision is computed in float32.
    """
    wide, channels = at_least_float32(x), x.shape[1]
    count = x.numel() // channels
    if count:
        variance, mean = torch.var_mean(wide, dim=_axes(x), correction=0)
    else:
        variance = mean = wide.new_zeros(channels)
    own = torch.cat([mean.new_full((1,), count).double(), mean.double(), variance.double() * count])
    counts, means, squares = _of_all(own).split([1, channels, channels], dim=1)
    total = counts.sum()
    mean = (counts * means).sum(dim=0) / total
    squares = squares.sum(dim=0) + (counts * (means - mean).square()).sum(dim=0)
    return Moments(int(total), mean.to(wide.dtype), (squares / total).to(wide.dtype))


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, moments: Moments, eps: float
    ) -> Tensor:
        scale, shift = (None if each is None else each.to(moments.mean.dtype) for each in (weight, bias))
        ctx.save_for_backward(x, weight, moments.mean, moments.variance)
        ctx.count, ctx.eps, ctx.shifted = moments.elements, eps, bias is not None
        return F.batch_norm(x, moments.mean, moments.variance, scale, shift, training=False, eps=eps)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        g, z = at_least_float32(gradients[0]), at_least_float32(x) - mean.view(shape)
        inverse = (variance + ctx.eps).rsqrt()
        z = z * inverse.view(shape)
        own = torch.stack([g.sum(dim=_axes(x)), (g * z).sum(dim=_axes(x))])
        sum_g, sum_gz = (_of_all(own.double().flatten()).sum(dim=0).view(2, -1) / ctx.count).to(g.dtype)
        grad_x = g - sum_g.view(shape) - z * sum_gz.view(shape)
        factor = inverse if weight is None else inverse * weight.to(inverse.dtype)
        grad_x = (grad_x * factor.view(shape)).to(x.dtype)
        grad_weight = None if weight is None else own[1].to(weight.dtype)
        grad_bias = own[0].to(grad_x.dtype if weight is None else weight.dtype) if ctx.shifted else None
        return grad_x, grad_weight, grad_bias, None, None


def _convert(module: nn.Module) -> nn.Module:
    """The module, or the norm that takes its place, with its submodules converted."""
    if isinstance(module, SynchronizedBatchNorm):
        return module
    if isinstance(module, _BatchNorm):
        return SynchronizedBatchNorm(module)
    for name, child in list(module.named_children()):
        converted = _convert(child)
        if converted is not child:
            setattr(module, name, converted)
    return module


def _meet_by_gloo() -> bool:
    return initialized() and dist.get_backend() != "nccl"


def _of_all(own: Float[Tensor, " numbers"]) -> Float[Tensor, "processes numbers"]:
    """The vectors of all processes, in order of rank."""
    return torch.stack(of_all(own))


def _axes(x: Tensor) -> list[int]:
    return [axis for axis in range(x.ndim) if axis != 1]
