"""The objects of photographs, from COCO instances files, Pascal VOC annotations and YOLO text files."""

from __future__ import annotations

from manyview.transfer.annotations.labels import DetectionLabels, Objects
from manyview.transfer.annotations.masks import Rle, decode_masks, encode_mask
from manyview.transfer.annotations.reading import read_annotations

__all__ = ["DetectionLabels", "Objects", "Rle", "decode_masks", "encode_mask", "read_annotations"]
