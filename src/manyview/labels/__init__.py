"""Image labels and objects, read from CSV, COCO, Pascal VOC and YOLO files."""

from __future__ import annotations

from manyview.labels.masks import Rle, decode_masks, encode_mask
from manyview.labels.objects import DetectionLabels, Objects
from manyview.labels.read_image_labels import ImageLabels, read_labels
from manyview.labels.read_objects import read_annotations
from manyview.labels.table import LabelTable
from manyview.labels.yolo import DataFile, check_split, image_folder, is_data_file, validation_labels
from manyview.options.shared import Difficult, Problems

__all__ = [
    "DataFile",
    "DetectionLabels",
    "Difficult",
    "ImageLabels",
    "LabelTable",
    "Objects",
    "Problems",
    "Rle",
    "check_split",
    "decode_masks",
    "encode_mask",
    "image_folder",
    "is_data_file",
    "read_annotations",
    "read_labels",
    "validation_labels",
]
