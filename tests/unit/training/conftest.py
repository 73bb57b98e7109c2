from __future__ import annotations

from tests.helpers.starting import first, small, tiles, weights
from tests.helpers.tiny import labels, photos

__all__ = ["first", "labels", "photos", "small", "tiles", "weights"]
