"""The bytes of an image, which is a file of a folder or a member of a shard: nothing else has to tell them apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO

from manyview.images.sources.collection import Member
from manyview.images.sources.root import ImagePath
from manyview.images.unreadable import readable

Opened = BytesIO | BufferedReader


def open_image_file(path: ImagePath) -> Opened:
    """The image's bytes as a stream at its beginning; of a shard's member, all are read.

    Raises:
        UnreadableImage: it cannot be opened, or is no regular file.
    """
    if isinstance(path, Member):
        return BytesIO(path.read_bytes())
    with readable(path):
        return path.open("rb")


@contextmanager
def opened(path: ImagePath) -> Iterator[Opened]:
    """As ``open_image_file``, for reading alone: errors of the operating system are an UnreadableImage, too."""
    with open_image_file(path) as stream:
        if isinstance(path, Member):
            yield stream
            return
        with readable(path):
            yield stream


def read_whole(path: ImagePath) -> bytes:
    """All bytes of the image, however many.

    Raises:
        UnreadableImage: it cannot be read.
    """
    with opened(path) as stream:
        return stream.read()
