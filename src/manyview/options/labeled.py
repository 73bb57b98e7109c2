"""Options of the evaluations on labeled images, ``linear``, ``knn`` and ``probe``, and of ``compare``."""

# The annotations are evaluated at run time: no ``from __future__ import annotations`` here.
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Required, TypedDict

from manyview.options.base import REQUIRED, Option, StrPath
from manyview.options.shared import (
    TRAIN_DATA,
    Architecture,
    Beside,
    ClassNames,
    ComputingOptions,
    CsvLayout,
    Difficult,
    Images,
    LabelProblems,
    Layer,
    Normalization,
    Pool,
    Result,
    Size,
    UntrainedNorms,
    ValImages,
    ValSplit,
)

AveragePrecision = Literal["all_points", "voc07"]
Compatibility = Literal["ml-gcn"]

_CROPS = "warp: the whole image, warped to the square; center: 7/8 of its shorter side, at the center"
_CROPS_IN_PYTHON = (
    'crop of images without augmentation: "warp", the whole one warped to S x S, or "center", the square at its center '
    "whose side is 7/8 of the shorter side"
)

CostByClass = Annotated[bool, Option(False, "Choose C of logistic regression for each class instead of one for all.")]
Resamples = Annotated[int, Option(1000, "Bootstrap resamples for the intervals; 0: none.", recorded=True)]


class ResultFolder(TypedDict, total=False):
    """Output folder of the result."""

    out: Result


class LabeledImages(TypedDict, total=False):
    """The images and labels of an evaluation."""

    images: Images
    train_labels: Required[
        Annotated[
            StrPath,
            Option(
                REQUIRED,
                f"Training labels: CSV, COCO JSON, Pascal VOC or YOLO, a file or a folder; {TRAIN_DATA}.",
            ),
        ]
    ]
    val_labels: Annotated[
        StrPath | None,
        Option(
            None,
            "Validation labels, in the same formats; unset: those of a data.yaml.",
            "validation labels, in the same formats; their classes must be among those of ``train_labels``. Unset: "
            "those that a YAML file of ``train_labels`` names.",
            shown=False,
        ),
    ]


class ReadLabels(CsvLayout, total=False):
    """How labels are read."""

    val_images: ValImages
    val_split: ValSplit
    class_names: ClassNames
    difficult: Annotated[
        Difficult,
        Option(
            "ignore",
            "ignore: labels of nothing but difficult objects (Pascal VOC) are left out; positive: they count.",
            'labels of nothing but difficult objects (Pascal VOC): "ignore" leaves them out of training and of '
            'metrics, "positive" counts them.',
        ),
    ]
    label_problems: LabelProblems


class Pooling(TypedDict, total=False):
    """Pooling, layer and input size of the features."""

    pool: Pool
    layer: Layer
    size: Size


class FeatureOptions(Pooling, total=False):
    """Pooling and input transform of the features."""

    crop: Annotated[
        str,
        Option("warp", f"{_CROPS}.", f"{_CROPS_IN_PYTHON}."),
    ]


class Figures(TypedDict, total=False):
    """Definitions of the multi-label metrics."""

    average_precision: Annotated[
        AveragePrecision,
        Option(
            "all_points",
            "Average precision over all ranks, or VOC 2007's at 11 points of recall.",
            'average precision over all ranks ("all_points"), or VOC 2007\'s at 11 points of recall ("voc07").',
            recorded=True,
        ),
    ]
    compatibility: Annotated[
        Compatibility | None,
        Option(
            None,
            "ml-gcn: classes never predicted count in OP as in that code.",
            '"ml-gcn" counts classes never predicted in OP as that code does; None: they add nothing.',
            recorded=True,
            shown=False,
        ),
    ]


class Baselines(TypedDict, total=False):
    """Baselines of an evaluation."""

    beside: Beside
    untrained_norms: UntrainedNorms


class LabeledOptions(
    LabeledImages, ResultFolder, ReadLabels, FeatureOptions, Baselines, Normalization, ComputingOptions, total=False
):
    """Options of every evaluation on labeled images."""

    backbone: Architecture


