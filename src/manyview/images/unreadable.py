"""Errors for files that hold no readable image: a short reason in place of the decoder's message."""

from __future__ import annotations

import contextlib
import stat
import struct
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from manyview.errors import UserError, one_line

_LONGEST = 300  # characters of a reason, which may quote the file


class UnreadableImage(UserError):  # noqa: N818 - named after the image, not the error
    """A file that cannot be decoded to an image; ``reason`` says why in a few words, e.g. ``"truncated file"``."""

    def __init__(self, reason: str, where: str | None = None) -> None:
        super().__init__(reason, where)
        self.reason = one_line(" ".join(reason.split()), _LONGEST)
        self.where = where

    def __str__(self) -> str:
        return self.reason if self.where is None else one_line(f"{self.where}: {self.reason}")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Item of a data set for an image that cannot be read.

    It is returned, not raised: a loader process would wrap an error's message in its traceback.

    Attributes:
        index: of the image in the data set.
        path: of its file, or the member of a shard.
        reason: why it cannot be read, in a few words.
    """

    index: int
    path: Any
    reason: str


@contextlib.contextmanager
def reasons(where: str | None) -> Iterator[None]:
    """Convert any exception of a decoder to an UnreadableImage with file and reason."""
    try:
        with quiet():
            yield
    except UnreadableImage as error:
        raise UnreadableImage(error.reason, where) from None
    except Image.DecompressionBombError:
        raise UnreadableImage("too large: above the limit of its format's reader", where) from None
    except MemoryError:
        raise UnreadableImage("too large: out of memory", where) from None
    except Exception as error:  # Pillow's readers raise nearly anything on damaged data
        raise UnreadableImage(phrase(error), where) from error


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Refuse paths that are no regular file, and convert errors of the operating system to an UnreadableImage."""
    where = str(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableImage("a directory", where)
        if not stat.S_ISREG(mode):  # a pipe or a device would block, or never end
            raise UnreadableImage("not a regular file", where)
        yield
    except FileNotFoundError:
        raise UnreadableImage("dangling link" if path.is_symlink() else "no such file", where) from None
    except PermissionError:
        raise UnreadableImage("no read permission", where) from None
    except OSError as error:
        raise UnreadableImage(f"cannot be read ({error.strerror or error})", where) from error


def phrase(error: Exception) -> str:
    """The reason for a decoder's exception."""
    if "truncated" in str(error).lower():
        return "truncated file"
    if str(error) == "unknown pixel mode":  # Pillow, of TIFF
        return "bands other than RGB, for which data.bands must say how many"
    cause: BaseException | None = error
    while cause is not None:  # readers wrap the exception of reading past the end
        if isinstance(cause, (EOFError, IndexError, struct.error)):
            return "truncated file"
        cause = cause.__cause__
    return f"damaged file ({error})" if str(error) else "damaged file"


_quiet_lock = threading.Lock()
_quiet_users = 0
_quiet_filters = warnings.catch_warnings()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings on unusual metadata, safely among threads."""
    global _quiet_users, _quiet_filters
    # catch_warnings alone is not thread-safe: the first thread in sets the filters, the last one out restores them.
    with _quiet_lock:
        if _quiet_users == 0:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.simplefilter("ignore")
        _quiet_users += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                _quiet_filters.__exit__(None, None, None)
