"""Options that verbs of several areas share."""

# The annotations are evaluated at run time: no ``from __future__ import annotations`` here.
from collections.abc import Sequence
from typing import Annotated, Literal, Required, TypedDict

from manyview.options.base import REQUIRED, Option, StrPath
from manyview.options.channels import Numbers

Difficult = Literal["ignore", "positive"]
Problems = Literal["refuse", "skip"]


class Weights(TypedDict, total=False):
    """The weights that a command evaluates, embeds or exports."""

    weights: Required[
        Annotated[
            StrPath,
            Option(REQUIRED, "A run's folder or a checkpoint file, also of other projects.", argument="weights"),
        ]
    ]


Pool = Annotated[
    str,
    Option(
        "gamp",
        "gamp, avg, max, avg_minus_max or cat.",
        '"gamp" (the mean of global average and maximum pooling), "avg", "max", "avg_minus_max" or "cat".',
    ),
]
Layer = Annotated[
    str | int | None,
    Option(
        None,
        "Layer of the features: stage1, stage2, ..., or projector or predictor of a run; unset: the last feature map.",
        'layer of the features: "stage1" (or 1), "stage2" and so on, the outputs of a ResNet\'s stages or the maps '
        'that timm gives of its networks; "projector" or "predictor", the output of a run\'s heads on the '
        "average-pooled last map; unset: the last feature map.",
        parsed=str | None,
    ),
]
Size = Annotated[
    int | None,
    Option(
        None,
        "Side of the inputs in pixels; unset: of the run's views, or 224.",
        "S, the side of the inputs in pixels, at least 8; unset: that of the run's views, or 224 for other weights.",
        shown=False,
    ),
]
Result = Annotated[
    StrPath | None, Option(None, "Folder for metrics.json.", "folder for metrics.json; unset: nothing is written.")
]
Beside = Annotated[
    StrPath | Sequence[StrPath] | None,
    Option(
        None,
        "Baseline: random, initial (a run's --init weights), other WEIGHTS, or none; repeat for several; unset: where "
        "the weights began.",
        'baselines: "random" for random init, "initial" for the weights that the run was initialized with, a '
        'run folder or checkpoint of any network; () or "none" for none; unset: where the weights began, their initial '
        "weights if the run had some, otherwise random init.",
        shown=False,
        metavar="WEIGHTS",
        parsed=list[str],
    ),
]
UntrainedNorms = Annotated[
    Literal["measured", "zero-one"],
    Option(
        "measured",
        "Batch norms of random init: with statistics measured on the training images, or with mean 0 and variance 1.",
        'statistics of the batch norms of random init: "measured" on the training images at the size of the '
        'evaluation, or "zero-one", mean 0 and variance 1 as in a new network, which squeezes its features.',
    ),
]
Architecture = Annotated[str | None, Option(None, "Architecture, if the weights do not name it.")]

BitDepth = Annotated[
    int | None,
    Option(
        None,
        "Bits that the values of 16-bit files use, 9 to 15, such as 12; unset: those of the weights, or all.",
        "bits that the values of 16-bit files use, 9 to 15, whose largest value is then white; unset: as the weights "
        "record, or else all 16.",
        shown=False,
    ),
]


class Normalization(TypedDict, total=False):
    """Mean, standard deviation and depth of the images that weights expect."""

    mean: Annotated[
        Numbers | None,
        Option(
            None,
            "Mean of the channels from 0 to 1, such as 0.5 or 0.485,0.456,0.406; unset: that of the weights.",
            "mean of the channels, for pixels from 0 to 1, by which images are normalized: one number, or one a "
            "channel; unset: as the weights record, or else as timm's own weights of the network, or ImageNet's; in "
            "training from random weights ImageNet's, or for bands those measured.",
            shown=False,
            metavar="NUMBERS",
            parsed=str | None,
        ),
    ]
    std: Annotated[
        Numbers | None,
        Option(
            None,
            "Standard deviation of the channels; unset: that of the weights.",
            "standard deviation of the channels; unset: as for the mean.",
            shown=False,
            metavar="NUMBERS",
            parsed=str | None,
        ),
    ]
    bit_depth: BitDepth


Images = Annotated[
    StrPath | None,
    Option(
        None,
        "Folder that the labels' file names are relative to; unset: as a data.yaml says.",
        "folder that the labels' file names are relative to; unset: that of the images that a data set's YAML file "
        "names.",
        shown=False,
    ),
]
TRAIN_DATA = "or a data.yaml of any name, which has images and validation labels, too"
ValSplit = Annotated[
    Literal["val", "test"],
    Option("val", "Split of a data.yaml to measure on.", 'split of a YAML file to measure on: "val" or "test".'),
]
ClassNames = Annotated[
    StrPath | None,
    Option(
        None,
        "Names of YOLO's classes, one a line or a data.yaml; unset: found beside the labels.",
        "file that names YOLO's classes, one a line or a YAML file; unset: found beside the labels or above them.",
        flags=("--names",),
        shown=False,
    ),
]
ValImages = Annotated[StrPath | None, Option(None, "Folder of the validation images, if another.")]
LabelProblems = Annotated[
    Problems,
    Option(
        "refuse",
        "Labels that name missing images, unknown classes, ...: an error, or skipped and listed.",
        'handling of entries of the label files that cannot be used: "refuse" raises an error at the first; "skip" '
        "skips them, and the protocol lists them.",
    ),
]


LabelSeparator = Annotated[
    str | None,
    Option(
        None,
        "Text between labels in CSV files; ' ': white space; list: the text of a list; unset: |.",
        'text between the labels of an image in CSV files; " " for white space, "list" for the text of a list such '
        "as ['cat', 'dog']; unset: \"|\", and files that evidently have another one are refused.",
        shown=False,
    ),
]
ImageColumn = Annotated[str | None, Option(None, "Column of images in CSV files; unset: image.", shown=False)]
LabelColumn = Annotated[str | None, Option(None, "Column of labels in CSV files; unset: labels.", shown=False)]
ClassColumns = Annotated[
    str | None,
    Option(
        None,
        "Columns of 0 and 1 in CSV files, one a class: names joined by commas, FIRST:LAST, or all.",
        "columns of 0 and 1 in CSV files, one a class: their names joined by commas, the first and the last with a "
        'colon between them, or "all" for all but that of images; unset: those of a table without a column of labels, '
        "all of whose others have 0 and 1.",
        shown=False,
    ),
]


class CsvLayout(TypedDict, total=False):
    """Columns and label separator of label files in CSV."""

    label_separator: LabelSeparator
    image_column: ImageColumn
    label_column: LabelColumn
    class_columns: ClassColumns


class ComputingOptions(TypedDict, total=False):
    """Device, precision and loader processes."""

    workers: Annotated[
        int | None,
        Option(
            None, "Loader processes; unset: by cores.", "loader processes; unset: by cores. No result depends on it."
        ),
    ]
    device: Annotated[
        str,
        Option(
            "auto",
            "auto, cpu, cuda or mps.",
            '"auto" (CUDA, Metal or CPU, the first there is), "cpu", "cuda", "cuda:1" or "mps".',
        ),
    ]
    precision: Annotated[
        str,
        Option(
            "auto",
            "Precision of the network: auto, float32 or bf16.",
            'precision of the backbone: "float32" (which "auto" means) or "bf16", slow on CPUs without support for it.',
        ),
    ]
