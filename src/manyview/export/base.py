"""Interface of an export format: supported networks, writing, verification, and code to paste."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from manyview.backbones import Backbone
from manyview.backbones.build import RESNETS
from manyview.export.checking import Check


class ExportFormat(ABC):
    """Format of one target library.

    Attributes:
        name: value of the option ``to``.
        library: the library's own name.
        about: supported networks and type of output, in a few words.
        suffixes: endings of the file; none: the export is a folder.
        sized: whether the size of the images can be fixed.
    """

    name: ClassVar[str]
    library: ClassVar[str]
    about: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    sized: ClassVar[bool] = False

    def refusal(self, backbone: Backbone) -> str | None:
        """Why this network cannot be exported to the format, and which formats can; None if it can."""
        return None

    @abstractmethod
    def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
        """Write the export.

        Args:
            backbone: in eval mode, on the CPU, in float32.
            target: the file, or the folder, which exists and is empty.
            size: height and width to fix, if the format is ``sized``.
        """

    @abstractmethod
    def check(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> Check:
        """Read the export back and compare it with the backbone.

        Raises:
            UserError: anything in it differs.
        """

    @abstractmethod
    def lines(self, backbone: Backbone, out: str) -> str:
        """Code to paste into a program that uses the target library, with ``out`` as the export's path."""


def resnet_of(backbone: Backbone) -> str | None:
    """Torchvision's name of a ResNet, which timm shares; None for other networks."""
    bare = backbone.name.removeprefix("timm/").partition(".")[0]
    return bare if bare in RESNETS else None


def other_network(library: str, backbone: Backbone) -> str:
    """Message that a library has no such network."""
    own = backbone.name.startswith("own:")
    instead = "onnx or torch-export" if own else "timm, huggingface, onnx or torch-export"
    return f"{library} has no network with the layers of {backbone.name}; export it to {instead}"


def other_channels(library: str, backbone: Backbone) -> str:
    """Message that a library's network takes three channels only."""
    return (
        f"the ResNets of {library} take images of 3 channels, and these weights are for {backbone.in_channels}; export "
        "them to timm, detectron2, mmdet, huggingface, onnx or torch-export"
    )


def of_255(values: tuple[float, ...], rgb: bool) -> list[float]:
    """Means or standard deviations for pixels from 0 to 255; those of bands stay for pixels from 0 to 1."""
    return [round(255 * value, 4) for value in values] if rgb else list(values)


def pixels(backbone: Backbone) -> str:
    """Shape and normalization of the images, for a comment in the code to paste."""
    channels = "RGB" if backbone.rgb else f"{backbone.in_channels} bands"
    white = "" if backbone.bit_depth is None else f" (of {2**backbone.bit_depth - 1} in 16-bit files)"
    return f"float32 (B, {backbone.in_channels}, H, W): {channels} from 0 to 1{white}, minus mean, over std"
