"""Options of ``detect``; in Python, of ``fine_tune`` and ``predict``."""

# The annotations are evaluated at run time: no ``from __future__ import annotations`` here.
from collections.abc import Sequence
from typing import Annotated, Literal, Required, TypedDict

from manyview.options.base import REQUIRED, Option, StrPath
from manyview.options.shared import (
    TRAIN_DATA,
    Architecture,
    Beside,
    ClassNames,
    ComputingOptions,
    Images,
    LabelProblems,
    Normalization,
    ValImages,
    ValSplit,
)

BATCH_SIZE, MAX_SIDE, REGIONS, TEST_PROPOSALS = 8, 1333, 512, 1000

SCORE_THRESHOLD, DETECTIONS = 0.25, 100
"""What predictions in new images keep unless another is given: at least this score, at most so many an image."""

Draw = Annotated[
    int,
    Option(
        0,
        "Images to draw, spread evenly: one picture each, and a sheet of all.",
        "images to draw, spread evenly: one picture each, and a sheet of them (the first 24).",
    ),
]
DrawThreshold = Annotated[
    float | int,
    Option(0.5, "Lowest score that --draw draws.", "lowest score of the detections that are drawn, 0 to 1."),
]

Recipe = Literal["voc-24k", "coco-1x"]
DetectorArchitecture = Literal["c4", "fpn"]


class FineTunedOn(TypedDict, total=False):
    """Training data, validation data and output folder of a detector."""

    images: Images
    train_labels: Required[
        Annotated[
            StrPath,
            Option(
                REQUIRED,
                f"Training objects: COCO JSON, Pascal VOC's XML or list, a folder of YOLO's files, {TRAIN_DATA}.",
                "training objects: COCO JSON, Pascal VOC or YOLO, as ``read_annotations`` takes them.",
            ),
        ]
    ]
    val_labels: Annotated[
        StrPath | None,
        Option(
            None,
            "Validation objects, in the same formats; unset: those of a data.yaml.",
            "validation objects, in the same formats; their classes must be among those of ``train_labels``. Unset: "
            "those that a YAML file of ``train_labels`` names.",
            shown=False,
        ),
    ]
    out: Required[
        Annotated[
            StrPath,
            Option(
                REQUIRED,
                "Folder for the run; with --predict, a .json file for the results.",
                "the run's folder: config.json, run.json, metrics.jsonl, detector.safetensors, results.json (COCO's "
                "result format, of the validation images), metrics.json, predictions.png and predictions/.",
            ),
        ]
    ]


class StartWeights(TypedDict, total=False):
    """Initial weights of the backbone; in Python the first argument."""

    weights: Annotated[
        StrPath | None,
        Option(
            None,
            "A run's folder or a checkpoint file, also of other projects; or random.",
            argument="weights",
            shown=False,
        ),
    ]


class PredictedWith(TypedDict, total=False):
    """Option of the command alone: predict with a trained detector instead of training one."""

    predict: Annotated[
        StrPath | None,
        Option(None, "Instead of training, detect objects in --images with this run.", metavar="RUN", shown=False),
    ]


class TuningOptions(TypedDict, total=False):
    """Training schedule, input sizes and evaluation of a detector."""

    val_images: ValImages
    val_split: ValSplit
    class_names: ClassNames
    label_problems: LabelProblems
    recipe: Annotated[Recipe, Option("voc-24k", "Schedule, learning rate and sizes of MoCo's protocol.", recorded=True)]
    architecture: Annotated[
        DetectorArchitecture, Option("c4", "c4: MoCo's protocol, for ResNets; fpn: a feature pyramid.", recorded=True)
    ]
    masks: Annotated[
        bool,
        Option(
            False,
            "Also train and evaluate masks.",
            "train and evaluate masks, which the labels must have.",
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
        float | int | None,
        Option(None, "Of the optimizer; unset: the recipe's, in proportion to the batch.", recorded=True, shown=False),
    ]
    short_side: Annotated[
        str | int | Sequence[int] | None,
        Option(
            None,
            "Short side in training, in pixels: 480, 480,512,640, or 480-800 in steps of 32; unset: the recipe's.",
            "short side of the training images in pixels, as ``read_sides`` takes it; unset: the recipe's.",
            shown=False,
            parsed=str | None,
        ),
    ]
    test_short_side: Annotated[
        int | None,
        Option(
            None, "Short side of the validation images; unset: the longest in training.", recorded=True, shown=False
        ),
    ]
    max_side: Annotated[int, Option(MAX_SIDE, "Maximum of the long side in pixels.", recorded=True)]
    regions: Annotated[int, Option(REGIONS, "RoIs per image that train the heads.", recorded=True)]
    test_proposals: Annotated[int, Option(TEST_PROPOSALS, "Proposals per image at test time.", recorded=True)]
    precise_batches: Annotated[
        int,
        Option(
            200, "Batches that recompute batch-norm statistics before evaluation; 0: running averages.", recorded=True
        ),
    ]
    eval_every: Annotated[
        int | None,
        Option(None, "Iterations between two evaluations; unset: one at the end.", recorded=True, shown=False),
    ]
    draw: Draw
    draw_threshold: DrawThreshold
    seed: Annotated[int, Option(0, "Seed of everything random.", recorded=True)]


class FineTuneOptions(FineTunedOn, TuningOptions, Normalization, ComputingOptions, total=False):
    """Options of ``fine_tune`` and ``manyview detect``."""

    beside: Beside
    backbone: Architecture
    checkpoint_minutes: Annotated[float | int, Option(10.0, "Minutes between two checkpoints.")]
    resume: Annotated[
        bool,
        Option(
            False,
            "Continue the run in --out.",
            "continue the run in ``out``, which must have been started with the same settings and data.",
        ),
    ]


class KeptDetections(TypedDict, total=False):
    """Which detections in new images are kept."""

    score_threshold: Annotated[
        float | int,
        Option(
            SCORE_THRESHOLD,
            "With --predict: lowest score that is written; the rest is counted.",
            "lowest score of the detections that are written, 0 to 1; average precision takes all from .05 on.",
        ),
    ]
    detections: Annotated[
        int,
        Option(
            DETECTIONS,
            "With --predict: most detections of an image that are written, the best.",
            "most detections of an image that are written, the best of them.",
        ),
    ]


class PredictOptions(ComputingOptions, KeptDetections, total=False):
    """Options of ``predict`` and ``manyview detect --predict``, of which the command shows those of ``fine_tune``."""

    images: Required[Annotated[StrPath, Option(REQUIRED, "Folder of images, searched recursively, or shards.")]]
    out: Required[Annotated[StrPath, Option(REQUIRED, "The .json file to write.")]]
    draw: Draw
    draw_threshold: DrawThreshold
    test_short_side: Annotated[
        int | None, Option(None, "Short side of the images in pixels; unset: as in the detector's evaluation.")
    ]
