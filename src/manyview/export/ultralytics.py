"""Export to Ultralytics: a folder with a detector's YAML on its ``TorchVision`` module, and that module's weights."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from torch import nn

from manyview.backbones import Backbone
from manyview.backbones.blank import BlankWeights
from manyview.backbones.weights import own_weights
from manyview.export.base import ExportFormat, other_channels, resnet_of
from manyview.export.checking import Check, compare_maps, probe, require_layout, require_values, shapes_of
from manyview.export.plain_weights import read_state, write_state
from manyview.export.resnet_layouts import PLANS
from manyview.runs import atomic_write

WEIGHTS, MODEL = "backbone.pt", "yolo.yaml"
# The module numbers torchvision's layers, without the last two, pooling and classifier.
_LAYERS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
_TRUNCATED = 2


class UltralyticsFormat(ExportFormat):
    """Weights of torchvision's layers as Ultralytics' ``TorchVision`` module numbers them (8.3.59 and later).

    Its ``ResNetLayer`` is not suitable: it has SiLU, whereas these networks were trained with ReLU.
    """

    name = "ultralytics"
    library = "Ultralytics"
    about = "ResNets; a folder with a YOLO detector's YAML and the weights for it"

    def refusal(self, backbone: Backbone) -> str | None:
        """Its module supports torchvision's networks, for three channels."""
        if resnet_of(backbone) is None:
            return (
                f"Ultralytics takes torchvision's networks, and {backbone.name} is none; export a ResNet to it, or "
                "this network to onnx or torch-export"
            )
        return other_channels(self.library, backbone) if backbone.in_channels != 3 else None

    def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
        """Write the weights and the YAML."""
        write_state(target / WEIGHTS, own_weights(backbone, to_numbers))
        atomic_write(target / MODEL, _yaml(resnet_of(backbone) or ""))

    def check(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> Check:
        """Load strictly into torchvision's layers, arranged as in the module."""
        from torchvision.models import get_model

        with BlankWeights():
            layers = list(get_model(resnet_of(backbone) or "", weights=None).children())[:-_TRUNCATED]
        network = nn.Sequential(*layers).eval()
        found = read_state(target / WEIGHTS)
        require_layout(found, shapes_of(network.state_dict()))
        network.load_state_dict(found)
        matched = require_values(own_weights(backbone, to_numbers), network.state_dict())
        difference = compare_maps(backbone, network, [probe(backbone)])
        version = importlib.metadata.version("torchvision")
        reader = f"torchvision {version} in the layers of Ultralytics' TorchVision module, which was not run"
        return Check(matched, matched, "weights", *difference, reader)

    def lines(self, backbone: Backbone, out: str) -> str:
        """Code of a trainer that loads the weights, normalizes, and restores the settings of the norms."""
        return f"""import torch
from torch import nn
from torchvision.transforms import Normalize
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer


class Trainer(DetectionTrainer):
    def get_model(self, cfg=None, weights=None, verbose=True):
        model = super().get_model(cfg, None, verbose)
        body = model.model[0].m
        body.load_state_dict(torch.load("{out}/{WEIGHTS}", weights_only=True))  # strict: every weight must match
        for layer in body.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps, layer.momentum = 1e-5, 0.1  # Ultralytics sets others
        # Ultralytics gives RGB from 0 to 1, and normalizes nothing.
        body[0] = nn.Sequential(Normalize({list(backbone.mean)}, {list(backbone.std)}), body[0])
        if weights:  # going on with a stopped training
            model.load(weights)
        return model


detector = YOLO("{out}/{MODEL}")
# detector.train(trainer=Trainer, data="coco8.yaml", imgsz=640)
"""


def to_numbers(name: str) -> str:
    """The name in ``nn.Sequential`` of a torchvision ResNet's weight: ``layer1.0.bn2.bias`` is ``4.0.bn2.bias``."""
    layer, _, rest = name.partition(".")
    return f"{_LAYERS.index(layer)}.{rest}"


def _yaml(name: str) -> str:
    """YAML of a detector on the last three stages: top-down path, bottom-up path, Ultralytics' detection head."""
    widths = PLANS[name].channels
    fine, middle, coarse = (
        f"[{width}, {_LAYERS.index(f'layer{stage}') + 1}]" for stage, width in enumerate(widths[1:], start=2)
    )
    return f"""# A detector of Ultralytics on torchvision's {name}, written by manyview.
# It has random weights until backbone.pt is loaded into model.model[0].m.
nc: 80 # number of classes; that of the data counts
backbone:
  # from, repeats, module, arguments
  - [-1, 1, TorchVision, [{widths[3]}, {name}, null, True, {_TRUNCATED}, True]] # 0, a list of every layer's output
  - [0, 1, Index, {fine}] # 1, layer2, stride 8
  - [0, 1, Index, {middle}] # 2, layer3, stride 16
  - [0, 1, Index, {coarse}] # 3, layer4, stride 32
head:
  - [3, 1, SPPF, [512, 5]] # 4
  - [-1, 1, nn.Upsample, [null, 2, nearest]] # 5
  - [[-1, 2], 1, Concat, [1]] # 6
  - [-1, 2, C2f, [256]] # 7
  - [-1, 1, nn.Upsample, [null, 2, nearest]] # 8
  - [[-1, 1], 1, Concat, [1]] # 9
  - [-1, 2, C2f, [128]] # 10, stride 8
  - [-1, 1, Conv, [128, 3, 2]] # 11
  - [[-1, 7], 1, Concat, [1]] # 12
  - [-1, 2, C2f, [256]] # 13, stride 16
  - [-1, 1, Conv, [256, 3, 2]] # 14
  - [[-1, 4], 1, Concat, [1]] # 15
  - [-1, 2, C2f, [512]] # 16, stride 32
  - [[10, 13, 16], 1, Detect, [nc]]
"""
