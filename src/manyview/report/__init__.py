"""Pictures and pages of a run's views and results."""

from manyview.report.shown import ShownImage, show
from manyview.report.views_page import views_page
from manyview.report.views_picture import draw_views, views_picture

__all__ = ["ShownImage", "draw_views", "show", "views_page", "views_picture"]
