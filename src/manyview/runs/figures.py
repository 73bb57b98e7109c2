"""Figures in results of evaluations: their names, where they stand, and what they are."""

from __future__ import annotations

MULTI_LABEL = ("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1")
"""Figures of multi-label classification."""

MULTI_LABEL_LEGEND = (
    "mAP: mean average precision of the classes. OP, OR, OF1: precision, recall and F1 over all labels; CP, CR: their "
    "means over the classes, CF1: the F1 of these two."
)

DETECTION = {
    "box AP": ("box", "AP"),
    "AP50": ("box", "AP50"),
    "AP75": ("box", "AP75"),
    "VOC AP50": ("voc", "AP50"),
    "mask AP": ("mask", "AP"),
    "mask AP50": ("mask", "AP50"),
}
"""Figures of a detector that tables show: title, then protocol and key in its results."""
