"""Options of ``detect``, in Python ``fine_tune`` and ``predict``."""

# The types are read when the program runs: no annotation here may be put off by ``from __future__``.
from collections.abc import Sequence
from typing import Annotated, Literal, Required, TypedDict

from manyview.options.base import REQUIRED, Option, StrPath
from manyview.options.labeled import Images, LabelProblems, ValImages
from manyview.options.shared import Architecture, ComputingOptions

BATCH_SIZE, MAX_SIDE, REGIONS, TEST_PROPOSALS = 8, 1333, 512, 1000

Recipe = Literal["voc-24k", "coco-1x"]
DetectorArchitecture = Literal["c4", "fpn"]


class FineTunedOn(TypedDict, total=False):
    """What a detector learns from, what it is measured on, and where it goes."""

    images: Required[Images]
    train_labels: Required[
        Annotated[
            StrPath,
            Option(
                REQUIRED,
                "Objects to learn from: COCO JSON, Pascal VOC's XML or list, or a folder of YOLO's files.",
                "objects to learn from: COCO JSON, Pascal VOC or YOLO, as ``read_annotations`` takes them.",
            ),
        ]
    ]
    val_labels: Required[
        Annotated[
            StrPath,
            Option(
                REQUIRED,
                "The same, to measure on.",
                "the same to measure on; its classes must be among those of ``train_labels``.",
            ),
        ]
    ]
    out: Required[
        Annotated[
            StrPath,
            Option(
                REQUIRED,
                "Folder for the run; with --predict, a .json file for the results.",
                "the run's folder: config.json, run.json, metrics.jsonl, detector.safetensors, results.json (COCO's "
                "result format, of the validation images), metrics.json and predictions.png.",
            ),
        ]
    ]


class StartWeights(TypedDict, total=False):
    """What a detector starts with; in Python the first argument."""

    weights: Annotated[
        StrPath | None,
        Option(None, "A run's folder or a checkpoint file, other people's too.", argument="weights", shown=False),
    ]


class PredictedWith(TypedDict, total=False):
    """What only the command takes: the detector to detect with, instead of training one."""

    predict: Annotated[
        StrPath | None,
        Option(None, "Instead of training, detect in --images with that run.", metavar="RUN", shown=False),
    ]


class TuningOptions(TypedDict, total=False):
    """How a detector is fine-tuned and measured."""

    val_images: ValImages
    label_problems: LabelProblems
    recipe: Annotated[Recipe, Option("voc-24k", "Schedule, learning rate and sizes of MoCo's protocol.", recorded=True)]
    architecture: Annotated[
        DetectorArchitecture, Option("c4", "c4: MoCo's protocol; fpn: a feature pyramid.", recorded=True)
    ]
    masks: Annotated[
        bool,
        Option(
            False,
            "Learn and measure masks, too.",
            "learn and measure masks, which the labels must have.",
            recorded=True,
        ),
    ]
    iterations: Annotated[
        int | None, Option(None, "Steps of the optimizer; unset: the recipe's.", recorded=True, shown=False)
    ]
    batch_size: Annotated[
        int,
        Option(
            BATCH_SIZE,
            "Images a step; the learning rate follows it.",
            "images a step, over all processes.",
            recorded=True,
        ),
    ]
    learning_rate: Annotated[
        float | int | None, Option(None, "Unset: the recipe's, in proportion to the batch.", recorded=True, shown=False)
    ]
    short_side: Annotated[
        str | int | Sequence[int] | None,
        Option(
            None,
            "Of the images in training, in pixels: 480, 480,512,640, or 480-800 in steps of 32; unset: the recipe's.",
            "in training, in pixels, as ``read_sides`` takes it; unset: the recipe's.",
            shown=False,
            parsed=str | None,
        ),
    ]
    test_short_side: Annotated[
        int | None, Option(None, "Of the others; unset: the longest in training.", recorded=True, shown=False)
    ]
    max_side: Annotated[int, Option(MAX_SIDE, "The long side is at most that.", recorded=True)]
    regions: Annotated[int, Option(REGIONS, "Regions of an image that train the heads.", recorded=True)]
    test_proposals: Annotated[int, Option(TEST_PROPOSALS, "Proposals of an image that are looked into.", recorded=True)]
    precise_batches: Annotated[
        int, Option(200, "Batches that set the norms' statistics before measuring; 0: running averages.", recorded=True)
    ]
    eval_every: Annotated[
        int | None,
        Option(None, "Iterations between two measurements; unset: one at the end.", recorded=True, shown=False),
    ]
    draw: Annotated[int, Option(0, "Images to draw predictions on.")]
    random_init: Annotated[bool, Option(False, "Start from random weights instead: the baseline.")]
    seed: Annotated[int, Option(0, "Everything random follows from it.", recorded=True)]


class FineTuneOptions(FineTunedOn, TuningOptions, ComputingOptions, total=False):
    """Options of ``fine_tune`` and ``manyview detect``."""

    backbone: Architecture
    checkpoint_minutes: Annotated[float | int, Option(10.0, "Between two checkpoints.")]
    resume: Annotated[
        bool,
        Option(
            False,
            "Continue the run in --out.",
            "continue the run in ``out``, which must have been started with the same settings and data.",
        ),
    ]


class PredictOptions(ComputingOptions, total=False):
    """Options of ``predict`` and ``manyview detect --predict``, of which the command shows those of ``fine_tune``."""

    images: Required[Annotated[StrPath, Option(REQUIRED, "Folder of images, searched recursively.")]]
    out: Required[Annotated[StrPath, Option(REQUIRED, "The .json file to make.")]]
    draw: Annotated[int, Option(0, "Images to draw, spread over all.")]
    test_short_side: Annotated[
        int | None, Option(None, "Of the images, in pixels; unset: as the detector was measured.")
    ]
