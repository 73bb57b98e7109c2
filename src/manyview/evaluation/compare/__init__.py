"""Comparison of evaluations: mean and standard deviation over seeds, differences by class, tables and a figure."""

from manyview.evaluation.compare.compare import compare
from manyview.evaluation.compare.tables import format_comparison

__all__ = ["compare", "format_comparison"]
