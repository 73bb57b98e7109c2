"""What came of loading a checkpoint into a network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class LoadingReport:
    """What a checkpoint gave to a network; ``str`` of it is one or two lines.

    Attributes:
        format: whose layout the file has, such as "MoCo v2".
        network: the backbone's name.
        inferred: whether that name was told from the weights' shapes, as neither the user nor the file gave it.
        convolutions: how many convolutions took all their weights, and how many there are.
        norms: the same of the normalization layers.
        dropped: names of the weights left out, as the file has them, by what they belong to.
    """

    format: str
    network: str
    inferred: bool
    convolutions: tuple[int, int]
    norms: tuple[int, int]
    dropped: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        guess = " (told by its shapes)" if self.inferred else ""
        counts = [(*self.convolutions, "convolutions"), (*self.norms, "normalization layers")]
        matched = " and ".join(f"{found} of {there} {what}" for found, there, what in counts if there)
        first = f"{self.network}{guess} from a checkpoint in the format of {self.format}"
        lines = [f"{first}: {matched} match" if matched else first]
        if self.dropped:
            lines.append("left out: " + ", ".join(f"{what} ({_few(names)})" for what, names in self.dropped.items()))
        return "\n".join(lines)


def count_layers(network: nn.Module, loaded: Collection[str]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Convolutions, then norms: how many have all their weights among ``loaded``, and how many there are.

    Args:
        network: the whole network; counters of batches do not count as weights.
        loaded: names as in its ``state_dict``.
    """
    layers: list[list[bool]] = [[], []]
    for name, module in network.named_modules():
        kind = 0 if isinstance(module, _ConvNd) else 1 if isinstance(module, _NORMS) else None
        weights = [f"{name}.{key}" for key in module.state_dict() if key != "num_batches_tracked"]
        if kind is not None and weights:
            layers[kind].append(all(key in loaded for key in weights))
    convolutions, norms = ((sum(found), len(found)) for found in layers)
    return convolutions, norms


def _few(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} weights, such as {names[0]}"
