"""Verification of exports: every weight, and the feature maps of the network that was read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

from manyview.backbones import Backbone
from manyview.errors import UserError, first_few

Shapes = Mapping[str, tuple[int, ...]]
Images = Float32[Tensor, "_ _ _ _"]  # (batch, channels, height, width); a list holds batches of several shapes.
Network = Callable[[Tensor], Tensor]

# Relative tolerance with the same kernels, and with another library's, which may sum in another order.
SAME_KERNELS, OTHER_KERNELS = 1e-5, 1e-4


@dataclass(frozen=True)
class Check:
    """Result of the verification of an export.

    Attributes:
        matched: number of compared items that match.
        total: number of compared items.
        what: the items: "weights", or for a compiled graph "feature maps".
        difference: largest difference between the feature maps of the backbone and of the network read back.
        magnitude: largest value in the backbone's feature maps, for comparison with the difference.
        reader: the library that read the export back, and its version.
    """

    matched: int
    total: int
    what: str
    difference: float
    magnitude: float
    reader: str

    def __str__(self) -> str:
        """The result in two lines of text."""
        return (
            f"matched {self.matched} of {self.total} {self.what}, read back by {self.reader}\n"
            f"largest difference of the feature maps {self.difference:.2g}, of values up to {self.magnitude:.2g}"
        )


def require_layout(found: Mapping[str, Tensor], layout: Shapes) -> None:
    """Compare the names and shapes of a file with those of the target library.

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
        problems = {"missing": missing, "unknown": unknown, "of another shape": shapes}
        listed = "; ".join(f"{len(names)} {what} ({first_few(names)})" for what, names in problems.items() if names)
        raise UserError(f"only {matched} of {len(layout)} weights match: {listed}")


def require_values(sent: Mapping[str, Tensor], held: Mapping[str, Tensor]) -> int:
    """Compare the weights that were read back with those that were exported, bit for bit.

    Args:
        sent: the expected weights, by the target's names.
        held: the weights of a network of the target library after loading, or of the file if there is no network.

    Returns:
        the number of weights; all of them match.

    Raises:
        UserError: any is missing, unknown or has other values.
    """
    require_layout(held, shapes_of(sent))
    others = [name for name, tensor in sent.items() if not torch.equal(tensor, held[name].to(tensor.dtype).cpu())]
    if others:
        matched, total = len(sent) - len(others), len(sent)
        raise UserError(f"only {matched} of {total} weights match: {len(others)} of other values ({first_few(others)})")
    return len(sent)


def compare_maps(
    backbone: Backbone, network: Network, batches: Iterable[Images], tolerance: float = SAME_KERNELS
) -> tuple[float, float]:
    """Compare the feature maps of the network that was read back with the backbone's.

    Args:
        backbone: in eval mode, on the CPU.
        network: function from images to the feature map to compare.
        batches: images.
        tolerance: allowed difference, as a share of the largest value in the backbone's maps.

    Returns:
        the largest difference, and the largest value in the backbone's maps.

    Raises:
        UserError: another shape, or a difference above the tolerance.
    """
    difference = magnitude = 0.0
    for images in batches:
        with torch.no_grad():
            own, other = backbone(images), network(images)
        if own.shape != other.shape:
            raise UserError(f"the feature map has shape {tuple(other.shape)} instead of {tuple(own.shape)}")
        difference = max(difference, float((own - other).abs().max()))
        magnitude = max(magnitude, float(own.abs().max()))
    # Written so that NaN fails too.
    if not difference <= tolerance * max(magnitude, 1.0):
        raise UserError(
            f"the feature maps differ by up to {difference:.2g} (their values reach {magnitude:.2g}), so the network "
            "computes something else with these weights"
        )
    return difference, magnitude


def probe(backbone: Backbone, batch: int = 2, size: tuple[int, int] | None = None) -> Images:
    """Random images for comparing feature maps: equal for every call, not square if the network allows it.

    Args:
        backbone: the network to compare.
        batch: number of images.
        size: height and width in pixels; unset: the network's own if it has one, or else 64 x 96.
    """
    height, width = size or native_size(backbone) or (64, 96)
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, backbone.in_channels, height, width, generator=generator)


def native_size(backbone: Backbone) -> tuple[int, int] | None:
    """Height and width of the images that a network requires, if its weights depend on them; else None."""
    settings = getattr(getattr(backbone, "network", None), "pretrained_cfg", None)
    if not isinstance(settings, dict) or not settings.get("fixed_input_size"):
        return None
    height, width = settings["input_size"][-2:]
    return int(height), int(width)


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
