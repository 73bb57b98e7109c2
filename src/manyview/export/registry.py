"""Registry of the export formats by name."""

from __future__ import annotations

from manyview.errors import UserError
from manyview.export.base import ExportFormat
from manyview.export.detectron2 import Detectron2Format
from manyview.export.graphs import OnnxFormat, TorchExportFormat
from manyview.export.huggingface import HuggingFaceFormat
from manyview.export.openmmlab import MMDetFormat, MMPretrainFormat
from manyview.export.plain_weights import TimmFormat, TorchvisionFormat
from manyview.export.ultralytics import UltralyticsFormat
from manyview.options.nearest import nearest

_ALL: tuple[ExportFormat, ...] = (
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
FORMATS: dict[str, ExportFormat] = {form.name: form for form in _ALL}
# Other common names, used in the hint only.
_ALIASES = {
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


def find_format(name: str) -> ExportFormat:
    """Look up a format by name.

    Raises:
        UserError: unknown name; the message suggests the nearest, or lists all.
    """
    if name in FORMATS:
        return FORMATS[name]
    near = nearest(name.lower(), [*FORMATS, *_ALIASES])
    hint = f"did you mean {_ALIASES.get(near[0], near[0])}?" if near else f"choose from {', '.join(FORMATS)}"
    raise UserError(f"unknown format {name!r}; {hint}")
