from __future__ import annotations

from tests.helpers.tiny import labels, photos

__all__ = ["labels", "photos"]
