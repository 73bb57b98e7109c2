from __future__ import annotations

from tests.helpers.starting import first, small, tiles, weights
from tests.helpers.tiny import photographs

__all__ = ["first", "photographs", "small", "tiles", "weights"]
