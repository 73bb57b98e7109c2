"""Options of the verbs that take no labels: ``embed``, ``neighbours``, ``check-weights`` and ``export``."""

# The annotations are evaluated at run time: no ``from __future__ import annotations`` here.
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Required, TypedDict

from manyview.options.base import REQUIRED, Option, StrPath
from manyview.options.shared import Architecture, ComputingOptions, Layer, Normalization, Pool, Result, Size

if TYPE_CHECKING:
    from torch import nn


class ImageFolder(TypedDict, total=False):
    """The images to process."""

    images: Required[
        Annotated[
            StrPath,
            Option(REQUIRED, "Folder of images, searched recursively, or shards.", recorded=True, argument="photos"),
        ]
    ]


class Embedding(TypedDict, total=False):
    """Features to extract and the file to write."""

    out: Required[
        Annotated[
            StrPath,
            Option(
                REQUIRED,
                "File to write: .parquet or .npz.",
                "the file to write, ``.parquet`` or ``.npz``; neither it nor its record may exist.",
            ),
        ]
    ]
    pool: Pool
    layer: Layer
    size: Size
    patches: Annotated[bool, Option(False, "Also write the feature maps before pooling.")]
    list: Annotated[StrPath | None, Option(None, "Text or CSV file that names the images to take.", recorded=True)]
    dtype: Annotated[str, Option("float32", "Type of the features: float32 or float16.", recorded=True)]
    batch_size: Annotated[int, Option(64, "Images at a time.")]
    max_bad_fraction: Annotated[
        float | int,
        Option(
            0.05,
            "Share of unreadable images above which nothing is written.",
            "share of unreadable images, from 0 to 1, above which nothing is written.",
        ),
    ]


class EmbedOptions(ImageFolder, Embedding, Normalization, ComputingOptions, total=False):
    """Options of ``embed`` and ``manyview embed``."""

    backbone: Architecture


class Picture(TypedDict, total=False):
    """Option of the command alone, which draws the result of the Python function."""

    out: Required[Annotated[StrPath, Option(REQUIRED, "Picture to write (.png), with a .json of its content.")]]


class Search(TypedDict, total=False):
    """Queries, number of neighbors and features to search."""

    query: Annotated[
        Sequence[str],
        Option(
            (),
            "A query image, relative to PHOTOS; may be given several times.",
            "names of the query images, relative to the folder; none: some are drawn by the seed.",
        ),
    ]
    queries: Annotated[int, Option(6, "Queries to draw by the seed, where none is named.")]
    blocks: Annotated[bool, Option(False, "The four blocks of each query, among blocks of other images.")]
    k: Annotated[
        int,
        Option(
            6,
            "Neighbors of each query.",
            "neighbors of each query, at least 1; fewer if there are fewer others.",
            recorded=True,
            flags=("--k",),
        ),
    ]
    features: Annotated[
        StrPath | None,
        Option(
            None,
            "File that manyview embed wrote with these weights, whose features are searched.",
            "a file that ``embed`` wrote with these weights: its features and images are searched, and nothing "
            "is extracted. Not with ``blocks`` or ``list``.",
        ),
    ]
    list: Annotated[StrPath | None, Option(None, "Text or CSV file that names the images to search.", recorded=True)]
    pool: Annotated[
        str | None,
        Option(
            None,
            "gamp (default), avg, max, avg_minus_max or cat.",
            '"gamp" (unset), "avg", "max", "avg_minus_max" or "cat"; with ``features``, unset: as in the file.',
            shown=False,
        ),
    ]
    size: Annotated[
        int | None,
        Option(
            None,
            "Side of the inputs in pixels; unset: of the run's views, or 224.",
            "S, at least 8; unset: that of the run's views, 224 for other weights, with ``features`` that of the file.",
            shown=False,
        ),
    ]
    seed: Annotated[int, Option(0, "Seed of the draw of queries.", recorded=True)]
    batch_size: Annotated[int, Option(64, "Images, or blocks, at a time.")]


class NeighboursOptions(ImageFolder, Search, Normalization, ComputingOptions, total=False):
    """Options of ``nearest_neighbours`` and ``manyview neighbours``."""

    backbone: Architecture


class SampleOptions(TypedDict, total=False):
    """Images to measure the weights on."""

    images: Required[
        Annotated[
            StrPath,
            Option(
                REQUIRED,
                "Folder of images, searched recursively.",
                "folder of images, searched recursively; the training images will do.",
            ),
        ]
    ]
    list: Annotated[StrPath | None, Option(None, "Text or CSV file that names the images to draw from.")]
    out: Result
    sample: Annotated[
        int,
        Option(
            1000,
            "Images to measure.",
            "images to measure, drawn by the seed; fewer if there are fewer. Unreadable ones are left out and "
            "counted. Ranks grow with the number of images: compare only figures of equally many.",
        ),
    ]
    size: Annotated[
        int | None,
        Option(
            None,
            "Side of the inputs in pixels; unset: of the run's views, or 224.",
            "S, in pixels, at least 8; unset: that of the run's views, or where there is no run, of ``views``.",
        ),
    ]


class CheckedViews(TypedDict, total=False):
    """Option of the command alone; the Python function takes a ``ViewsConfig``."""

    recipe: Annotated[
        str | None,
        Option(None, "Recipe whose views alignment is measured on; unset: the run's own, or simsiam's.", shown=False),
    ]


class CheckDraws(TypedDict, total=False):
    """Untrained baseline and seed."""

    random_init: Annotated[
        bool,
        Option(
            True,
            "Also measure random init of the same architecture.",
            "also measure an untrained network of the same architecture, without which the diagnosis can say little. "
            "A module of one's own has none. Its batch norms, which have kept no statistics yet, normalize by "
            "each batch, as in training.",
        ),
    ]
    seed: Annotated[int, Option(0, "Seed of the sample, the views and the untrained backbone.", recorded=True)]


class CheckWeightsOptions(SampleOptions, CheckDraws, Normalization, ComputingOptions, total=False):
    """Options of ``check_weights`` and ``manyview check-weights``."""

    backbone: Annotated[
        "str | nn.Module | None",
        Option(
            None,
            "Architecture, if the weights do not name it.",
            "architecture, if the weights do not name it; for a module of one's own that module, of which "
            "a copy is measured.",
            parsed=str | None,
        ),
    ]


class ExportedFile(TypedDict, total=False):
    """Format and output file of an exported backbone."""

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
                "The file to write, or for huggingface and ultralytics the folder.",
                'the file to write, with the format\'s ending, or for "ultralytics" and "huggingface" the folder. It '
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


class ExportOptions(ExportedFile, Normalization, total=False):
    """Options of ``export_backbone`` and ``manyview export``."""