class LinearProtocol(TypedDict, total=False):
    """Resuming and recipe of a linear evaluation."""

    resume: Annotated[
        bool,
        Option(
            False,
            "Continue an evaluation that was stopped, in --out.",
            "continue an evaluation that was stopped, in ``out``; on a CPU the figures equal those of an uninterrupted "
            "one to the bit.",
        ),
    ]
    recipe: Annotated[
        str,
        Option(
            "logistic",
            "logistic: logistic regression, C by cross-validation. Heads trained with SGD: sgd; paper, its exact "
            "protocol; released, the authors' code; voc, their code for Pascal VOC.",
            '"logistic", logistic regression with C chosen by cross-validation on the training labels; or a head '
            'trained with SGD: "sgd", with a learning rate that fits the number of classes, "paper", the paper\'s '
            'exact protocol, "released", that of the authors\' code, "voc", that of their code for Pascal VOC.',
            recorded=True,
        ),
    ]


class LinearFeatures(TypedDict, total=False):
    """Pooling and input transform of the features of a linear evaluation."""

    pool: Annotated[
        str,
        Option(
            "gamp",
            "gamp, avg, max, avg_minus_max or cat; or attention, learned with the recipe's head.",
            '"gamp" (the mean of global average and maximum pooling), "avg", "max", "avg_minus_max" or "cat"; with '
            'heads trained with SGD also "attention", softmax attention of queries that are learned with the head.',
        ),
    ]
    layer: Layer
    size: Size
    crop: Annotated[
        str | None,
        Option(
            None,
            f"{_CROPS}; unset: warp, or the recipe's.",
            f'{_CROPS_IN_PYTHON}; unset: "warp", or the recipe\'s.',
            shown=False,
        ),
    ]


class Regularization(TypedDict, total=False):
    """Regularization of logistic regression."""

    cost: Annotated[
        float | int | None,
        Option(
            None,
            "C of logistic regression; unset: chosen by cross-validation.",
            "C of logistic regression, the weight of the summed loss; unset: chosen by cross-validation on the "
            "training labels.",
            shown=False,
        ),
    ]
    cost_by_class: CostByClass


class HeadOptions(TypedDict, total=False):
    """Training of the linear head with SGD."""

    epochs: Annotated[
        int | None,
        Option(None, "Passes over the training images, of heads trained with SGD.", recorded=True, shown="100"),
    ]
    measured: Annotated[
        str | None,
        Option(
            None,
            "Epoch whose head is evaluated: last, or best by validation mAP, which flatters.",
            'epoch whose head is evaluated: "last" (if unset), or "best" by validation mAP, which flatters.',
            recorded=True,
            flags=("--epoch",),
            shown="last",
        ),
    ]
    batch_size: Annotated[
        int | None,
        Option(
            None,
            "Images a step; the learning rate follows it.",
            "images a step, over all processes.",
            recorded=True,
            shown="64",
        ),
    ]
    base_learning_rate: Annotated[
        float | int | None,
        Option(
            None,
            "Learning rate at a batch of 256; unset: the recipe's.",
            recorded=True,
            shown=False,
        ),
    ]
    weight_decay: Annotated[
        float | int | None, Option(None, "Decay of the linear layer; unset: the recipe's.", recorded=True, shown=False)
    ]
    cached: Annotated[
        bool,
        Option(
            False,
            "Train the head on features extracted once, without augmentation; seconds instead of hours.",
            "extract the training features once, without augmentation, and train the head on those: seconds instead of "
            "hours, and another protocol, so its figures compare only with other cached ones.",
            recorded=True,
        ),
    ]
    flips: Annotated[
        bool,
        Option(
            False,
            "With --cached: also features of the mirrored images.",
            "with ``cached``, also extract features of the mirrored images, and take either with probability .5.",
            recorded=True,
        ),
    ]


class Deciding(TypedDict, total=False):
    """Decision rule of the figures at the top level of a linear evaluation."""

    threshold: Annotated[
        float | int | None,
        Option(
            None,
            "Probability from which a class counts as predicted; unset: the recipe's.",
            "probability from which a class counts as predicted, at the top level of the results; unset: the recipe's. "
            'Other rules are under "rules".',
            recorded=True,
            shown=False,
        ),
    ]


class LinearDraws(TypedDict, total=False):
    """Bootstrap and seed of linear evaluation."""

    resamples: Resamples
    seed: Annotated[
        int,
        Option(
            0,
            "Seed of the folds, or of the head's initial weights, order and crops; and of random init.",
            recorded=True,
        ),
    ]


class LinearOptions(
    LabeledImages,
    ResultFolder,
    ReadLabels,
    LinearProtocol,
    LinearFeatures,
    Regularization,
    HeadOptions,
    Deciding,
    Figures,
    Baselines,
    LinearDraws,
    Normalization,
    ComputingOptions,
    total=False,
):
    """Options of ``linear_evaluation`` and ``manyview linear``."""

    backbone: Architecture


