"""What every backbone is: a module from images to one feature map that knows its name and its width."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from manyview.backbones.report import LoadingReport
from manyview.config import IMAGENET_MEAN, IMAGENET_STD


class Backbone(nn.Module):
    """Images (B, C, H, W), normalized, to a feature map (B, D, h, w).

    Its ``state_dict`` has the names of the network as its own library gives them, without a prefix.

    Attributes:
        name: what ``build_backbone`` takes to build it again; for a module of one's own, "own:" and its class.
        out_channels: D.
        classifier: names of the network's classifier, which this module lacks and checkpoints may hold.
        in_channels: C.
        rgb: whether the channels are red, green and blue of 8 bits, or else bands, as ``images.open_bands`` reads them.
        mean: what is taken off each channel, of pixels from 0 to 1, before the images come in; ImageNet's by default.
        std: what each channel is divided by then.
        zero_init_residual: whether the last norm of each residual branch started at zero.
        loading: of weights that came from a file, what matched and what was left out.
    """

    in_channels: int = 3
    rgb: bool = True
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    zero_init_residual: bool = True
    loading: LoadingReport | None = None

    def __init__(self, name: str, out_channels: int, classifier: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.name = name
        self.out_channels = out_channels
        self.classifier = classifier

    def take_bands(self, bands: int) -> None:
        """Note that the images have so many bands instead of red, green and blue, and are not normalized as yet."""
        self.in_channels, self.rgb = bands, False
        self.mean, self.std = (0.0,) * bands, (1.0,) * bands

    def take_images(self, mean: tuple[float, ...], std: tuple[float, ...], *, rgb: bool) -> None:
        """Note what the images are and how they are normalized, which is saved with the weights.

        Args:
            mean: a number a channel, as shares of white.
            std: the same, above 0.
            rgb: whether the channels are red, green and blue of 8 bits.
        """
        assert len(mean) == len(std) == self.in_channels
        self.mean, self.std, self.rgb = mean, std, rgb

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels rows columns"]:
        """The last feature map."""
        raise NotImplementedError


class WrappedBackbone(Backbone):
    """A backbone around a whole network, whose names in ``state_dict`` stay as they were."""

    def __init__(self, name: str, out_channels: int, network: nn.Module, classifier: tuple[str, ...] = ()) -> None:
        super().__init__(name, out_channels, classifier)
        self.network = network
        self.register_state_dict_post_hook(_strip_prefix)
        self.register_load_state_dict_pre_hook(_add_prefix)


def _strip_prefix(module: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    inner = f"{prefix}network."
    for key in [key for key in state_dict if key.startswith(inner)]:
        state_dict[prefix + key.removeprefix(inner)] = state_dict.pop(key)


def _add_prefix(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    for key in [key for key in state_dict if key.startswith(prefix)]:
        state_dict[f"{prefix}network.{key.removeprefix(prefix)}"] = state_dict.pop(key)
