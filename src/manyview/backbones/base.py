"""Base classes of backbones: modules from images to one feature map, with a name and a number of channels."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from manyview.backbones.report import LoadingReport
from manyview.config import IMAGENET_MEAN, IMAGENET_STD


class Backbone(nn.Module):
    """A network from normalized images (B, C, H, W) to a feature map (B, D, h, w).

    Its ``state_dict`` has the names of the network's own library, without a prefix.

    Attributes:
        name: name for ``build_backbone``; for a custom module, "own:" and its class.
        out_channels: D.
        classifier: names of the network's classifier, which this module lacks and checkpoints may contain.
        in_channels: C.
        rgb: whether the channels are 8-bit red, green and blue, or else bands, as ``images.decode_bands`` reads them.
        mean: mean of each channel by which images are normalized, for pixels from 0 to 1; ImageNet's by default.
        std: standard deviation of each channel by which images are normalized.
        bit_depth: bits that the values of its 16-bit files use, of which the largest is white; None for all 16.
        zero_init_residual: whether the last norm of each residual branch was initialized to zero.
        statistics_kept: whether norms with running statistics use them in training mode too (``keep_statistics``).
        layer: the layer whose output it gives, if that is not the last feature map (``layers``).
        loading: for weights loaded from a file, what matched and what was left out.
    """

    in_channels: int = 3
    rgb: bool = True
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    bit_depth: int | None = None
    zero_init_residual: bool = True
    statistics_kept: bool = False
    layer: str | None = None
    loading: LoadingReport | None = None

    def __init__(self, name: str, out_channels: int, classifier: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.name = name
        self.out_channels = out_channels
        self.classifier = classifier

    def take_bands(self, bands: int) -> None:
        """Set the number of bands that the images have instead of RGB, without normalization as yet."""
        self.in_channels, self.rgb = bands, False
        self.mean, self.std = (0.0,) * bands, (1.0,) * bands

    def take_images(self, mean: tuple[float, ...], std: tuple[float, ...], *, rgb: bool) -> None:
        """Set the type of the images and their normalization, which are saved with the weights.

        Args:
            mean: of each channel, as shares of white.
            std: standard deviation of each channel, above 0.
            rgb: whether the channels are 8-bit red, green and blue.
        """
        assert len(mean) == len(std) == self.in_channels
        self.mean, self.std, self.rgb = mean, std, rgb

    def keep_statistics(self, keep: bool) -> None:
        """Set whether norms normalize by their running statistics in training mode too, and leave these as they are.

        Scales, shifts and all other layers are trained as usual. Norms without running statistics, such as layer
        norms, are the same either way.
        """
        self.statistics_kept = keep
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """Set training or eval mode; norms whose statistics are kept stay in eval mode."""
        super().train(mode)
        if self.statistics_kept:
            for module in self.modules():
                if isinstance(module, _NormBase) and module.running_mean is not None:
                    module.eval()
        return self

    def check_size(self, height: int, width: int) -> None:
        """Check that the network takes images of this size; any, unless a network says otherwise.

        Raises:
            UserError: it does not; the message says which it takes.
        """

    @property
    def patch_projection(self) -> nn.Module | None:
        """A vision transformer's first layer, which projects each patch to a token; None for other networks."""
        return None

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels rows columns"]:
        """The last feature map."""
        raise NotImplementedError


class WrappedBackbone(Backbone):
    """A backbone around another network, whose names in its ``state_dict`` it keeps."""

    def __init__(self, name: str, out_channels: int, network: nn.Module, classifier: tuple[str, ...] = ()) -> None:
        super().__init__(name, out_channels, classifier)
        self.network = network
        self.register_state_dict_post_hook(_strip_prefix)
        self.register_load_state_dict_pre_hook(_add_prefix)

    @property
    def patch_projection(self) -> nn.Module | None:
        """The convolution that timm's vision transformers, and others, name ``patch_embed.proj``."""
        found = getattr(getattr(self.network, "patch_embed", None), "proj", None)
        return found if isinstance(found, nn.Module) else None


def _strip_prefix(module: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    inner = f"{prefix}network."
    for key in [key for key in state_dict if key.startswith(inner)]:
        state_dict[prefix + key.removeprefix(inner)] = state_dict.pop(key)


def _add_prefix(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    for key in [key for key in state_dict if key.startswith(prefix)]:
        state_dict[f"{prefix}network.{key.removeprefix(prefix)}"] = state_dict.pop(key)
