"""Where the images and the validation labels of an evaluation are, which a data set's YAML file says by itself."""

from __future__ import annotations

import os
from pathlib import Path

from manyview.errors import UserError
from manyview.images import ImageRoot, image_root
from manyview.labels.yolo.data_file import DataFile, is_data_file
from manyview.labels.yolo.names import data_files
from manyview.options.base import StrPath


def image_folder(labels: StrPath, images: StrPath | ImageRoot | None) -> ImageRoot:
    """The folder that the names of images are relative to.

    Args:
        labels: the label file or folder.
        images: the folder, or shards, as given; None: that of the images that a data set's YAML file names.

    Raises:
        UserError: none is given, and the labels do not say where their images are.
    """
    if images is not None:
        return image_root(images)
    file = Path(labels)
    if is_data_file(file):
        return DataFile.read(file).root
    raise UserError(
        f"--images is missing: give the folder that the names in {file} are relative to; {_described(file)} says by "
        "itself where its images are"
    )


def validation_labels(train: StrPath, val: StrPath | None) -> Path:
    """The validation labels as given, or the YAML file of the training labels, which names those, too.

    Raises:
        UserError: there are none.
    """
    if val is not None:
        return Path(val)
    if is_data_file(Path(train)):
        return Path(train)
    raise UserError(
        f"--val-labels is missing: {train} has training labels alone; give those of other images, or as --train-labels "
        f"{_described(Path(train))}, which has both"
    )


def _described(labels: Path) -> str:
    """A data set's YAML file beside labels or up to two levels above them, or words for one in general."""
    near = (labels, *list(labels.absolute().parents)[:2])
    found = next((file for folder in near if folder.is_dir() for file in data_files(folder)), None)
    return "a data.yaml" if found is None else os.path.relpath(found)


def check_split(labels: Path, split: str) -> str:
    """The split to measure on, "val" unless the labels are a data set's YAML file.

    Raises:
        UserError: there is no such split, or the labels have none.
    """
    if split not in ("val", "test"):
        raise UserError(f"--val-split must be val or test, not {split!r}")
    if split != "val" and not is_data_file(labels):
        raise UserError(f"--val-split is for a data.yaml, which {labels} is not: leave it out")
    return split
