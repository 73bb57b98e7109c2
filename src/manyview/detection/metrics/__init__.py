"""Average precision of detections by the protocols of COCO and Pascal VOC, and COCO's result files."""

from __future__ import annotations

from manyview.detection.metrics.coco import coco_average_precision
from manyview.detection.metrics.results import read_results, to_coco_results, write_results
from manyview.detection.metrics.voc import voc_average_precision

__all__ = ["coco_average_precision", "read_results", "to_coco_results", "voc_average_precision", "write_results"]
