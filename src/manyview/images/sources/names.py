"""Names of images in one flat buffer, which processes share and whose lookups need no table."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

_AT_ONCE = 2**16  # names cut from the buffer together


class Names:
    """Names as a sequence, in one byte buffer instead of a list of strings.

    Reference counts of millions of string objects would copy their memory into each loader process; a buffer is
    shared. A name takes its bytes and eight more.

    Attributes:
        buffer: the bytes of all names, one after the other, in the file system's encoding.
        offsets: where each name starts, and the end of the last.
    """

    buffer: UInt8[np.ndarray, " bytes"]
    offsets: Int64[np.ndarray, " ends"]

    def __init__(self, names: Iterable[str] = ()) -> None:
        if isinstance(names, Names):
            self.buffer, self.offsets = names.buffer, names.offsets
            return
        builder = NamesBuilder()
        for name in names:
            builder.add(os.fsencode(name))
        self.buffer, self.offsets = builder.arrays()

    @classmethod
    def of(cls, buffer: UInt8[np.ndarray, " bytes"], offsets: Int64[np.ndarray, " ends"]) -> Names:
        """Names of these arrays."""
        names = Names.__new__(Names)
        names.buffer, names.offsets = buffer, offsets
        return names

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return os.fsdecode(self._bytes(index % len(self)))

    def __iter__(self) -> Iterator[str]:
        return map(os.fsdecode, self.encoded())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} names)"

    def encoded(self) -> Iterator[bytes]:
        """The bytes of each name, several times as fast as one by one."""
        for start in range(0, len(self), _AT_ONCE):
            ends = self.offsets[start : start + _AT_ONCE + 1].tolist()
            part = self.buffer[ends[0] : ends[-1]].tobytes()
            first = ends[0]
            yield from (part[begin - first : end - first] for begin, end in pairwise(ends))

    def positions(self, names: Iterable[str]) -> dict[str, int]:
        """Index of each of these names that is among them, in one pass without a table of all names."""
        wanted = {os.fsencode(name): name for name in names}
        return {wanted[name]: index for index, name in enumerate(self.encoded()) if name in wanted}

    def find(self, name: str) -> int:
        """Index of a name among names in the order of their bytes; -1 if it is not among them."""
        wanted = os.fsencode(name)
        index = bisect_left(range(len(self)), wanted, key=self._bytes)
        return index if index < len(self) and self._bytes(index) == wanted else -1

    def _bytes(self, index: int) -> bytes:
        return self.buffer[self.offsets[index] : self.offsets[index + 1]].tobytes()


class NamesBuilder:
    """Collects names into the arrays of ``Names``."""

    def __init__(self) -> None:
        self._buffer, self._offsets = bytearray(), array("q", [0])
        self._last: bytes | None = None
        self._sorted = True

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def add(self, name: bytes) -> None:
        """Add a name at the end."""
        self._sorted = self._sorted and (self._last is None or self._last < name)
        self._last = name
        self._buffer += name
        self._offsets.append(len(self._buffer))

    def arrays(self) -> tuple[UInt8[np.ndarray, " bytes"], Int64[np.ndarray, " ends"]]:
        """Buffer and offsets, which share this builder's memory: nothing can be added any more."""
        return np.frombuffer(self._buffer, np.uint8), np.frombuffer(self._offsets, np.int64)

    def sorted_once(self) -> Names:
        """The names in the order of their bytes, each once."""
        names = Names.of(*self.arrays())
        if self._sorted:
            return names
        ordered = NamesBuilder()
        for name in sorted(set(names.encoded())):
            ordered.add(name)
        return Names.of(*ordered.arrays())


def plain_arrays(state: dict[str, Any]) -> dict[str, Any]:
    """An object's attributes for pickling, with arrays of their own memory instead of a builder's."""
    return {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in state.items()}
