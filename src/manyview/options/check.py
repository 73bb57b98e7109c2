"""Options of ``check``, which looks at images and labels before a run."""

# The annotations are evaluated at run time: no ``from __future__ import annotations`` here.
from collections.abc import Sequence
from typing import Annotated, TypedDict

from manyview.options.base import Option, StrPath
from manyview.options.pretrain import SettingsOptions
from manyview.options.shared import ClassNames, ImageColumn, LabelColumn, LabelSeparator


class CheckSettings(TypedDict, total=False):
    """What is looked at, and how thoroughly."""

    labels: Annotated[
        Sequence[StrPath],
        Option(
            (),
            "A label file or folder of some of PHOTOS; may be given several times, as for train and validation. Of a "
            "data.yaml, all splits are read.",
            "label files or folders of some of the images, such as those of train and validation; of a data set's YAML "
            "file, all its splits are read.",
        ),
    ]
    class_names: ClassNames
    label_separator: LabelSeparator
    image_column: ImageColumn
    label_column: LabelColumn
    sample: Annotated[
        int,
        Option(
            20_000,
            "Images that are decoded and compared as pictures; of more, a random sample. Identical files are found "
            "among all.",
            minimum=2,
        ),
    ]
    pace: Annotated[bool, Option(True, "Measure a few steps, for the time and memory that a run would take.")]


class CheckOptions(CheckSettings, SettingsOptions, total=False):
    """Options of ``check_images`` and ``manyview check``."""


class CheckResult(TypedDict, total=False):
    """Option of the command alone."""

    out: Annotated[StrPath | None, Option(None, "JSON file to write the result to.", shown=False)]
