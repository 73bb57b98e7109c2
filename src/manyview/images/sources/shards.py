"""Formats of shards: one file each, which declares its ``FORMAT`` and is listed in ``sources.root``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections import Counter
from dataclasses import dataclass, field

from manyview.errors import UserError
from manyview.images.sources.names import NamesBuilder
from manyview.images.sources.stores import Shard


@dataclass(slots=True)
class Members:
    """The images in a shard.

    Attributes:
        names: of the images, in the shard's order.
        starts: where each is found: its first byte, or its row.
        lengths: in bytes; -1 where only reading tells.
        others: number of other files by extension.
        problem: why not all of the shard can be read; empty if it can.
    """

    names: NamesBuilder = field(default_factory=NamesBuilder)
    starts: array[int] = field(default_factory=lambda: array("q"))
    lengths: array[int] = field(default_factory=lambda: array("q"))
    others: Counter[str] = field(default_factory=Counter)
    problem: str = ""

    def add(self, name: bytes, start: int, length: int) -> None:
        """Add an image."""
        self.names.add(name)
        self.starts.append(start)
        self.lengths.append(length)


class ShardReader(ABC):
    """An open shard, from which several threads may read."""

    @abstractmethod
    def read(self, start: int, length: int) -> bytes:
        """The bytes of an image, by its ``Members``.

        Raises:
            OSError: the shard cannot be read.
            UnreadableImage: it holds no such image.
        """


class ShardFormat(ABC):
    """A format of shards.

    Attributes:
        title: as in messages.
        ending: extension, with its dot.
    """

    title: str
    ending: str

    @abstractmethod
    def members(self, shard: Shard) -> Members:
        """The images of a shard, read once; what is wrong with it is their ``problem``.

        Raises:
            UserError: nothing but a change of the installation or of all shards would help.
        """

    @abstractmethod
    def open(self, shard: Shard) -> ShardReader:
        """Open a shard.

        Raises:
            OSError: it cannot be opened.
        """

    def choose(self, names: list[str]) -> list[str]:
        """Which of a folder's files of this format hold images; usually all."""
        return names


def why(error: Exception) -> str:
    """The reason for an error of reading a shard, in a few words."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
