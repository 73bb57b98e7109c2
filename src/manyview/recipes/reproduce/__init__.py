"""Whole tables and curves: the runs and evaluations they need, their figures beside published ones."""

from manyview.recipes.reproduce.run import reproduce

__all__ = ["reproduce"]
