"""Images that are there twice: files with the same bytes, within a folder and between training and validation."""

from __future__ import annotations

import functools
import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyview.errors import first_few
from manyview.images.files import ImageFiles
from manyview.images.sources.opening import opened
from manyview.images.sources.root import ImagePath
from manyview.images.unreadable import UnreadableImage

_ENDS = 2**16  # bytes from the beginning and the end of a file that are compared first
_RECORDED = 10  # copies that a record names

PathOf = Callable[[int], ImagePath]
"""Returns the path of an image by its index."""


def identical_files(files: ImageFiles) -> list[list[int]]:
    """Groups of indices of files with the same bytes; only what has the same size, and then the same ends, is read."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for index, size in enumerate(files.stats().sizes.tolist()):
        by_size[size].append(index)
    # Of files that are not there the size is negative, and of some shards' members, whose sizes only reading tells.
    return _identical(files.path, [group for size, group in by_size.items() if size and len(group) > 1])


@dataclass(frozen=True)
class SharedImages:
    """Images that training and validation share.

    Attributes:
        train: training images.
        val: validation images.
        same: index of the training image that each validation image is, of those that are one.
        copies: index of a training image with the same bytes, of other validation images that have one.
    """

    train: ImageFiles
    val: ImageFiles
    same: Mapping[int, int]
    copies: Mapping[int, int]

    @functools.cached_property
    def twins(self) -> dict[int, list[int]]:
        """Indices of all training images that a validation image is or has the bytes of, of those that have any."""
        known = {**self.copies, **self.same}
        wanted, sizes = set(known.values()), self.train.stats().sizes
        by_size: dict[int, list[int]] = defaultdict(list)
        for index in np.flatnonzero(np.isin(sizes, sizes[list(wanted)])).tolist() if wanted else ():
            by_size[int(sizes[index])].append(index)
        groups = _identical(self.train.path, [group for size, group in by_size.items() if size and len(group) > 1])
        group_of = {index: group for group in groups for index in group}
        return {index: group_of.get(twin, [twin]) for index, twin in known.items()}

    def describe(self) -> dict[str, Any]:
        """The number of images that are both, and of copies, if there are any, with the first of them: plain data."""
        described: dict[str, Any] = {"images_in_both": len(self.same)}
        if self.copies:
            first = [[self.val[one], self.train[other]] for one, other in sorted(self.copies.items())[:_RECORDED]]
            described["copies_in_both"] = {"count": len(self.copies), "first": first}
        return described


def find_shared(train: ImageFiles, val: ImageFiles) -> SharedImages:
    """Find validation images that are also training images: the same file, or another with the same bytes.

    Only files whose size another one of the other side has, and then the same ends, are read.
    """
    index_of = {path.resolve(): index for index, path in enumerate(_paths(train))}
    resolved = [path.resolve() for path in _paths(val)]
    same = {index: index_of[path] for index, path in enumerate(resolved) if path in index_of}
    return SharedImages(train, val, same, _copies(train, val, same))


def _copies(train: ImageFiles, val: ImageFiles, same: Mapping[int, int]) -> dict[int, int]:
    """Index of a training image with the same bytes, for validation images that have one and are none themselves."""
    count, sizes, others = len(train), train.stats().sizes, val.stats().sizes
    common = np.setdiff1d(np.intersect1d(sizes, others), [0])
    by_size: dict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero(np.isin(sizes, common)).tolist():
        by_size[int(sizes[index])].append(index)
    for index in np.flatnonzero(np.isin(others, common)).tolist():
        if index not in same:
            by_size[int(others[index])].append(count + index)

    def path(index: int) -> ImagePath:
        return train.path(index) if index < count else val.path(index - count)

    groups = _identical(path, [group for group in by_size.values() if group[-1] >= count])
    return {index - count: group[0] for group in groups if group[0] < count for index in group if index >= count}


def flattering(protocol: Mapping[str, Any], validation: int, consequence: str = "these figures flatter") -> list[str]:
    """A sentence on validation images that are also training images; none if there are none.

    Args:
        protocol: with what ``SharedImages.describe`` says.
        validation: number of validation images.
        consequence: what follows.
    """
    named, copied = protocol.get("images_in_both", 0), protocol.get("copies_in_both")
    copies = copied["count"] if copied else 0
    if not named + copies:
        return []
    examples = first_few([" = ".join(pair) for pair in copied["first"]]) if copied else ""
    how = f", {copies:,} of them as identical files of another name ({examples})" if copied else ""
    is_are = "is also a training image" if named + copies == 1 else "are also training images"
    return [f"{named + copies:,} of {validation:,} validation images {is_are}{how}: {consequence}."]


def _paths(files: ImageFiles) -> Iterator[ImagePath]:
    return (files.path(index) for index in range(len(files)))


def _identical(path: PathOf, groups: list[list[int]]) -> list[list[int]]:
    """Groups of files with the same bytes, of groups of files with the same size."""
    for whole in (False, True):
        groups = [same for group in groups for same in _equal(path, group, whole=whole)]
    return sorted(groups)


def _equal(path: PathOf, group: Sequence[int], *, whole: bool) -> Iterator[list[int]]:
    by_digest: dict[bytes, list[int]] = defaultdict(list)
    for index in group:
        digest = _digest(path(index), whole=whole)
        if digest is not None:
            by_digest[digest].append(index)
    return (same for same in by_digest.values() if len(same) > 1)


def _digest(path: ImagePath, *, whole: bool) -> bytes | None:
    """A hash of a file or of its ends; None where it cannot be read, which is reported elsewhere."""
    try:
        with opened(path) as file:
            if whole:
                return hashlib.file_digest(file, "blake2b").digest()
            begin = file.read(_ENDS)
            file.seek(max(file.seek(0, os.SEEK_END) - _ENDS, 0))
            return hashlib.blake2b(begin + file.read(_ENDS)).digest()
    except UnreadableImage:
        return None
