"""Average precision of detections by the protocols of COCO and Pascal VOC, and COCO's result files."""

from __future__ import annotations

from manyview.transfer.average_precision.coco import coco_average_precision
from manyview.transfer.average_precision.results import read_results, to_coco_results, write_results
from manyview.transfer.average_precision.voc import voc_average_precision

__all__ = ["coco_average_precision", "read_results", "to_coco_results", "voc_average_precision", "write_results"]
