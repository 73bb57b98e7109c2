"""Export of plain weights, for torchvision and timm, and files of named tensors for all formats."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from manyview.backbones import Backbone
from manyview.backbones.blank import BlankWeights
from manyview.backbones.timm import TimmBackbone
from manyview.backbones.weights import own_weights
from manyview.export.base import ExportFormat, other_channels, other_network, pixels, resnet_of
from manyview.export.checking import Check, compare_maps, probe, require_layout, require_values, shapes_of
from manyview.runs import atomic_write, write_tensors

SUFFIXES = (".pth", ".pt", ".safetensors")


class TorchvisionFormat(ExportFormat):
    """The ``state_dict`` of a torchvision ResNet without its classifier, as torchvision's detectors hold it."""

    name = "torchvision"
    library = "torchvision"
    about = "ResNets; a file of bare weights, .pth or .safetensors"
    suffixes = SUFFIXES

    def refusal(self, backbone: Backbone) -> str | None:
        """Torchvision supports the ResNets, for three channels."""
        if resnet_of(backbone) is None:
            return other_network(self.library, backbone)
        return other_channels(self.library, backbone) if backbone.in_channels != 3 else None

    def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
        """Write the weights, which have these names already."""
        write_state(target, own_weights(backbone))

    def check(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> Check:
        """Load strictly into the body of a torchvision detector."""
        from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

        with BlankWeights():
            body: Any = resnet_fpn_backbone(
                backbone_name=resnet_of(backbone), weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
            ).body.eval()
        found = read_state(target)
        require_layout(found, shapes_of(body.state_dict()))
        body.load_state_dict(found)
        matched = require_values(own_weights(backbone), body.state_dict())
        difference = compare_maps(backbone, lambda images: body(images)["3"], [probe(backbone)])
        version = importlib.metadata.version("torchvision")
        return Check(matched, matched, "weights", *difference, f"the body of a detector of torchvision {version}")

    def lines(self, backbone: Backbone, out: str) -> str:
        """Code of a Faster R-CNN with a feature pyramid."""
        package, weights = load_line(out)
        return f"""{package}
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

pyramid = resnet_fpn_backbone(
    backbone_name="{resnet_of(backbone)}", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
)
pyramid.body.load_state_dict({weights})  # strict: every weight must match
detector = FasterRCNN(pyramid, num_classes=21, image_mean={list(backbone.mean)}, image_std={list(backbone.std)})
"""


class TimmFormat(ExportFormat):
    """The ``state_dict`` of a timm model without its classifier."""

    name = "timm"
    library = "timm"
    about = "ResNets and timm's own models; a file of bare weights, .pth or .safetensors"
    suffixes = SUFFIXES

    def refusal(self, backbone: Backbone) -> str | None:
        """Timm supports torchvision's ResNets under the same names, and its own models."""
        return None if timm_name(backbone) else other_network(self.library, backbone)

    def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
        """Write the weights, which have these names already."""
        write_state(target, own_weights(backbone))

    def check(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> Check:
        """Load the file with timm."""
        import timm

        name = timm_name(backbone)
        options = {"num_classes": 0, "in_chans": backbone.in_channels}
        with BlankWeights():
            require_layout(read_state(target), shapes_of(timm.create_model(name, **options).state_dict()))
            network = timm.create_model(name, **options, checkpoint_path=str(target))
        return check_timm(backbone, network)

    def lines(self, backbone: Backbone, out: str) -> str:
        """Code of a feature extractor."""
        channels = "" if backbone.in_channels == 3 else f", in_chans={backbone.in_channels}"
        return f"""import timm

model = timm.create_model("{timm_name(backbone)}", num_classes=0{channels}, checkpoint_path="{out}")
model.eval()
# model.forward_features(images) is the feature map; images: {pixels(backbone)}
# mean={list(backbone.mean)}, std={list(backbone.std)}
"""


def check_timm(backbone: Backbone, network: nn.Module) -> Check:
    """Compare the backbone with a model that timm has built and loaded.

    Raises:
        UserError: any weight or the feature map differs.
    """
    matched = require_values(own_weights(backbone), network.eval().state_dict())

    def feature_map(images: Tensor) -> Tensor:
        features: Tensor = network.forward_features(images)  # type: ignore[operator]
        height, width = images.shape[-2:]
        return backbone.to_map(features, (height, width)) if isinstance(backbone, TimmBackbone) else features

    difference = compare_maps(backbone, feature_map, [probe(backbone)])
    return Check(matched, matched, "weights", *difference, f"timm {importlib.metadata.version('timm')}")


def timm_name(backbone: Backbone) -> str | None:
    """Timm's name of the network, or None if timm does not have it."""
    if isinstance(backbone, TimmBackbone):
        return backbone.name.removeprefix("timm/")
    return resnet_of(backbone)


def write_state(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors: safetensors, or a file for ``torch.load`` with ``weights_only=True``, by the suffix."""
    if path.suffix == ".safetensors":
        write_tensors(path, tensors, {"format": "pt"})
    else:
        write_torch(path, dict(tensors))


def write_torch(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain data with PyTorch."""
    atomic_write(path, lambda temporary: torch.save(content, temporary))


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a file of ``write_state`` as other programs do."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    content: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def load_line(path: str) -> tuple[str, str]:
    """The import and the expression that load a file's tensors, for code to paste."""
    if path.endswith(".safetensors"):
        return "from safetensors.torch import load_file", f'load_file("{path}")'
    return "import torch", f'torch.load("{path}", weights_only=True)'
