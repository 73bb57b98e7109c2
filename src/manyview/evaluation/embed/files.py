"""Content of a file of features: one row per image, and the record of their extraction."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from manyview.parsing import parse_json

_NO_UTF8 = re.compile(r"\\u(dc[89a-f][0-9a-f])")  # a byte in a name, as text
_PATCHES = ("rows", "columns", "dim")
KIND = "features of a frozen backbone"
CHUNK_BYTES = 2**24
"""Approximate bytes of rows held at a time, in writing and in reading."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A chunk of images, in the order of the file.

    Attributes:
        images: relative names, as text (see ``as_text``).
        sizes: width and height of each in pixels, upright.
        features: pooled features, float32 or float16.
        patches: the feature maps before pooling, channels last, if requested.
    """

    images: list[str]
    sizes: Int[np.ndarray, "images 2"]
    features: Float[np.ndarray, "images pooled_dim"]
    patches: Float[np.ndarray, "images rows columns dim"] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.sizes.nbytes + self.features.nbytes + (0 if self.patches is None else self.patches.nbytes)


class Writer(ABC):
    """Writes rows to a stream as they come, in constant memory.

    It must be closed before the stream, whether or not the file was finished.
    """

    @abstractmethod
    def write(self, rows: Rows) -> None:
        """Add rows, all of the same widths and types; at least one."""

    @abstractmethod
    def finish(self, record: Mapping[str, Any]) -> None:
        """Write the remaining rows and the record; after at least one call of ``write``."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources."""


class FeaturesFile(ABC):
    """A file of features, read in chunks.

    Attributes:
        record: of the extraction, as ``embed`` returns it.
        count: images.
    """

    record: dict[str, Any]
    count: int

    @abstractmethod
    def rows(self, *, patches: bool = False) -> Iterator[Rows]:
        """All rows in order, in chunks; with the feature maps, if requested and in the file."""

    @abstractmethod
    def images(self) -> Iterator[str]:
        """The names alone."""


def read_record(text: str | bytes) -> dict[str, Any]:
    """The record of an extraction, from its JSON, with what readers of features need.

    Raises:
        ValueError: it is no such record.
    """
    record = parse_json(text)
    protocol = record.get("protocol") if isinstance(record, dict) else None
    if not isinstance(protocol, dict):
        raise ValueError("it records no extraction")
    patches = protocol.get("patches")
    if not (patches is None or isinstance(patches, dict)):
        raise ValueError(f"it records patches {patches!r}")
    sides = [protocol.get("feature_dim"), *((patches.get(side) for side in _PATCHES) if patches else ())]
    if not all(isinstance(side, int) and 0 < side < 2**31 for side in sides):
        raise ValueError(f"it records features of {sides} numbers")
    return record


def as_text(name: str) -> str:
    r"""A file's name as text that every format can hold; bytes that are no UTF-8 become ``\udcXX``."""
    return name.encode("utf-8", "backslashreplace").decode()


def as_name(text: str) -> str:
    """The file's name that ``as_text`` wrote."""
    return _NO_UTF8.sub(lambda found: chr(int(found[1], 16)), text)
