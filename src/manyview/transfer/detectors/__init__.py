"""Detectors around a backbone, built of torchvision's detection components."""

from manyview.transfer.detectors.build import ARCHITECTURES, build_detector
from manyview.transfer.detectors.detector import Detector
from manyview.transfer.detectors.landing import Landing, landed

__all__ = ["ARCHITECTURES", "Detector", "Landing", "build_detector", "landed"]
