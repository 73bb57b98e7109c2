"""Detectors around a backbone, built of torchvision's detection components."""

from manyview.imports import import_lightly

import_lightly("torchvision.models.detection")  # before the parts that are built of it

from manyview.detection.models.build import WeightMatch, build_detector, match_weights  # noqa: E402
from manyview.detection.models.detector import Detector  # noqa: E402

__all__ = ["Detector", "WeightMatch", "build_detector", "match_weights"]
