from __future__ import annotations

from tests.helpers.starting import first, small, tiles, weights
from tests.helpers.tiny import photos

__all__ = ["first", "photos", "small", "tiles", "weights"]
