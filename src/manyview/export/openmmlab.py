"""Export to OpenMMLab: checkpoints for mmdet and mmpretrain."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from manyview.backbones import Backbone, load_backbone
from manyview.backbones.weights import own_weights
from manyview.export.base import ExportFormat, of_255, other_network, resnet_of
from manyview.export.checking import Check, compare_maps, probe, require_layout, require_values
from manyview.export.plain_weights import write_torch
from manyview.export.resnet_layouts import PLANS, ResNetPlan, openmmlab_layout

_PREFIX = "backbone."


class OpenMMLabFormat(ExportFormat):
    """A ``state_dict`` with the prefix ``backbone.``, which the configuration gives to mmengine's ``Pretrained``.

    With the prefix given, mmengine fails if the file has no such weights; without it, it would continue untrained.
    """

    suffixes = (".pth",)
    width_key: ClassVar[str] = "base_width"
    """The library's argument for the width of a ResNeXt group."""

    def refusal(self, backbone: Backbone) -> str | None:
        """OpenMMLab supports the ResNets and ResNeXts, for any number of channels, but no wide ones."""
        name = resnet_of(backbone)
        return None if name and not name.startswith("wide_") else other_network(self.library, backbone)

    def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
        """Write tensors and plain data only, which PyTorch's safe reader accepts."""
        tensors = own_weights(backbone, lambda name: _PREFIX + name)
        write_torch(target, {"meta": {"author": "manyview"}, "state_dict": tensors})

    def check(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> Check:
        """Compare names with the layout, values and maps with the backbone."""
        content: dict[str, Any] = torch.load(target, map_location="cpu", weights_only=True)
        found = content["state_dict"]
        name = resnet_of(backbone)
        assert name is not None
        require_layout(found, openmmlab_layout(name, backbone.in_channels))
        matched = require_values(own_weights(backbone, lambda name: _PREFIX + name), found)
        again = load_backbone(target, name, in_channels=backbone.in_channels)
        difference = compare_maps(backbone, again, [probe(backbone)])
        reader = f"manyview, and name by name against the layout of {self.library}, which was not run"
        return Check(matched, matched, "weights", *difference, reader)

    def _backbone(self, backbone: Backbone, out: str, indent: int) -> str:
        """The entry ``backbone`` of a configuration."""
        plan = PLANS[resnet_of(backbone) or ""]
        lead = " " * indent
        groups = f", groups={plan.groups}, {self.width_key}={plan.width}" if plan.groups > 1 else ""
        channels = f", in_channels={backbone.in_channels}" if backbone.in_channels != 3 else ""
        network = "ResNeXt" if plan.groups > 1 else "ResNet"
        return "\n".join(
            [
                f"{lead}backbone=dict(",
                f'{lead}    type="{network}", depth={plan.depth}{groups}{channels}, style="pytorch",',
                f'{lead}    frozen_stages=-1, norm_eval=False, norm_cfg=dict(type="BN", requires_grad=True),',
                f'{lead}    init_cfg=dict(type="Pretrained", checkpoint="{out}", prefix="{_PREFIX}"),',
                f"{lead}),",
            ]
        )


class MMDetFormat(OpenMMLabFormat):
    """Export to mmdet's detectors."""

    name = "mmdet"
    library = "mmdet"
    about = "ResNets and ResNeXts; a .pth for init_cfg"

    def lines(self, backbone: Backbone, out: str) -> str:
        """Configuration derived from one of mmdet with a feature pyramid."""
        plan: ResNetPlan = PLANS[resnet_of(backbone) or ""]
        return f"""_base_ = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
model = dict(
    data_preprocessor=dict({_normalization(backbone, "bgr_to_rgb")}),
{self._backbone(backbone, out, 4)}
    neck=dict(in_channels={list(plan.channels)}),
)
"""


class MMPretrainFormat(OpenMMLabFormat):
    """Export to mmpretrain's classifiers."""

    name = "mmpretrain"
    library = "mmpretrain"
    width_key = "width_per_group"
    about = "ResNets and ResNeXts; a .pth for init_cfg"

    def lines(self, backbone: Backbone, out: str) -> str:
        """Configuration derived from one of mmpretrain."""
        return f"""_base_ = "mmpretrain::resnet/resnet50_8xb32_in1k.py"
data_preprocessor = dict({_normalization(backbone, "to_rgb")})
model = dict(
{self._backbone(backbone, out, 4)}
    head=dict(in_channels={backbone.out_channels}),
)
"""


def _normalization(backbone: Backbone, to_rgb: str) -> str:
    mean, std = (of_255(values, backbone.rgb) for values in (backbone.mean, backbone.std))
    return f"mean={mean}, std={std}, {to_rgb}={backbone.rgb}"
