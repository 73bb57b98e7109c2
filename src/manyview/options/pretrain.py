"""Options of ``pretrain``, ``views`` (which draws the views of a run) and ``demo``."""

# The annotations are evaluated at run time: no ``from __future__ import annotations`` here.
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from manyview.options.base import Option, StrPath
from manyview.options.shared import (
    BitDepth,
    ClassColumns,
    ClassNames,
    ImageColumn,
    LabelColumn,
    LabelSeparator,
    Normalization,
)

if TYPE_CHECKING:
    from torch import nn

Photos = Annotated[
    StrPath | None, Option(None, "Folder of images, searched recursively, or shards.", argument="photos", shown=False)
]
Recipe = Annotated[
    str | None,
    Option(
        None,
        "paper (default), paper-160, released, sup, sup-matched, simsiam, simsiam-4pairs, simsiam-same-size, mocov2, "
        "densecl, simclr, byol, swav, dino, barlowtwins, vicreg, supervised, recommended or continue.",
        shown=False,
    ),
]
Names = Annotated[
    StrPath | None,
    Option(
        None,
        "Text or CSV file that names the images to use.",
        "text or CSV file that names the images to use, relative to ``images``.",
    ),
]
ViewSize = Annotated[int | None, Option(None, "Side of a view in pixels.")]
Network = Annotated[str | None, Option(None, "A torchvision ResNet or any timm model.")]
Epochs = Annotated[int | None, Option(None, "Passes over the images.")]
Steps = Annotated[
    int | None, Option(None, "Optimizer steps, instead of --epochs.", "optimizer steps, instead of ``epochs``.")
]
BatchSize = Annotated[int | None, Option(None, "Images a step.", "images a step, over all processes.")]
Seed = Annotated[
    int | None,
    Option(
        None,
        "Seed of everything random.",
        "seed of everything random; the same seed gives the same weights to the bit on the same CPU.",
    ),
]
ConfigFile = Annotated[
    StrPath | None,
    Option(
        None,
        "TOML or JSON file with settings.",
        "TOML or JSON file with settings; the ``config.json`` of a run repeats that run.",
    ),
]
SingleSettings = Annotated[
    Mapping[str, Any] | Iterable[str],
    Option(
        (),
        "One setting; may be given several times.",
        'single settings, as ``{"losses.image_aware.weight": 2}`` or ``["losses.image_aware.weight=2"]``.',
        metavar="KEY=VALUE",
    ),
]


class PretrainFolders(TypedDict, total=False):
    """Training images and output folder; in Python the first two arguments."""

    images: Photos
    out: Annotated[StrPath | None, Option(None, "Folder for the run; new, unless --resume.")]


class PretrainSettings(TypedDict, total=False):
    """Recipe, backbone, schedule and settings of pre-training."""

    list: Names
    labels: Annotated[
        StrPath | None,
        Option(
            None,
            "Image-level labels, for recipes that learn from labels.",
            "image-level labels in any format that ``labels.read_labels`` reads, for recipes that learn from labels; "
            "without ``list``, the images are those that they name.",
            shown=False,
        ),
    ]
    label_separator: LabelSeparator
    image_column: ImageColumn
    label_column: LabelColumn
    class_columns: ClassColumns
    class_names: ClassNames
    recipe: Recipe
    backbone: Annotated[
        "str | nn.Module | None",
        Option(
            None,
            "A torchvision ResNet or any timm model.",
            "a torchvision ResNet or timm model by name, or any module from images (B, C, H, W) to a feature map "
            "(B, D, h, w), C being 3 or ``data.bands``.",
            parsed=str | None,
        ),
    ]
    init: Annotated[
        StrPath | None,
        Option(
            None,
            "Weights to start from: a run's folder or any checkpoint.",
            "weights to start from, all of which must match: a run's folder, or a checkpoint in any format that "
            "``load_backbone`` reads. They also say the backbone, where nothing else does, and if they are manyview's "
            "the mean and standard deviation of the images, where ``views.mean`` and ``views.std`` are "
            "unset. A module of one's own is filled with them. Resuming does not need them.",
            shown=False,
        ),
    ]
    init_license: Annotated[
        str | None,
        Option(
            None,
            "License of the weights of --init, for the cards of exports.",
            "license of the initial weights, such as Apache-2.0, for the cards of what is made from them.",
            shown=False,
        ),
    ]
    epochs: Epochs
    steps: Steps
    hours: Annotated[
        float | int | None,
        Option(
            None,
            "Hours, instead of --epochs.",
            "hours, instead of ``epochs``: the number of steps follows from the pace that is measured at the start.",
        ),
    ]
    batch_size: BatchSize
    view_size: ViewSize
    seed: Seed
    config: ConfigFile
    set: SingleSettings
    eval_labels: Annotated[
        StrPath | None,
        Option(
            None,
            "Labels of some of PHOTOS, to measure the backbone by as it trains.",
            "labels of some of the images, in any format that ``labels.read_labels`` reads, by which the backbone is "
            "measured as it trains, on a third of them held out; they do not change the training.",
        ),
    ]
    eval_val_labels: Annotated[
        StrPath | None,
        Option(
            None,
            "Labels of those to measure on; unset: a third of --eval-labels.",
            "labels of those images to measure on; unset: a third of ``eval_labels``.",
        ),
    ]
    eval_every: Annotated[
        int | None, Option(None, "Steps between two measurements; unset: a tenth of the run, or more.", minimum=1)
    ]
    keep_best: Annotated[
        str | None,
        Option(
            None,
            "Measure whose best weights are kept: logistic (default with labels), knn, rankme or dense.",
            'measure by which the best weights are kept in ``best.safetensors``: "logistic" (the default with '
            '``eval_labels``), "knn", "rankme" or "dense".',
            shown=False,
        ),
    ]
    devices: Annotated[
        int | None,
        Option(
            None,
            "Processes to start on this machine, one for each GPU, or on a machine without GPUs on its CPU.",
            "processes to start on this machine, as torchrun does: one for each GPU, or on a machine without GPUs on "
            "its CPU; they share the batch, and the result is that of one process up to rounding.",
            minimum=1,
            shown=False,
        ),
    ]
    resume: Annotated[
        bool | Literal["auto"],
        Option(
            False,
            "Continue the run in --out; auto: start it if there is none. With other --epochs or --steps the run gets "
            "that length: it goes on as one of that length would at that step.",
            'continue a stopped run; "auto" starts it if there is none. Other settings are refused but ``epochs`` or '
            "``steps``, which give the run another length: from there on learning rate, weight decay and whatever else "
            "follows a schedule are those of a run of that length at the same step (``training.legs``). A length that "
            "the run has passed is refused.",
            word="auto",
        ),
    ]
    quiet: Annotated[bool, Option(False, "Print nothing but errors.", "print nothing.", flags=("--quiet", "-q"))]


