"""The formats by name."""

from __future__ import annotations

import difflib

from manyview.errors import UserError
from manyview.export.base import Format
from manyview.export.detectron2 import Detectron2Format
from manyview.export.graphs import OnnxFormat, TorchExportFormat
from manyview.export.huggingface import HuggingFaceFormat
from manyview.export.openmmlab import MMDetFormat, MMPretrainFormat
from manyview.export.plain_weights import TimmFormat, TorchvisionFormat
from manyview.export.ultralytics import UltralyticsFormat

_ALL: tuple[Format, ...] = (
    TorchvisionFormat(),
    TimmFormat(),
    Detectron2Format(),
    MMDetFormat(),
    MMPretrainFormat(),
    UltralyticsFormat(),
    HuggingFaceFormat(),
    OnnxFormat(),
    TorchExportFormat(),
)
FORMATS: dict[str, Format] = {form.name: form for form in _ALL}
# What else people call them, for the hint only: one name a format.
_ALSO = {
    "transformers": "huggingface",
    "hf": "huggingface",
    "yolo": "ultralytics",
    "mmcls": "mmpretrain",
    "mmdetection": "mmdet",
    "d2": "detectron2",
    "pt2": "torch-export",
    "torch.export": "torch-export",
    "pth": "torchvision",
}


def find_format(name: str) -> Format:
    """The format of that name.

    Raises:
        UserError: there is none; the message names the nearest, or all.
    """
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name.lower(), [*FORMATS, *_ALSO], n=1, cutoff=0.6)
    hint = f"did you mean {_ALSO.get(near[0], near[0])}?" if near else f"choose from {', '.join(FORMATS)}"
    raise UserError(f"unknown format {name!r}; {hint}")
