"""Detectors around a backbone, built of torchvision's detection components."""

from manyview.detection.models.build import WeightMatch, build_detector, match_weights
from manyview.detection.models.detector import Detector

__all__ = ["Detector", "WeightMatch", "build_detector", "match_weights"]
