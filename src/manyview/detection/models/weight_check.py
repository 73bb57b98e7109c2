"""Whether a backbone's weights stand in a detector."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from manyview.backbones import Backbone
from manyview.backbones.report import count_layers
from manyview.detection.models.detector import Detector


@dataclass(frozen=True)
class Landing:
    """How much of a backbone stands in a detector, bit for bit; ``str`` of it is one line.

    Attributes:
        network: the backbone's name.
        architecture: the detector's.
        convolutions: how many of the backbone's convolutions have all their weights there, and how many there are.
        norms: the same of the normalization layers, running statistics included.
        absent: the backbone's names of the weights that are not there, or are others.
    """

    network: str
    architecture: str
    convolutions: tuple[int, int]
    norms: tuple[int, int]
    absent: tuple[str, ...]

    def __str__(self) -> str:
        counts = ((*self.convolutions, "convolutions"), (*self.norms, "normalization layers"))
        found = " and ".join(f"{there} of {all_} {what}" for there, all_, what in counts)
        line = f"{found} of {self.network} are in the {self.architecture} detector"
        return f"{line}; not {', '.join(self.absent[:3])}{', ...' * (len(self.absent) > 3)}" if self.absent else line


def place(architecture: str, name: str) -> str:
    """The detector's name of a backbone's weight.

    In ``c4`` the last stage is part of the box head, which is where a converter that knows only of bodies loses it.

    Args:
        architecture: "c4" or "fpn".
        name: as in the backbone's ``state_dict``.
    """
    if architecture == "fpn":
        return f"backbone.body.{name}"
    return f"roi_heads.box_head.{name}" if name.startswith("layer4.") else f"backbone.{name}"


def landed(detector: Detector, backbone: Backbone) -> Landing:
    """Compare each of a backbone's weights with what the detector has in its place, bit for bit.

    Args:
        detector: as ``build_detector`` made it; once trained, nothing is the same.
        backbone: what it was made from.
    """
    there = detector.state_dict()
    found = {
        name
        for name, value in backbone.state_dict().items()
        if (other := there.get(place(detector.architecture, name))) is not None
        and torch.equal(value.to(other.device), other)
    }
    convolutions, norms = count_layers(backbone, found)
    absent = tuple(name for name in backbone.state_dict() if name not in found)
    return Landing(backbone.name, detector.architecture, convolutions, norms, absent)
