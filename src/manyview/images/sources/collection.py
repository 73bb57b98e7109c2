"""A collection of images in shards, which takes the place of a folder."""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from manyview.errors import first_few
from manyview.images.sources.names import Names, plain_arrays
from manyview.images.sources.shards import ShardFormat, ShardReader, why
from manyview.images.sources.stats import ABSENT, FileStats
from manyview.images.sources.stores import Shard, is_address
from manyview.images.unreadable import UnreadableImage

_OPEN = 64  # shards that a process keeps open


@dataclass(frozen=True, slots=True)
class Member:
    """An image in a collection, where otherwise a path of a file is: ``collection / name``."""

    collection: Collection
    name: str

    def __str__(self) -> str:
        return f"{self.collection}/{self.name}"

    def read_bytes(self) -> bytes:
        """The encoded image.

        Raises:
            UnreadableImage: there is no such image, or its shard cannot be read.
        """
        return self.collection.read(self.name)

    def resolve(self) -> Member:
        """Itself: there are no links among images of shards."""
        return self


@dataclass(frozen=True, slots=True)
class BadShard:
    """A shard that cannot be read as a whole.

    Attributes:
        name: of the shard.
        reason: in a few words.
        lost: images that are missing from it, as estimated from the other shards; at least 1.
    """

    name: str
    reason: str
    lost: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where the images of a collection are, in the order of their names.

    Attributes:
        shards: index of the shard of each image.
        starts: where it starts there, as ``Members`` says.
        lengths: in bytes; -1 where only reading tells.
    """

    shards: Int64[np.ndarray, " images"]
    starts: Int64[np.ndarray, " images"]
    lengths: Int64[np.ndarray, " images"]


class Collection:
    """Images in shards, by name; ``collection / name`` is one of them.

    Args:
        where: path, pattern or address, as the user gave it.
        form: format of the shards.
        shards: the shards.
        names: of all images, in the order of their bytes.
        places: where they are.
        others: number of other files by extension.
        bad: shards that cannot be read as a whole.
        prefixed: whether each name begins with that of its shard, as several shards have the same names.
    """

    def __init__(
        self,
        where: str,
        form: ShardFormat,
        shards: Sequence[Shard],
        names: Names,
        places: Places,
        others: Mapping[str, int],
        bad: Sequence[BadShard],
        *,
        prefixed: bool = False,
    ) -> None:
        self.where, self.form, self.shards, self.names, self.places = where, form, tuple(shards), names, places
        self.others, self.bad = Counter(others), tuple(bad)
        self.prefixed = prefixed
        self._forget()

    def __str__(self) -> str:
        return self.where

    def __repr__(self) -> str:
        return f"Collection({self.where!r}, {len(self.names)} images in {len(self.shards)} shards)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Collection) and other.where == self.where and other.shards == self.shards

    def __hash__(self) -> int:
        return hash(self.where)

    def __truediv__(self, name: str) -> Member:
        return Member(self, name)

    def describe(self) -> str:
        """Number and format of the shards, and what is unusual about them, in sentences."""
        count = "1 shard" if len(self.shards) == 1 else f"{len(self.shards):,} shards"
        text = f"{len(self.names):,} images in {count} ({self.form.title})."
        if self.prefixed:
            text += " Names occur in several of them, so that the shard's name stands before each."
        return text

    def describe_bad(self) -> str:
        """The shards that cannot be read as a whole, in a sentence; empty if there are none."""
        if not self.bad:
            return ""
        lost = sum(bad.lost for bad in self.bad)
        named = first_few([f"{bad.name} ({bad.reason})" for bad in self.bad])
        return (
            f"{len(self.bad):,} of {len(self.shards):,} shards cannot be read as a whole, by which some {lost:,} "
            f"images are lost: {named}."
        )

    def absolute(self) -> Path:
        """Path of a collection on this machine; of an address something of the same form, for messages."""
        return Path(self.where).absolute()

    def read(self, name: str) -> bytes:
        """The encoded image of this name.

        Raises:
            UnreadableImage: there is no such image, or its shard cannot be read.
        """
        index = self.names.find(name)
        if index < 0:
            raise UnreadableImage("no such image in the shards")
        shard = int(self.places.shards[index])
        try:
            return self._reader(shard).read(int(self.places.starts[index]), int(self.places.lengths[index]))
        except UnreadableImage as error:
            raise UnreadableImage(f"{error.reason} in the shard {self.shards[shard].name}") from None
        except Exception as error:  # also those of stores and of Parquet's reader
            raise UnreadableImage(f"the shard {self.shards[shard].name} cannot be read: {why(error)}") from error

    def stats(self, names: Names) -> FileStats:
        """Sizes of images and times of change of their shards; -1 and 0 for a name that is not there.

        Where only reading would tell an image's size, it is that of its shard.
        """
        every = names.buffer is self.names.buffer
        rows = np.arange(len(names)) if every else np.array([self.names.find(name) for name in names], np.int64)
        there = rows >= 0
        shards = self.places.shards[rows[there]]
        sizes, changed = np.full(len(names), ABSENT, np.int64), np.zeros(len(names), np.int64)
        of_shards = np.array([(shard.size, shard.changed) for shard in self.shards], np.int64).reshape(-1, 2)
        lengths = self.places.lengths[rows[there]]
        sizes[there] = np.where(lengths < 0, of_shards[shards, 0], lengths)
        changed[there] = of_shards[shards, 1]
        return FileStats(sizes, changed)

    def _reader(self, index: int) -> ShardReader:
        """The open shard of this process."""
        if self._process != os.getpid():  # a loader process: what its parent opened must not be shared
            self._forget()
        with self._lock:
            if index in self._readers:
                self._readers.move_to_end(index)
            else:
                self._readers[index] = self.form.open(self._unchanged(self.shards[index]))
                if len(self._readers) > _OPEN:
                    self._readers.popitem(last=False)
            return self._readers[index]

    def _unchanged(self, shard: Shard) -> Shard:
        """The shard, which is what it was when it was listed, or else other bytes would be taken for an image."""
        if not is_address(shard.where):
            status = os.stat(shard.where)  # noqa: PTH116
            if (status.st_size, status.st_mtime_ns) != (shard.size, shard.changed):
                raise UnreadableImage("changed since it was listed, no image can be found")
        return shard

    def _forget(self) -> None:
        """Open all shards anew."""
        self._process, self._lock = os.getpid(), threading.Lock()
        self._readers: OrderedDict[int, ShardReader] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in self.__dict__.items() if key not in ("_process", "_lock", "_readers")}
        state["names"] = Names.of(*(array.copy() for array in (self.names.buffer, self.names.offsets)))
        return plain_arrays(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()
