"""The list of a large folder as it was found, kept until the folder changes."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from manyview.errors import UserError
from manyview.images.sources.kept import LARGE, keep, kept_file, open_kept
from manyview.images.sources.names import Names
from manyview.images.sources.scan import Found, stamp
from manyview.images.sources.stats import FileStats

CHECK_FILES = "MANYVIEW_CHECK_FILES"
"""Environment variable: 0 to take sizes and times of a kept list's files from it, without a look at each file."""

_SETTLED = 2.0  # seconds after which a second change of a folder has another time on any file system


class KeptList:
    """Names, sizes and times of a collection's files in two files of the cache.

    Args:
        root: folder of the images.
        of: what else decides which files of the folder are listed.
    """

    def __init__(self, root: Path, *of: str) -> None:
        words = (str(root.absolute()), *of)
        self._names_file, self._stats_file = (kept_file(*words, suffix=suffix) for suffix in ("names", "stats"))
        self._root, self._digest = root, ""

    def read_names(self) -> tuple[Names, dict[str, Any]] | None:
        """The kept names and what was said about them, if no folder has changed since."""
        kept = None if self._names_file is None else open_kept(self._names_file)
        if kept is None or not self._is_current(kept.arrays):
            return None
        self._digest = kept.about["digest"]
        return Names.of(kept.arrays["buffer"], kept.arrays["offsets"]), kept.about

    def keep_names(self, names: Names, about: Mapping[str, Any], found: Found | None = None) -> str:
        """Keep names, if they are many; returns what is to be said of it.

        Args:
            names: to keep.
            about: what to say about them.
            found: by which search; None for names that a list gave.
        """
        if self._names_file is None or len(names) < LARGE:
            return ""
        if found is not None and _changed_just_now(found.stamps):
            return ""
        digest = hashlib.sha256(names.buffer.data)
        digest.update(names.offsets.data)
        arrays = {"buffer": names.buffer, "offsets": names.offsets}
        if found is not None:
            folders = {"folders": found.folders.buffer, "folder_offsets": found.folders.offsets}
            arrays |= folders | {"stamps": found.stamps}
        failed = keep(self._names_file, {**about, "digest": digest.hexdigest()}, arrays)
        if failed:
            return f"The list of images is not kept for the next time: {failed}."
        self._digest = digest.hexdigest()
        return f"The list of images is kept in {self._names_file} for the next time."

    def read_stats(self) -> tuple[FileStats, str] | None:
        """Kept sizes and times of the names that were read or kept here, and the fingerprint that follows."""
        kept = None if self._stats_file is None or not self._digest else open_kept(self._stats_file)
        if kept is None or kept.about["digest"] != self._digest:
            return None
        return FileStats(kept.arrays["sizes"], kept.arrays["changed"]), kept.about["fingerprint"]

    def keep_stats(self, stats: FileStats, fingerprint: str) -> None:
        """Keep sizes and times of the names that were read or kept here."""
        if self._stats_file is not None and self._digest:
            about = {"digest": self._digest, "fingerprint": fingerprint}
            keep(self._stats_file, about, {"sizes": stats.sizes, "changed": stats.changed})

    def shared(self) -> tuple[Path, str] | None:
        """The file by which another process finds these names, and their digest."""
        return None if self._names_file is None or not self._digest else (self._names_file, self._digest)

    def _is_current(self, arrays: Mapping[str, np.ndarray]) -> bool:
        """Whether no folder has changed."""
        if "stamps" not in arrays:
            return True
        folders = Names.of(arrays["folders"], arrays["folder_offsets"])
        try:
            return all(
                stamp(self._root / folder) == tuple(then)
                for folder, then in zip(folders, arrays["stamps"].tolist(), strict=True)
            )
        except OSError:
            return False


def open_shared(file: Path, digest: str) -> Names:
    """The names of ``KeptList.shared`` in another process.

    Raises:
        UserError: the list was replaced meanwhile.
    """
    kept = open_kept(file, check=False)
    if kept is None or kept.about["digest"] != digest:
        raise UserError(f"the list of images {file} was replaced while it was used: start again")
    return Names.of(kept.arrays["buffer"], kept.arrays["offsets"])


def looks_at_files() -> bool:
    """Whether each file of a kept list is looked at, to see whether it has changed."""
    return os.environ.get(CHECK_FILES) != "0"


def _changed_just_now(stamps: Int64[np.ndarray, "folders 2"]) -> bool:
    """Whether a folder changed so shortly ago that a further change might have the same time."""
    return bool(time.time() - stamps[:, 0].max(initial=0) / 1e9 < _SETTLED)
