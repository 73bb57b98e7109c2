"""Whether weights were trained on images normalized as these are: by the running statistics of their first norm."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from manyview.backbones import Backbone
from manyview.backbones.build import usual_normalization
from manyview.backbones.norm_statistics import norms_are_new, running_norms
from manyview.config import IMAGENET_MEAN, IMAGENET_STD
from manyview.evaluation.features.dataset import ImageDataset, in_batches, load
from manyview.views import normalize

CHECKED_IMAGES = 64
# Another normalization is named where these images differ from the statistics by less than this share of what they
# differ by now, which is at least that much: other photographs than those of the training differ a little, too.
_SHARE, _LEAST = 0.5, 0.1
Numbers = tuple[float, ...]


class _Reached(Exception):  # noqa: N818 - no error
    """A norm has its input."""

    def __init__(self, norm: _BatchNorm, values: Tensor) -> None:
        super().__init__()
        self.norm, self.values = norm, values


def check_normalization(network: Backbone, dataset: ImageDataset, indices: Sequence[int]) -> dict[str, Any] | None:
    """Compare the input of a network's first batch norm with its running statistics, under several normalizations.

    Mean and variance of each channel over some images, and those that the norm has kept from the training, make two
    normal distributions; their symmetric Kullback-Leibler divergence, averaged over the channels, is near 0 for images
    normalized as in the training. Candidates are the network's own normalization, that of timm's weights of its name,
    ImageNet's, -1 to 1, and 0 to 1.

    Args:
        network: in eval mode, on the CPU.
        dataset: images as (views, C, S, S), the first view of each the whole image.
        indices: of the images; the first 64 are taken.

    Returns:
        "images", "divergence" of the network's own normalization, "best" (its "mean", "std" and "divergence") and
        "sentence"; None for a network that reaches no such norm or with norms that no training has reached, for bands,
        and if no image can be read.
    """
    if norms_are_new(network) or not network.rgb or network.in_channels != 3:
        return None
    batches = load(dataset, in_batches(indices[:CHECKED_IMAGES], 16), workers=0)
    pixels = [batch.pixels[:, 0] for batch in batches if batch.pixels is not None]
    if not pixels:
        return None
    images = torch.cat(pixels)
    own = (tuple(network.mean), tuple(network.std))
    if _first_norm(network, normalize(images[:1], *own)) is None:
        return None
    others = [
        usual_normalization(network.name),
        (IMAGENET_MEAN, IMAGENET_STD),
        (3 * (0.5,), 3 * (0.5,)),
        (3 * (0.0,), 3 * (1.0,)),
    ]
    found = {each: _divergence(network, images, *each) for each in dict.fromkeys([own, *filter(None, others)])}
    best = min(found, key=found.__getitem__)
    return {
        "images": len(images),
        "divergence": found[own],
        "best": {"mean": list(best[0]), "std": list(best[1]), "divergence": found[best]},
        "sentence": _sentence(own, best, found),
    }


def _sentence(own: tuple[Numbers, Numbers], best: tuple[Numbers, Numbers], found: dict[Any, float]) -> str:
    apart = f"the first norm's statistics are {found[own]:.2g} from these images'"
    if found[own] < _LEAST:
        return f"The normalization fits the weights: {apart}."
    if found[best] >= _SHARE * found[own]:
        return f"No other known normalization fits the weights much better: {apart}, where 0 is a perfect fit."
    mean, std = (",".join(f"{value:g}" for value in values) for values in best)
    return (
        f"The normalization does not seem to be that of the weights' training: {apart}, and {found[best]:.2g} with "
        f"--mean {mean} --std {std}."
    )


def _divergence(network: Backbone, images: UInt8[Tensor, "images 3 size size"], mean: Numbers, std: Numbers) -> float:
    """Symmetric Kullback-Leibler divergence of the first norm's input and statistics, a mean over channels."""
    moments: list[Tensor] = []
    for part in images.split(16):  # not all at once: each is many times as large as its image
        reached = _first_norm(network, normalize(part, mean, std))
        assert reached is not None
        norm, values = reached
        axes = [axis for axis in range(values.ndim) if axis != 1]
        variance, average = torch.var_mean(values.double(), axes, correction=0)
        moments.append(len(part) * torch.stack((average, variance + average.square())))
    average, square = sum(moments, torch.zeros(())) / len(images)
    variance = square - average.square()
    assert isinstance(norm.running_mean, Tensor)
    assert isinstance(norm.running_var, Tensor)
    return gaussian_divergence(average, variance, norm.running_mean.double(), norm.running_var.double())


@torch.no_grad()
def _first_norm(network: Backbone, images: Float[Tensor, "images 3 size size"]) -> tuple[_BatchNorm, Tensor] | None:
    """The batch norm with running statistics that images reach first, and its input; None if they reach none."""

    def stop(norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        raise _Reached(norm, inputs[0])

    with contextlib.ExitStack() as stack:
        for norm in running_norms(network).values():
            stack.callback(norm.register_forward_pre_hook(stop).remove)
        try:
            network(images)
        except _Reached as reached:
            return reached.norm, reached.values
    return None


def gaussian_divergence(
    mean: Float[Tensor, " channels"],
    variance: Float[Tensor, " channels"],
    other_mean: Float[Tensor, " channels"],
    other_variance: Float[Tensor, " channels"],
) -> float:
    """Jeffreys' divergence KL(p, q) + KL(q, p) of normal distributions, a mean over channels that vary at all."""
    used = (variance > 1e-8) & (other_variance > 1e-8)
    if not bool(used.any()):
        return 0.0
    first, second, apart = variance[used], other_variance[used], (mean - other_mean)[used].square()
    return float((0.5 * (first / second + second / first + apart * (1 / first + 1 / second)) - 1).mean())
