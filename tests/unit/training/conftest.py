from __future__ import annotations

from starting import first, small, tiles, weights
from tiny import photographs

__all__ = ["first", "photographs", "small", "tiles", "weights"]
