"""Names and shapes of a ResNet's weights in other libraries, derived from the network's definition.

They are computed from the numbers of blocks and widths in the papers (He et al., arXiv 1512.03385, table 1;
Xie et al., arXiv 1611.05431; Zagoruyko and Komodakis, arXiv 1605.07146) and from how each library names its layers,
independently of the libraries and of the weights that are compared with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from manyview.export.checking import Shapes

STEM_WIDTH = 64


@dataclass(frozen=True)
class ResNetPlan:
    """Hyperparameters of one ResNet.

    Attributes:
        depth: number of layers, as in its name.
        blocks: number of blocks in each of the four stages.
        bottleneck: blocks of 1 x 1, 3 x 3 and 1 x 1 convolutions, or else of two 3 x 3.
        groups: of the 3 x 3 convolution in a bottleneck.
        width: of each group in the first stage.
    """

    depth: int
    blocks: tuple[int, int, int, int]
    bottleneck: bool = True
    groups: int = 1
    width: int = 64

    @property
    def plain(self) -> bool:
        """Without groups, and no wider within its bottlenecks than the stem."""
        return self.groups == 1 and self.width == STEM_WIDTH

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels of each stage."""
        return tuple(STEM_WIDTH * 2**stage * (4 if self.bottleneck else 1) for stage in range(4))


PLANS = {
    "resnet18": ResNetPlan(18, (2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNetPlan(34, (3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNetPlan(50, (3, 4, 6, 3)),
    "resnet101": ResNetPlan(101, (3, 4, 23, 3)),
    "resnet152": ResNetPlan(152, (3, 8, 36, 3)),
    "resnext50_32x4d": ResNetPlan(50, (3, 4, 6, 3), groups=32, width=4),
    "resnext101_32x8d": ResNetPlan(101, (3, 4, 23, 3), groups=32, width=8),
    "resnext101_64x4d": ResNetPlan(101, (3, 4, 23, 3), groups=64, width=4),
    "wide_resnet50_2": ResNetPlan(50, (3, 4, 6, 3), width=128),
    "wide_resnet101_2": ResNetPlan(101, (3, 4, 23, 3), width=128),
}


@dataclass(frozen=True)
class _Unit:
    """A convolution and its norm.

    Attributes:
        stage: 0 for the stem, then 1 to 4.
        block: in the stage, from 0.
        part: index of the convolution in the block, from 1; 0 for the shortcut.
        shape: of the convolution's weight: (out, in of a group, height, width).
    """

    stage: int
    block: int
    part: int
    shape: tuple[int, int, int, int]


def detectron2_layout(name: str, in_channels: int = 3) -> Shapes:
    """Detectron2's layout: ``BasicStem``, ``BasicBlock``, ``BottleneckBlock`` of ``modeling/backbone/resnet.py``.

    Its convolutions contain their norms, and stages are named after the feature maps, res2 to res5.
    """
    layout: dict[str, tuple[int, ...]] = {}
    for unit in _units(PLANS[name], in_channels):
        part = f"conv{unit.part}" if unit.part else "shortcut"
        conv = f"res{unit.stage + 1}.{unit.block}.{part}" if unit.stage else "stem.conv1"
        layout |= _tensors(unit, conv, f"{conv}.norm")
    return layout


def openmmlab_layout(name: str, in_channels: int = 3) -> Shapes:
    """The layout of OpenMMLab's ``ResNet`` and ``ResNeXt`` of style "pytorch" in a detector of mmdet or mmpretrain."""
    layout: dict[str, tuple[int, ...]] = {}
    for unit in _units(PLANS[name], in_channels):
        lead = "backbone." + (f"layer{unit.stage}.{unit.block}." if unit.stage else "")
        conv, norm = (f"conv{unit.part}", f"bn{unit.part}") if unit.part else ("downsample.0", "downsample.1")
        layout |= _tensors(unit, lead + conv, lead + norm)
    return layout


def transformers_layout(name: str, in_channels: int = 3) -> Shapes:
    """The layout of ``ResNetModel`` in Hugging Face's transformers."""
    layout: dict[str, tuple[int, ...]] = {}
    for unit in _units(PLANS[name], in_channels):
        inner = f"layer.{unit.part - 1}" if unit.part else "shortcut"
        lead = f"encoder.stages.{unit.stage - 1}.layers.{unit.block}.{inner}" if unit.stage else "embedder.embedder"
        layout |= _tensors(unit, f"{lead}.convolution", f"{lead}.normalization")
    return layout


def _units(plan: ResNetPlan, in_channels: int) -> Iterator[_Unit]:
    yield _Unit(0, 0, 1, (STEM_WIDTH, in_channels, 7, 7))
    into = STEM_WIDTH
    for stage, (blocks, out) in enumerate(zip(plan.blocks, plan.channels, strict=True), start=1):
        inner = plan.groups * plan.width * 2 ** (stage - 1)
        for block in range(blocks):
            if plan.bottleneck:
                yield _Unit(stage, block, 1, (inner, into, 1, 1))
                yield _Unit(stage, block, 2, (inner, inner // plan.groups, 3, 3))
                yield _Unit(stage, block, 3, (out, inner, 1, 1))
            else:
                yield _Unit(stage, block, 1, (out, into, 3, 3))
                yield _Unit(stage, block, 2, (out, out, 3, 3))
            if into != out:
                yield _Unit(stage, block, 0, (out, into, 1, 1))
            into = out


def _tensors(unit: _Unit, conv: str, norm: str) -> Shapes:
    channels = (unit.shape[0],)
    statistics = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), channels)
    norms = {f"{norm}.{name}": shape for name, shape in statistics.items()}
    return {f"{conv}.weight": unit.shape, **norms, f"{norm}.num_batches_tracked": ()}
