"""timm's models as backbones: their features rearranged to a channels-first feature map."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyview.backbones.base import WrappedBackbone
from manyview.errors import UserError
from manyview.imports import import_lightly

Layout = Literal["channels first", "channels last", "tokens"]
LAST = -1  # index of the backbone's own feature map, behind the network's intermediate ones


class _Features(NamedTuple):
    """What only a pass of a model shows: its features, and the parameters that they do not depend on."""

    channels: int
    layout: Layout
    unused: frozenset[str]


# By what builds the model, its name and its number of input channels: a pass and its gradients take long.
_FEATURES: dict[tuple[Any, str, int], _Features] = {}


class TimmBackbone(WrappedBackbone):
    """A timm model without its classifier.

    Args:
        name: with the prefix ``timm/``.
        network: the model.
        out_channels: channels of its features.
        layout: layout of ``forward_features``. Tokens that belong to no patch are dropped.
        fixed_size: height and width, for a model that takes no other images.
    """

    def __init__(
        self, name: str, network: nn.Module, out_channels: int, layout: Layout, fixed_size: tuple[int, int] | None
    ) -> None:
        super().__init__(name, out_channels, network, classifier=_classifier(network))
        self.layout = layout
        self.fixed_size = fixed_size

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels rows columns"]:
        """The last feature map.

        Raises:
            UserError: the model takes no images of this size.
        """
        height, width = x.shape[-2:]
        self.check_size(height, width)
        return self.to_map(self.network.forward_features(x), (height, width))  # type: ignore[operator]

    def check_size(self, height: int, width: int) -> None:
        """Images have the model's own size, or sides that are multiples of its patches'; most models take any."""
        if self.fixed_size is not None and self.fixed_size != (height, width):
            rows, columns = self.fixed_size
            raise UserError(f"{self.name} takes only images of {rows} x {columns} pixels, not {height} x {width}")
        embedding = getattr(self.network, "patch_embed", None)
        patch = getattr(embedding, "patch_size", None)
        if not isinstance(patch, tuple) or getattr(embedding, "dynamic_img_pad", False):
            return
        if height % patch[0] or width % patch[1]:
            sizes = " x ".join(map(str, patch))
            raise UserError(
                f"{self.name} cuts images into patches of {sizes} pixels, so that it takes none of {height} x {width}; "
                f"choose multiples of {patch[0]}"
            )

    def maps(
        self, x: Float[Tensor, "batch channels height width"], indices: list[int] | None = None
    ) -> dict[int, Float[Tensor, "batch _ _ _"]]:
        """The network's intermediate maps of these indices, by default all, and the backbone's own as ``LAST``.

        Only of networks with timm's ``forward_intermediates``.
        """
        last, found = self.network.forward_intermediates(x, indices=indices, output_fmt="NCHW")  # type: ignore[operator]
        maps = dict(zip(range(len(found)) if indices is None else indices, found, strict=True))
        return {**maps, LAST: self.to_map(last, (x.shape[2], x.shape[3]))}

    @torch.no_grad()
    def maps_of_blank(self, height: int, width: int) -> dict[int, Float[Tensor, "1 _ _ _"]]:
        """``maps`` of one black image in eval mode, for their shapes; the network's mode does not change."""
        blank = torch.zeros(1, self.in_channels, height, width, device=next(self.parameters()).device)
        modes = [(module, module.training) for module in self.modules()]
        try:
            return self.eval().maps(blank)
        finally:
            for module, training in modes:
                module.training = training

    def intermediate_map(
        self, x: Float[Tensor, "batch channels height width"], index: int
    ) -> Float[Tensor, "batch _ _ _"]:
        """One of the intermediate maps of ``maps``; what follows it in the network is left out."""
        [found] = self.network.forward_intermediates(  # type: ignore[operator]
            x, indices=[index], output_fmt="NCHW", intermediates_only=True, stop_early=True
        )
        features: Tensor = found
        return features

    def to_map(self, features: Tensor, image: tuple[int, int]) -> Tensor:
        """Rearrange the model's features (B, ...) of images of a height and width to (B, D, h, w)."""
        if self.layout == "channels first":
            return features
        if self.layout == "channels last":
            return features.permute(0, 3, 1, 2)
        patches = features[:, int(getattr(self.network, "num_prefix_tokens", 0) or 0) :]
        rows = round((patches.shape[1] * image[0] / image[1]) ** 0.5)
        if rows == 0 or patches.shape[1] % rows:
            raise UserError(f"{self.name}: {patches.shape[1]} tokens make no grid of {image[0]} x {image[1]} pixels")
        return patches.transpose(1, 2).unflatten(2, (rows, -1))


def _timm() -> Any:
    """The package, which is imported when it is first used."""
    import_lightly("timm")
    import timm

    return timm


