"""Random views of images: block geometry, sampling of parameters, rendering."""

from manyview.views.geometry import Box, block_boxes, largest_shrink
from manyview.views.normalization import normalize, normalize_channels_last
from manyview.views.render import crop_views, render_view, render_views
from manyview.views.sampling import (
    ColorJitter,
    ViewParameters,
    sample_groups,
    sample_view,
    sample_views,
    shrink_crops,
    views_per_image,
)
from manyview.views.transform import BlockViews

__all__ = [
    "BlockViews",
    "Box",
    "ColorJitter",
    "ViewParameters",
    "block_boxes",
    "crop_views",
    "largest_shrink",
    "normalize",
    "normalize_channels_last",
    "render_view",
    "render_views",
    "sample_groups",
    "sample_view",
    "sample_views",
    "shrink_crops",
    "views_per_image",
]
