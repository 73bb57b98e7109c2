"""YOLO's label files, and the YAML files that describe data sets of them."""

from __future__ import annotations

from manyview.labels.yolo.data_file import DataFile, is_data_file
from manyview.labels.yolo.reading import FORMAT, are_yolo, is_object
from manyview.labels.yolo.splits import check_split, image_folder, validation_labels

__all__ = [
    "FORMAT",
    "DataFile",
    "are_yolo",
    "check_split",
    "image_folder",
    "is_data_file",
    "is_object",
    "validation_labels",
]