def timm_names() -> frozenset[str]:
    """All architectures that timm can build."""
    return frozenset(_timm().list_models())


def is_timm_name(name: str) -> bool:
    """Whether timm can build this architecture, which may have been registered just now."""
    return name in _names_at_first() or (_timm().is_model(name) and name in timm_names())


@functools.cache
def _names_at_first() -> frozenset[str]:
    return timm_names()  # whose sorting takes as long as building a small model


def timm_normalization(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation of the images that timm's own weights of a model were trained on, if it has any."""
    settings = _timm().get_pretrained_cfg(name, allow_unregistered=True)
    if settings is None or len(settings.mean) != 3:
        return None
    return tuple(map(float, settings.mean)), tuple(map(float, settings.std))


def timm_input_size(name: str) -> tuple[int, int] | None:
    """Height and width of the images that timm's own weights of a model were trained on, if it has any."""
    settings = _timm().get_pretrained_cfg(name, allow_unregistered=True)
    return None if settings is None else (int(settings.input_size[-2]), int(settings.input_size[-1]))


def build_timm(name: str, *, zero_init_residual: bool, in_channels: int) -> TimmBackbone:
    """Build timm's model ``name``, as ``build_backbone`` describes.

    Raises:
        UserError: it has no single feature map, or no choice of ``in_channels``.
    """
    options = {"zero_init_last": zero_init_residual, "dynamic_img_size": True, "in_chans": in_channels}
    network, taken = _create(name, options)
    if in_channels != 3 and "in_chans" not in taken:
        raise UserError(f"timm's {name} takes images of 3 channels only, not of {in_channels}; choose another backbone")
    found = _features(name, network, in_channels)
    freeze(network, found.unused)
    size, sized = trial_size(network)
    fixed_size = size if sized and "dynamic_img_size" not in taken else None
    backbone = TimmBackbone(f"timm/{name}", network, found.channels, found.layout, fixed_size)
    backbone.train()
    return backbone


def _features(name: str, network: nn.Module, in_channels: int) -> _Features:
    """What a pass of the model shows; only the first of each model takes one."""
    key = (_timm().model_entrypoint(name), name, in_channels)
    if key not in _FEATURES:
        size, _ = trial_size(network)
        network.eval()
        with torch.enable_grad():
            features = network.forward_features(torch.zeros(1, in_channels, *size))  # type: ignore[operator]
            layout = _layout(name, network, features)
            channels = features.shape[1] if layout == "channels first" else features.shape[-1]
            output = TimmBackbone(f"timm/{name}", network, channels, layout, None).to_map(features, size)
            _FEATURES[key] = _Features(channels, layout, unused(network, output.sum()))
    return _FEATURES[key]


def trial_size(network: nn.Module) -> tuple[tuple[int, int], bool]:
    """Height and width of images that a model of timm's takes, and whether they are of its configuration."""
    settings: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    if not settings.get("fixed_input_size"):
        return (128, 128), False
    height, width = settings["input_size"][-2:]
    return (height, width), True


def _create(name: str, options: dict[str, Any]) -> tuple[nn.Module, set[str]]:
    """Build a model with those of the given options that its class has; the model and the options used."""
    timm = _timm()
    while True:
        try:
            return timm.create_model(name, pretrained=False, num_classes=0, **options), set(options)
        except TypeError as error:
            # Messages of Python and timm differ, but both quote the names.
            unknown = set(re.findall(r"'(\w+)'", str(error))) & options.keys()
            if not unknown:
                raise
            options = {key: value for key, value in options.items() if key not in unknown}


def _layout(name: str, network: nn.Module, features: Any) -> Layout:
    if isinstance(features, Tensor) and features.ndim == 3:
        return "tokens"
    if isinstance(features, Tensor) and features.ndim == 4:
        channels = network.num_features
        last = features.shape[-1] == channels and features.shape[1] != channels
        return "channels last" if last else "channels first"
    raise UserError(f"timm's {name} gives no single feature map, so it cannot be a backbone; choose another")


def freeze(network: nn.Module, names: Collection[str]) -> None:
    """Freeze the parameters of these names, as of ``unused``: DistributedDataParallel waits for trainable gradients."""
    for name, parameter in network.named_parameters():
        if name in names:
            parameter.requires_grad_(False)


def unused(network: nn.Module, output: Float[Tensor, ""]) -> frozenset[str]:
    """Names of the trainable parameters without effect on an output."""
    trainable = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    gradients = torch.autograd.grad(output, list(trainable.values()), allow_unused=True)
    return frozenset(name for name, gradient in zip(trainable, gradients, strict=True) if gradient is None)


def _classifier(network: nn.Module) -> tuple[str, ...]:
    named = network.pretrained_cfg.get("classifier") or ()  # type: ignore[operator, union-attr]
    return (named,) if isinstance(named, str) else tuple(named)
