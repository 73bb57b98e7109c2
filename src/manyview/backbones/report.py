"""Report on loading a checkpoint into a network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class LoadingReport:
    """Which layers of a network a checkpoint filled; ``str`` of it is one or two lines, and one for each remark.

    Attributes:
        format: layout of the file, such as "MoCo v2".
        network: the backbone's name.
        inferred: whether that name was inferred from the weights' shapes, as neither the user nor the file gave it.
        convolutions: number of convolutions with all weights loaded, and in all.
        norms: number of normalization layers with all weights loaded, and in all.
        dropped: names in the file of the weights left out, grouped by what they belong to.
        location: where in the file the weights are, in words; "" where its format has them.
        normalization: how images are normalized for the weights, and where that is known from, as a sentence.
        remarks: what is strange about the weights' values.
    """

    format: str
    network: str
    inferred: bool
    convolutions: tuple[int, int]
    norms: tuple[int, int]
    dropped: Mapping[str, tuple[str, ...]]
    location: str = ""
    normalization: str = ""
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        guess = " (inferred from its shapes)" if self.inferred else ""
        counts = [(*self.convolutions, "convolutions"), (*self.norms, "normalization layers")]
        matched = " and ".join(f"{found} of {there} {what}" for found, there, what in counts if there)
        where = f", {self.location}" if self.location else ""
        first = f"{self.network}{guess} from a checkpoint in the format of {self.format}{where}"
        lines = [f"{first}: {matched} match" if matched else first]
        if self.dropped:
            lines.append("left out: " + ", ".join(f"{what} ({_few(names)})" for what, names in self.dropped.items()))
        return "\n".join([*lines, *(f"{remark}." for remark in self.remarks)])


def count_layers(network: nn.Module, loaded: Collection[str]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Count convolutions, then norms: how many have all their weights in ``loaded``, and how many there are.

    Args:
        network: the whole network; ``num_batches_tracked`` does not count as a weight.
        loaded: names as in its ``state_dict``.
    """
    layers: list[list[bool]] = [[], []]
    for name, module in network.named_modules():
        group = 0 if isinstance(module, _ConvNd) else 1 if isinstance(module, NORMS) else None
        weights = [f"{name}.{key}" for key in module.state_dict() if key != "num_batches_tracked"]
        if group is not None and weights:
            layers[group].append(all(key in loaded for key in weights))
    convolutions, norms = ((sum(found), len(found)) for found in layers)
    return convolutions, norms


def _few(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} weights, such as {names[0]}"
