from __future__ import annotations

from tests.helpers.tiny import photos

__all__ = ["photos"]
