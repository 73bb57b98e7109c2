"""Detectors around a backbone, built of torchvision's detection components."""

from manyview.detection.models.build import build_detector
from manyview.detection.models.detector import Detector
from manyview.detection.models.weight_check import Landing, landed

__all__ = ["Detector", "Landing", "build_detector", "landed"]