class PretrainOptions(PretrainSettings, Normalization, total=False):
    """Options of ``pretrain`` and ``manyview pretrain``."""


class SettingsOptions(TypedDict, total=False):
    """Options of ``PretrainOptions`` that determine a configuration without building a network."""

    recipe: Recipe
    backbone: Network
    epochs: Epochs
    steps: Steps
    batch_size: BatchSize
    list: Names
    view_size: ViewSize
    seed: Seed
    config: ConfigFile
    set: SingleSettings
    bit_depth: BitDepth


class ViewsOptions(TypedDict, total=False):
    """Options of ``manyview views``: images to draw and objects to count."""

    images: Photos
    out: Annotated[StrPath | None, Option(None, "Picture (.png) or page (.html) to write.", shown=False)]
    drawn: Annotated[int, Option(6, "Images to draw, at random by --seed.", flags=("--photos",), minimum=1)]
    only: Annotated[Sequence[str], Option((), "Draw this image of PHOTOS; may be given several times.")]
    recipe: Recipe
    view_size: ViewSize
    seed: Annotated[int | None, Option(None, "The run's seed.")]
    epoch: Annotated[int, Option(0, "The epoch whose views are shown, from 0.", minimum=0)]
    list: Annotated[StrPath | None, Option(None, "Text or CSV file that names the run's images.")]
    config: Annotated[
        StrPath | None, Option(None, "TOML or JSON file with settings; a run's config.json shows that run.")
    ]
    set: SingleSettings
    bit_depth: BitDepth
    labels: Annotated[
        Sequence[StrPath],
        Option((), "Boxes (COCO, Pascal VOC or YOLO): also count common objects; may be given several times."),
    ]
    share: Annotated[float, Option(0.5, "Share of an object's box that both views must contain for it to be common.")]
    count_epochs: Annotated[int, Option(5, "Epochs whose views are counted, from --epoch on.", minimum=1)]


class DemoOptions(TypedDict, total=False):
    """Data and size of the demonstration."""

    photos: Annotated[StrPath | None, Option(None, "Your own folder of images; unset: synthetic scenes.", shown=False)]
    out: Annotated[StrPath, Option(Path("demo"), "Output folder of the demonstration.")]
    images: Annotated[int, Option(2000, "Training images; half as many scenes are for validation.", minimum=2)]
    view_size: Annotated[
        int, Option(32, "Side of a view in pixels; evaluation has images of twice as many.", minimum=8)
    ]
    batch_size: Annotated[int, Option(16, "Images a step.", minimum=2)]
    epochs: Annotated[int, Option(4, "Passes over the images.", minimum=1)]
    seed: Annotated[int, Option(0, "Seed of the scenes and of everything else that is random.", minimum=0)]
