"""Options of ``embed``, ``neighbours`` and ``check-weights``, which take images without labels."""

# The types are read when the program runs: no annotation here may be put off by ``from __future__``.
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Required, TypedDict

from manyview.options.base import REQUIRED, Option, StrPath
from manyview.options.shared import Architecture, ComputingOptions, Pool, Result, Size

if TYPE_CHECKING:
    from torch import nn


class ImageFolder(TypedDict, total=False):
    """Of which images."""

    images: Required[
        Annotated[
            StrPath,
            Option(REQUIRED, "Folder of images, searched recursively.", recorded=True, argument="photos"),
        ]
    ]


class Embedding(TypedDict, total=False):
    """Which features of which images are written, and how."""

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
    size: Size
    patches: Annotated[bool, Option(False, "Write the feature maps too: the features of each place.")]
    list: Annotated[StrPath | None, Option(None, "Text or CSV file that names the images to take.", recorded=True)]
    dtype: Annotated[str, Option("float32", "Of what is written: float32 or float16.", recorded=True)]
    batch_size: Annotated[int, Option(64, "Images at a time.")]
    max_bad_fraction: Annotated[
        float | int,
        Option(
            0.05,
            "Share of unreadable images above which nothing is written.",
            "share of unreadable images, from 0 to 1, above which nothing is written.",
        ),
    ]


class EmbedOptions(ImageFolder, Embedding, ComputingOptions, total=False):
    """Options of ``embed`` and ``manyview embed``."""

    backbone: Architecture


class Picture(TypedDict, total=False):
    """What only the command takes: it draws what the Python function finds."""

    out: Required[
        Annotated[StrPath, Option(REQUIRED, "Picture to write (.png); what it shows lies beside it as .json.")]
    ]


class Search(TypedDict, total=False):
    """What is searched for, and among which features."""

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
            "Neighbours of each query.",
            "neighbours of each query, at least 1; fewer if there are fewer others.",
            recorded=True,
            flags=("--k",),
        ),
    ]
    features: Annotated[
        StrPath | None,
        Option(
            None,
            "File that manyview embed wrote with these weights, to take features from.",
            "a file that ``embed`` wrote with these weights: its features are taken instead of making them again, and "
            "its images are those that are searched. Not with ``blocks`` or ``list``.",
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
        Option(None, "Side of the inputs in pixels; unset: 224.", "S, at least 8; unset: 224, or as in the file."),
    ]
    seed: Annotated[int, Option(0, "Of the draw of queries.", recorded=True)]
    batch_size: Annotated[int, Option(64, "Images, or blocks, at a time.")]


class NeighboursOptions(ImageFolder, Search, ComputingOptions, total=False):
    """Options of ``nearest_neighbours`` and ``manyview neighbours``."""

    backbone: Architecture


class SampleOptions(TypedDict, total=False):
    """Of which images weights are checked."""

    images: Required[
        Annotated[
            StrPath,
            Option(
                REQUIRED,
                "Folder of images, searched recursively.",
                "folder of images, searched recursively; any will do, those trained on too.",
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
            "images to measure, drawn by the seed; fewer if there are fewer. Those that cannot be read are left "
            "out and counted. Ranks grow with their number: compare only figures of equally many.",
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
    """What only the command takes; the Python function takes the views themselves."""

    recipe: Annotated[
        str | None,
        Option(None, "Whose views alignment is measured on; unset: the run's own, or simsiam's.", shown=False),
    ]


class CheckDraws(TypedDict, total=False):
    """What weights are compared with, and what is random."""

    random_init: Annotated[
        bool,
        Option(
            True,
            "Measure an untrained backbone of the same kind beside it.",
            "measure an untrained network of the same architecture beside it, without which the diagnosis can say "
            "little. A module of one's own has none. Its batch norms, which have kept no statistics yet, normalize by "
            "each batch, as in training.",
        ),
    ]
    seed: Annotated[int, Option(0, "Of the sample, the views and the untrained backbone.", recorded=True)]


class CheckWeightsOptions(SampleOptions, CheckDraws, ComputingOptions, total=False):
    """Options of ``check_weights`` and ``manyview check-weights``."""

    backbone: Annotated[
        "str | nn.Module | None",
        Option(
            None,
            "Architecture, where the weights do not say it themselves.",
            "architecture, where the weights do not say it themselves; for a module of one's own that module, of which "
            "a copy is measured.",
            parsed=str | None,
        ),
    ]
