"""Options of ``export``."""

# The types are read when the program runs: no annotation here may be put off by ``from __future__``.
from typing import Annotated, Required, TypedDict

from manyview.options.base import REQUIRED, Option, StrPath
from manyview.options.shared import Architecture


class ExportOptions(TypedDict, total=False):
    """Which format a backbone is written in, and where."""

    to: Required[
        Annotated[
            str,
            Option(
                REQUIRED,
                "torchvision, timm, detectron2, mmdet, mmpretrain, ultralytics, huggingface, onnx or torch-export.",
                shown=False,
            ),
        ]
    ]
    out: Required[
        Annotated[
            StrPath,
            Option(
                REQUIRED,
                "The file to make, or for huggingface and ultralytics the folder.",
                'the file to make, whose ending the format says, or for "ultralytics" and "huggingface" the folder. It '
                "must not exist. Beside a file, the same name with ``.json`` after it describes it; in a folder, "
                "manyview.json.",
                shown=False,
            ),
        ]
    ]
    backbone: Architecture
    size: Annotated[
        int | None,
        Option(
            None,
            "Side of the images in pixels to fix, for onnx and torch-export; unset: any.",
            'for "onnx" and "torch-export", the side in pixels to fix; unset: any size, or the network\'s own where it '
            "takes no other.",
        ),
    ]
