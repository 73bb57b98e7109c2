"""Inference with a frozen backbone: pixels to feature maps."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float32, UInt8, UInt16
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from manyview.backbones import Backbone
from manyview.backbones.build import folded
from manyview.config import IMAGENET_MEAN, IMAGENET_STD
from manyview.errors import UserError
from manyview.runtime import pool_of_single_threads
from manyview.views import normalize_channels_last

Pixels = UInt8[Tensor, "batch channels size size"] | UInt16[Tensor, "batch channels size size"]
Maps = Float32[Tensor, "batch dim height width"]

# Feature maps of more pixels exceed a core's cache, and fewer do not keep it busy: of 1 to 64 images of 224 x 224 in a
# part, 16 were the fastest with a ResNet-18.
_PART_PIXELS = 16 * 224**2


def normalization(backbone: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of a backbone's inputs; ImageNet's if it has none."""
    return getattr(backbone, "mean", IMAGENET_MEAN), getattr(backbone, "std", IMAGENET_STD)


def bands(backbone: nn.Module) -> Literal["rgb"] | int:
    """Bands of a backbone's inputs: "rgb" (the default for modules), or their number."""
    return "rgb" if getattr(backbone, "rgb", True) else int(backbone.in_channels)  # type: ignore[arg-type]


def bit_depth(backbone: nn.Module) -> int | None:
    """Bits that the values of 16-bit files use in a backbone's images; None for all 16."""
    return getattr(backbone, "bit_depth", None)


class FrozenBackbone:
    """A backbone in eval mode on its device, from pixels to float32 feature maps without gradient.

    On a CPU each core processes its own parts of the batch: cores that share each layer's work wait for each other
    after it, and all of them wait when one is busy loading images.

    Args:
        backbone: normalized images (B, C, S, S) to feature maps (B, D, h, w); moved to the device, set to eval mode.
        device: where it runs.
        precision: "float32", or "bf16" for autocast to bfloat16.
    """

    def __init__(self, backbone: nn.Module, device: torch.device, precision: str = "float32") -> None:
        self.backbone = backbone.to(device).eval()
        self.device, self.precision = device, precision
        self._mean, self._std = normalization(backbone)
        self._pool = None
        if device.type == "cpu" and isinstance(backbone, Backbone) and _is_independent_of_batch(backbone):
            # In the memory format of the images; otherwise each convolution would convert its weights every time.
            self.backbone = folded(backbone).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._cores = torch.get_num_threads()
            self._pool = pool_of_single_threads(self._cores) if self._cores > 1 else None

    def __call__(self, pixels: Pixels) -> Maps:
        """Feature maps of pixels of 8 or 16 bits.

        Raises:
            UserError: the backbone fails on images of this size.
        """
        if self._pool is None:
            return self._maps(pixels)
        rows = min(-(-len(pixels) // self._cores), max(1, _PART_PIXELS // pixels.shape[-1] ** 2))
        return torch.cat(list(self._pool.map(self._maps, pixels.split(rows))))

    @torch.no_grad()
    def _maps(self, pixels: Pixels) -> Maps:
        images = normalize_channels_last(pixels.to(self.device, non_blocking=True), self._mean, self._std)
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                features: Tensor = self.backbone(images)
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, RuntimeError, ValueError) as error:
            size = pixels.shape[-1]
            raise UserError(
                f"the backbone fails on images of {size} x {size} pixels: {error}; choose another size"
            ) from error
        return features.float()


def _is_independent_of_batch(backbone: Backbone) -> bool:
    """Whether a batch can be processed in parts, in several threads.

    A user's own module may keep state between its layers, which threads would mix up, and a norm without running
    statistics uses those of the batch.
    """
    by_batch = any(isinstance(module, _BatchNorm) and module.running_mean is None for module in backbone.modules())
    return not backbone.name.startswith("own:") and not by_batch