class Voting(TypedDict, total=False):
    """Voting of the nearest images."""

    neighbours: Annotated[
        int,
        Option(
            20,
            "Training images that vote on each image.",
            "k, the training images that vote on each image; at most all of them.",
            recorded=True,
        ),
    ]
    temperature: Annotated[
        float | int,
        Option(
            0.07,
            "Of the votes: the smaller, the more the nearest count.",
            "T, above 0; the smaller, the more the nearest count.",
            recorded=True,
        ),
    ]
    threshold: Annotated[
        float | int, Option(0.5, "Share of the votes from which a class counts as predicted.", recorded=True)
    ]
    resamples: Resamples


class KnnDraws(TypedDict, total=False):
    """Seed of the kNN evaluation."""

    seed: Annotated[int, Option(0, "Seed of the bootstrap and of random init.", recorded=True)]


class KnnOptions(
    LabeledImages,
    ResultFolder,
    ReadLabels,
    FeatureOptions,
    Voting,
    Figures,
    Baselines,
    KnnDraws,
    Normalization,
    ComputingOptions,
    total=False,
):
    """Options of ``knn_evaluation`` and ``manyview knn``."""

    backbone: Architecture


class ProbeFolder(TypedDict, total=False):
    """Output folder of the low-label curve."""

    out: Annotated[StrPath | None, Option(None, "Folder for metrics.json and curve.png.")]


class Probing(TypedDict, total=False):
    """Classifiers and amounts of labels."""

    fractions: Annotated[
        Sequence[float | int],
        Option(
            (0.01, 0.1, 1.0),
            "Share of the training images; repeat for several.",
            "shares of the training images, above 0 and up to 1.",
            recorded=True,
            flags=("--fraction",),
            shown="0.01, 0.1 and 1",
        ),
    ]
    seeds: Annotated[
        Sequence[int],
        Option(
            (0, 1, 2),
            "Seed of a draw; repeat for several. The first is also that of random init.",
            "seeds of the draws; the first is also that of random init.",
            recorded=True,
            flags=("--seed",),
            shown="0, 1 and 2",
        ),
    ]
    classifier: Annotated[str, Option("logistic", "logistic or svm (linear).", recorded=True)]
    costs: Annotated[
        Sequence[float | int],
        Option(
            (),
            "C of the classifier; repeat for several to choose from. Unset: chosen among all for logistic, 1 for svm.",
            "values of C; of several, cross-validation chooses one; without any, it chooses among all for "
            '"logistic", and "svm" has 1.',
            recorded=True,
            flags=("--cost",),
            shown=False,
        ),
    ]
    cost_by_class: CostByClass
    scaling: Annotated[
        str | None,
        Option(
            None, "Scaling of the features: standardised or unit; unset: unit for svm only.", recorded=True, shown=False
        ),
    ]


class ProbeOptions(
    LabeledImages,
    ProbeFolder,
    ReadLabels,
    FeatureOptions,
    Probing,
    Figures,
    Baselines,
    Normalization,
    ComputingOptions,
    total=False,
):
    """Options of ``low_label_evaluation`` and ``manyview probe``."""

    backbone: Architecture


class Evaluations(TypedDict, total=False):
    """The evaluations to compare; in Python the first argument."""

    evaluations: Annotated[
        Sequence[StrPath],
        Option(
            (),
            "Folders with the metrics.json of linear, knn or probe, or folders of such.",
            argument="evaluations",
            shown=False,
        ),
    ]


class CompareOptions(TypedDict, total=False):
    """Options of ``compare`` and ``manyview compare``."""

    groups: Annotated[
        Mapping[str, Sequence[StrPath]] | None,
        Option(
            None,
            "Evaluations that differ in seeds alone, or a pattern; repeat for several.",
            "evaluations in groups by name, used as given. A group may hold one evaluation.",
            flags=("--group",),
            metavar="NAME=A,B,...",
            parsed=list[str],
        ),
    ]
    baseline: Annotated[str | None, Option(None, "Group that differences refer to; unset: the first.", shown=False)]
    classes: Annotated[
        int | None,
        Option(
            20,
            "Classes to show, those that differ most; a number, or all.",
            "how many the picture shows, those of the largest mean difference; None for all. All are in the files.",
            parsed=str,
        ),
    ]
    out: Annotated[StrPath | None, Option(None, "Folder for metrics.json, comparison.md, .csv and .png.", shown=False)]
