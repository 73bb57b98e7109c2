"""Saves and loads a fine-tuned detector as one safetensors file with weights and description."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manyview.backbones import Backbone, build_backbone
from manyview.backbones.values import check_values
from manyview.backbones.weights import own_weights
from manyview.detection.models import Detector, build_detector
from manyview.errors import UserError
from manyview.labels.identifiers import Identifier
from manyview.parsing import parse_json
from manyview.runs import write_tensors
from manyview.runs.folder import DETECTOR_FILE as DETECTOR_FILE
from manyview.runs.sealed import read_sealed

_FORMAT = "manyview-detector-1"


@dataclass(frozen=True, slots=True)
class DetectorDescription:
    """All that is needed to build a detector, except its weights.

    Attributes:
        architecture: "c4" or "fpn".
        backbone: its name.
        in_channels: channels of its images.
        mean: of each channel, subtracted from pixels in [0, 1].
        std: standard deviation of each channel, by which it is divided.
        classes: names; the label i + 1 stands for the i-th.
        category_ids: ids of the classes in COCO files.
        masks: whether it predicts masks.
        short_sides: short sides of training images, in pixels.
        test_short_side: short side at test time.
        max_side: the long side is at most that.
        regions: RoIs per image that trained the heads.
        test_proposals: proposals per image that reach the heads at test time.
        bit_depth: bits that the values of its 16-bit files use; None for all 16.
        iteration: iterations done when it was saved.
    """

    architecture: str
    backbone: str
    in_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    category_ids: tuple[Identifier, ...]
    masks: bool
    short_sides: tuple[int, ...]
    test_short_side: int
    max_side: int
    regions: int
    test_proposals: int
    bit_depth: int | None = None
    iteration: int = 0

    def build(self, backbone: Backbone, *, sync_batch_norm: bool = False) -> Detector:
        """A detector around a backbone, in training mode, all other weights random."""
        detector = build_detector(
            self.architecture,
            backbone,
            classes=len(self.classes),
            masks=self.masks,
            short_sides=self.short_sides,
            max_side=self.max_side,
            test_short_side=self.test_short_side,
            regions=self.regions,
            test_proposals=self.test_proposals,
            sync_batch_norm=sync_batch_norm,
        )
        detector.bit_depth = self.bit_depth
        return detector


def save_detector(file: Path, detector: Detector, description: DetectorDescription) -> None:
    """Write weights and description as safetensors, atomically.

    Raises:
        UserError: the disk is full or the folder not writable; ``file`` is then as it was.
    """
    metadata = {"format": _FORMAT, "detector": json.dumps(dataclasses.asdict(description))}
    write_tensors(file, own_weights(detector), metadata)


def load_detector(path: Path, *, test_short_side: int | None = None) -> tuple[Detector, DetectorDescription]:
    """Load a fine-tuned detector in eval mode on the CPU; no code in the file is executed.

    Args:
        path: the folder of a fine-tuning run, or its ``detector.safetensors``.
        test_short_side: short side of the images in pixels; unset: as in its evaluation.

    Raises:
        UserError: there is no such file, it is damaged or of another format, or the side is out of range.
    """
    file = path / DETECTOR_FILE if path.is_dir() else path
    tensors, metadata = _read(file)
    try:
        if metadata["format"] != _FORMAT:
            raise KeyError("format")
        values: dict[str, Any] = parse_json(metadata["detector"])
        values |= {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        description = DetectorDescription(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} holds no detector: give the folder of a fine-tuning run of manyview detect") from error
    if test_short_side is not None and not 32 <= test_short_side <= description.max_side:
        raise UserError(f"test_short_side must be from 32 to {description.max_side}, not {test_short_side}")
    with torch.random.fork_rng(devices=[]):
        backbone = build_backbone(description.backbone, in_channels=description.in_channels)
        backbone.take_images(description.mean, description.std, rgb=backbone.rgb)
        seen = description if test_short_side is None else replace(description, test_short_side=test_short_side)
        detector = seen.build(backbone)
    own = detector.state_dict()
    check_values(file, {key: value for key, value in tensors.items() if key in own}, own)
    try:
        detector.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{file} does not hold the weights of the detector that it describes: {error}") from error
    return detector.eval(), description


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not file.is_file():
        raise UserError(
            f"there is no {file}: give the folder of a fine-tuning run of manyview detect that has evaluated its "
            "detector"
        )
    try:
        return read_sealed(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error
