"""Rendered scenes with image labels, boxes and masks, for tests, benchmarks and the demo."""

from __future__ import annotations

from manyview.scenes.places import CATEGORIES
from manyview.scenes.render import render_scene
from manyview.scenes.write import write_scenes

__all__ = ["CATEGORIES", "render_scene", "write_scenes"]
