"""Whether what was written is what was meant: weight for weight, and by the feature maps of the network read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

from manyview.backbones import Backbone
from manyview.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]
Images = Float32[Tensor, "_ _ _ _"]  # (batch, channels, height, width); a list holds batches of several shapes.
Network = Callable[[Tensor], Tensor]

# The same kernels in the same order give the same bits; another library may add in another order.
SAME_KERNELS, OTHER_KERNELS = 1e-5, 1e-4


@dataclass(frozen=True)
class Check:
    """What came of reading an export back.

    Attributes:
        matched: how many of the things compared are what they should be.
        total: how many there are.
        what: which things: "weights", or of a compiled graph "feature maps".
        difference: the largest difference between the feature maps of the backbone and of the network read back.
        magnitude: the largest value in the backbone's own maps, beside which the difference is to be read.
        reader: what read the export back, and its version.
    """

    matched: int
    total: int
    what: str
    difference: float
    magnitude: float
    reader: str

    def __str__(self) -> str:
        """Two sentences for a person."""
        return (
            f"matched {self.matched} of {self.total} {self.what}, read back by {self.reader}\n"
            f"largest difference of the feature maps {self.difference:.2g}, of values up to {self.magnitude:.2g}"
        )


def require_layout(found: Mapping[str, Tensor], layout: Shapes) -> None:
    """Hold the names and shapes of a file against those that the target library has.

    Raises:
        UserError: any is missing, unknown or of another shape; the message counts and names them.
    """
    missing = [name for name in layout if name not in found]
    unknown = [name for name in found if name not in layout]
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(shape)}"
        for name, shape in layout.items()
        if name in found and tuple(found[name].shape) != tuple(shape)
    ]
    if missing or unknown or shapes:
        matched = len(layout) - len(missing) - len(shapes)
        kinds = {"missing": missing, "unknown": unknown, "of another shape": shapes}
        listed = "; ".join(f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds.items() if names)
        raise UserError(f"only {matched} of {len(layout)} weights match: {listed}")


def require_values(sent: Mapping[str, Tensor], held: Mapping[str, Tensor]) -> int:
    """Hold the weights that arrived against those that were sent, bit for bit.

    Args:
        sent: what should have arrived, by the target's names.
        held: what a network of the target library holds after it was loaded, or the file where there is no network.

    Returns:
        how many there are; all of them match.

    Raises:
        UserError: any is missing, unknown or has other values.
    """
    require_layout(held, shapes_of(sent))
    others = [name for name, tensor in sent.items() if not torch.equal(tensor, held[name].to(tensor.dtype).cpu())]
    if others:
        matched, total = len(sent) - len(others), len(sent)
        raise UserError(f"only {matched} of {total} weights match: {len(others)} of other values ({_some(others)})")
    return len(sent)


def compare_maps(
    backbone: Backbone, network: Network, batches: Iterable[Images], tolerance: float = SAME_KERNELS
) -> tuple[float, float]:
    """Hold the feature maps of the network that was read back against the backbone's.

    Args:
        backbone: in eval mode, on the CPU.
        network: images to the feature map that should be the same.
        batches: images.
        tolerance: the difference allowed, as a share of the largest value in the backbone's maps.

    Returns:
        the largest difference, and the largest value in the backbone's maps.

    Raises:
        UserError: another shape, or another map than the tolerance allows.
    """
    difference = magnitude = 0.0
    for images in batches:
        with torch.no_grad():
            own, other = backbone(images), network(images)
        if own.shape != other.shape:
            raise UserError(f"the feature map has shape {tuple(other.shape)} instead of {tuple(own.shape)}")
        difference = max(difference, float((own - other).abs().max()))
        magnitude = max(magnitude, float(own.abs().max()))
    # Written so that a difference that is not a number fails too.
    if not difference <= tolerance * max(magnitude, 1.0):
        raise UserError(
            f"the feature maps differ by up to {difference:.2g} (their values reach {magnitude:.2g}), so the network "
            "computes something else with these weights"
        )
    return difference, magnitude


def probe(backbone: Backbone, batch: int = 2, size: tuple[int, int] | None = None) -> Images:
    """Random images to compare feature maps on: the same for every call, wider than high where the network allows it.

    Args:
        backbone: the network they are for.
        batch: how many.
        size: height and width in pixels; unset: the network's own where it has one, or else 64 x 96.
    """
    height, width = size or native_size(backbone) or (64, 96)
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, backbone.in_channels, height, width, generator=generator)


def native_size(backbone: Backbone) -> tuple[int, int] | None:
    """Height and width of the images that a network was made for, where its weights depend on them; else None."""
    settings = getattr(getattr(backbone, "network", None), "pretrained_cfg", None)
    if not isinstance(settings, dict) or not settings.get("fixed_input_size"):
        return None
    height, width = settings["input_size"][-2:]
    return int(height), int(width)


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
