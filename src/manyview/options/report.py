"""Options of ``report`` and ``watch``, which show runs."""

# The annotations are evaluated at run time: no ``from __future__ import annotations`` here.
from collections.abc import Sequence
from typing import Annotated, Required, TypedDict

from manyview.options.base import REQUIRED, Option, StrPath


class ReportedRuns(TypedDict, total=False):
    """The runs to report on; in Python the first argument."""

    runs: Required[
        Annotated[Sequence[StrPath], Option(REQUIRED, "Folders of pre-training runs, one to eight.", argument="runs")]
    ]


class WatchedRun(TypedDict, total=False):
    """The run to watch; in Python the first argument."""

    run: Required[Annotated[StrPath, Option(REQUIRED, "Folder of a pre-training run.", argument="run")]]


class Evaluated(TypedDict, total=False):
    """Where results and images are, and how many images are drawn."""

    evaluations: Annotated[
        Sequence[StrPath],
        Option(
            (),
            "A folder of results of these weights that lies elsewhere; may be given several times.",
            "folders of results of these weights, or folders of such, beside those that are found beside the runs.",
            metavar="DIR",
        ),
    ]
    images: Annotated[
        StrPath | None,
        Option(None, "Folder of the images, if they are no longer where the run found them.", shown=False),
    ]
    photographs: Annotated[
        int,
        Option(
            3,
            "Images whose views are drawn, at most 12, and the features of up to four; 0: none.",
            "images whose views are drawn, from 0 to 12, and the features of up to four.",
            flags=("--photos",),
            minimum=0,
        ),
    ]


class ReportOptions(Evaluated, total=False):
    """Options of ``write_report`` and ``manyview report``."""

    out: Required[
        Annotated[
            StrPath,
            Option(REQUIRED, "Page to write (.html).", "the page to write, ``.html``; another report is replaced."),
        ]
    ]
    dense_features: Annotated[
        bool, Option(True, "Draw dense features, for which the photographs go through the backbone.")
    ]


class WatchOptions(Evaluated, total=False):
    """Options of ``watch`` and ``manyview watch``."""

    port: Annotated[int, Option(8642, "Port of this machine; 0: any that is free.", minimum=0)]
