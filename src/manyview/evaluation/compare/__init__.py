"""Evaluations side by side: mean and deviation over seeds, differences by class, tables and a picture."""

from manyview.evaluation.compare.compare import compare
from manyview.evaluation.compare.tables import format_comparison

__all__ = ["compare", "format_comparison"]
