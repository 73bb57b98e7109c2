"""Options of ``reproduce``."""

# The annotations are evaluated at run time: no ``from __future__ import annotations`` here.
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Required, TypedDict

from manyview.options.base import REQUIRED, Option, StrPath
from manyview.options.pretrain import Names, SingleSettings
from manyview.options.shared import ClassNames, ComputingOptions, CsvLayout, ValImages

Match = Literal["views", "images", "steps", "time", "own"]


class TableName(TypedDict, total=False):
    """The table to make; in Python the first argument."""

    table: Required[
        Annotated[
            str,
            Option(
                REQUIRED,
                "table1 to table5, methods, figure1, figure4, or a TOML file with rows and columns of one's own.",
                argument="table",
            ),
        ]
    ]


class ReproducedOn(CsvLayout, total=False):
    """Images and labels of the runs and of the evaluations."""

    images: Required[
        Annotated[StrPath, Option(REQUIRED, "Folder of the images, also what the labels' file names are relative to.")]
    ]
    train_labels: Annotated[
        StrPath | None,
        Option(
            None,
            "Training labels; without --list, pre-training sees the images that they name.",
            "training labels of the evaluations, in any format that they read; without ``list``, pre-training sees the "
            "images that they name, without their labels.",
        ),
    ]
    val_labels: Annotated[StrPath | None, Option(None, "Validation labels, in the same formats.")]
    val_images: ValImages
    class_names: ClassNames
    list: Names
    data: Annotated[
        Mapping[str, Sequence[StrPath]] | None,
        Option(
            None,
            "Further images and labels by the name that a table has for them, such as Table 3's voc; repeat for "
            "several.",
            "further images and labels by the name that a table has for them: folder, training labels, validation "
            "labels, and the folder of the validation images if another.",
            metavar="NAME=IMAGES,TRAIN,VAL[,VAL_IMAGES]",
            parsed=list[str],
        ),
    ]
    weights: Annotated[
        Mapping[str, StrPath] | None,
        Option(
            None,
            "Weights of others, by the name that a table's row has for them; repeat for several. Rows whose weights "
            "are not given are left out.",
            metavar="NAME=FILE",
            parsed=list[str],
        ),
    ]


class Matching(TypedDict, total=False):
    """Size of the runs, and what is equal between them."""

    scale: Annotated[
        str,
        Option(
            "small",
            "small (two cores, hours), gpu10 (one GPU, ten minutes a row), paper (its own setting), or a TOML file.",
        ),
    ]
    match: Annotated[
        Match | None,
        Option(
            None,
            "What is equal between rows: views seen, images seen, steps, time, or own (each row as long as in the "
            "paper); unset: the scale's.",
            'what is equal between rows: "views" or "images" seen, "steps", "time", or "own", each row as long as in '
            "the paper; unset: the scale's.",
            shown=False,
        ),
    ]
    budget: Annotated[
        float | int | None,
        Option(
            None,
            "How much of it a row gets: views, images, steps or hours; unset: the scale's.",
            shown=False,
        ),
    ]
    seeds: Annotated[int | None, Option(None, "Seeds of each row; unset: the scale's.", minimum=1, shown=False)]
    first_seed: Annotated[int, Option(0, "First of the seeds.", minimum=0)]
    only: Annotated[Sequence[str], Option((), "Make this row alone; may be given several times.")]


class Reproducing(TypedDict, total=False):
    """Where and how the runs are made."""

    out: Required[
        Annotated[
            StrPath,
            Option(
                REQUIRED,
                "Folder of the runs, evaluations and tables; what is in it is gone on with.",
                "folder of the runs, evaluations and tables; what is done in it is not done again, and what was "
                "stopped is resumed.",
            ),
        ]
    ]
    gpus: Annotated[
        str | None,
        Option(
            None,
            "GPUs that rows are run on at the same time, such as 0,1; unset: one row after the other.",
            'GPUs that rows are run on at the same time, such as "0,1"; unset: one row after the other, in this '
            "process.",
            shown=False,
        ),
    ]
    set: SingleSettings
    dry_run: Annotated[
        bool, Option(False, "Show rows, steps, views, hours and what is done; train nothing.", "only return the plan.")
    ]


class ReproduceOptions(ReproducedOn, Matching, Reproducing, ComputingOptions, total=False):
    """Options of ``reproduce`` and ``manyview reproduce``."""
