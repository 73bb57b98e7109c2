"""What a file of features holds: a row an image, and the record of how they were made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

KIND = "features of a frozen backbone"
CHUNK_BYTES = 2**24
"""About so many bytes of rows are held at a time, in writing and in reading."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some images, in the order of the file.

    Attributes:
        images: relative names, as text (see ``as_text``).
        sizes: width and height of each in pixels, upright.
        features: pooled features, float32 or float16.
        patches: the feature maps before pooling, places first, if they were asked for.
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
    """Takes rows as they are made and writes them to a stream, in memory that does not grow with their number.

    It is to be closed, whether the file was finished or not, before the stream is.
    """

    @abstractmethod
    def write(self, rows: Rows) -> None:
        """Add rows, all of the same widths and types; at least one."""

    @abstractmethod
    def finish(self, record: Mapping[str, Any]) -> None:
        """Write what remains, and the record; after at least one call of ``write``."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held."""


class FeaturesFile(ABC):
    """A file of features, of which a part is read at a time.

    Attributes:
        record: how the features were made, as ``embed`` returns it.
        count: images.
    """

    record: dict[str, Any]
    count: int

    @abstractmethod
    def rows(self, *, patches: bool = False) -> Iterator[Rows]:
        """All rows in order, some at a time.

        Args:
            patches: read the feature maps too; None where the file has none.
        """

    @abstractmethod
    def images(self) -> Iterator[str]:
        """The names alone."""


def as_text(name: str) -> str:
    r"""A file's name as text that every format can hold; bytes of it that are no UTF-8 become ``\udcXX``."""
    return name.encode("utf-8", "backslashreplace").decode()
