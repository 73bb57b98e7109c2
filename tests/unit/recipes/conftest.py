from __future__ import annotations

from tests.helpers.tiny import photographs

__all__ = ["photographs"]
