"""Pictures and pages of what a run sees and what came out of it."""

from manyview.report.views_picture import draw_views

__all__ = ["draw_views"]
