from __future__ import annotations

from tiny import photographs

__all__ = ["photographs"]
