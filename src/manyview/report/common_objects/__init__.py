"""Share of positive pairs whose views show a common object, by type of cropping (Figure 1, counted)."""

from manyview.report.common_objects.croppings import OVERLAPS, Cropping, croppings
from manyview.report.common_objects.measures import PairMeasures, measure_pairs
from manyview.report.common_objects.summary import summarize
from manyview.report.common_objects.tables_and_curve import draw_curve, format_count

__all__ = [
    "OVERLAPS",
    "Cropping",
    "PairMeasures",
    "croppings",
    "draw_curve",
    "format_count",
    "measure_pairs",
    "summarize",
]
