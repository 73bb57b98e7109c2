from __future__ import annotations

from tests.helpers.coarse import coarse_pictures
from tests.helpers.tiny import labels, photos

__all__ = ["coarse_pictures", "labels", "photos"]
