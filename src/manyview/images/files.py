"""Listing of image files: names below a folder in a stable order, stored in one flat buffer."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from manyview.errors import UserError, first_few
from manyview.images.formats import (
    describe_left_out,
    extension,
    extensions,
    holds_copies,
    is_companion,
    starts_like_an_image,
)
from manyview.images.name_forms import NameForms, is_there, leads_outside


class ImageFiles:
    """Names of image files below one folder, as a sequence.

    The names are stored in one byte buffer instead of a list of strings, so that loader processes share its memory:
    reference counts of millions of string objects would copy it into each of them. Pickling is one block copy.

    Args:
        root: folder to which the names are relative.
        names: relative names with forward slashes, in index order.
        left_out: what the folder holds besides, as a sentence; may be empty.
    """

    root: Path
    left_out: str
    buffer: UInt8[np.ndarray, " bytes"]
    offsets: Int64[np.ndarray, " images+1"]

    def __init__(self, root: Path, names: Iterable[str], left_out: str = "") -> None:
        encoded = [os.fsencode(name) for name in names]
        self.root, self.left_out = root, left_out
        self.buffer = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self.offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(name) for name in encoded], out=self.offsets[1:])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        start, end = self.offsets[index % len(self)], self.offsets[index % len(self) + 1]
        return os.fsdecode(self.buffer[start:end].tobytes())

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"ImageFiles({str(self.root)!r}, {len(self)} images)"

    def path(self, index: int) -> Path:
        """Path of image ``index``."""
        return self.root / self[index]

    def fingerprint(self) -> str:
        """SHA-256 over names and file sizes, in hexadecimal."""
        digest = hashlib.sha256()
        for name in self:
            digest.update(os.fsencode(name) + b"\0%d\n" % _size(self.root / name))
        return digest.hexdigest()


def find_images(root: Path, list_file: Path | None = None, *, arrays: bool = False) -> ImageFiles:
    """Find the images of a folder, or check those named by a list.

    The search is recursive and follows links to folders, each real folder once. A file counts by its extension (JPEG,
    PNG, WebP, BMP, TIFF, GIF, and AVIF and HEIC where their decoders are installed; upper or lower case), whether it
    can be read or not; one without extension counts by its first bytes. Hidden files and folders do not, nor do
    those in which thumbnailers, bins, snapshots and version control keep copies. Names are sorted by their bytes,
    whatever the order of the file system or the list.

    Args:
        root: the folder.
        list_file: a ``.txt`` with one name a line, or a ``.csv`` with the names in its column ``image``, or in its
            first column where there is no such header. Names are relative to ``root``; a name given twice counts once.
        arrays: whether NumPy arrays (.npy) count too, which only ``decode_bands`` reads.

    Raises:
        UserError: the folder or list is missing, empty, unreadable or of the wrong type, or the list names files that
            do not exist.
    """
    check_folder(root)
    if list_file is not None:
        named = _read_list(list_file)
        return ImageFiles(root, sorted(set(check_names(named, root, list_file)), key=os.fsencode))
    wanted = extensions(arrays=arrays)
    others: Counter[str] = Counter()
    names = set(_search(root, wanted, others))
    left_out = describe_left_out(others)
    if not names:
        endings = ", ".join(sorted(ending.lstrip(".") for ending in wanted))
        raise UserError(
            f"no images in {root}: nothing below it ends in {endings}" + (left_out and f"; {left_out[:-1]}")
        )
    return ImageFiles(root, sorted(names, key=os.fsencode), left_out)


def check_folder(root: Path) -> None:
    """Check that ``root`` is a folder.

    Raises:
        UserError: it is missing, or is a file.
    """
    if not os.path.exists(root):  # noqa: PTH110 - Path.exists raises where a parent may not be searched
        raise UserError(f"the folder of images {root} does not exist: check its path")
    if not root.is_dir():
        raise UserError(f"{root} is a file where a folder of images is needed: give the folder that holds it")


def check_names(names: Iterable[str], root: Path, source: Path) -> list[str]:
    """Normalize and check relative names of images, keeping their order.

    Args:
        names: as written in ``source``, relative to ``root``.
        root: folder of the images.
        source: file that holds the names, for the message.

    Raises:
        UserError: there are none, some lie outside the folder, or some do not exist.
    """
    forms = NameForms(root)
    written = list(names)
    if not written:
        raise UserError(f"{source} names no images")
    found = {name: forms.find(name, lambda plain: [plain] if is_there(root / plain) else []) for name in written}
    several = next((name for name, files in found.items() if len(files) > 1), None)
    if several is not None:
        raise UserError(
            f"{source} names {several}, which may be any of {first_few(found[several])}: write the name of one of them"
        )
    missing = [name for name in written if not found[name]]
    outside = [posixpath.normpath(name) for name in missing if leads_outside(name)]
    if outside:
        raise UserError(
            f"{source} names {_some(outside, len(written))} outside the folder {root}: names must be relative to it"
        )
    if missing:
        plain = [posixpath.normpath(name) for name in missing]
        raise UserError(
            f"{source} names {_some(plain, len(written))} not found in {root}{forms.nearest(missing[0])}: "
            "names must be relative to that folder, with their extension"
        )
    return [found[name][0] for name in written]


def _some(names: list[str], total: int) -> str:
    return f"{len(names)} of {total} images ({first_few(names)})"


def _search(root: Path, wanted: Set[str], others: Counter[str]) -> Iterator[str]:
    """Names of images below a folder; other files are counted by extension."""
    seen: set[tuple[int, int]] = set()
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            status = (root / folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(root / folder) as listing:
                entries = [entry for entry in listing if not entry.name.startswith(".")]
        except OSError as error:
            raise UserError(
                f"cannot search the folder {root / folder} ({error.strerror}): "
                "permit reading it, or name the images to use in a list"
            ) from error
        # A stack, so in reverse: of two paths to one folder always the same one is kept.
        for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name), reverse=True):
            name = posixpath.join(folder, entry.name)
            ending = extension(entry.name)
            if is_folder(entry):
                if not holds_copies(entry.name):
                    folders.append(name)
            elif ending in wanted or (not ending and starts_like_an_image(root / name)):
                yield name
            elif ending and not is_companion(ending):
                others[ending] += 1


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; mostly known from the listing, without a look at the disk."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _read_list(file: Path) -> list[str]:
    suffix = file.suffix.lower()
    if suffix not in (".txt", ".csv"):
        raise UserError(f"the list {file} must end in .txt (one name a line) or .csv (names in the column image)")
    text = io.StringIO(read_text(file, "list of images", errors="surrogateescape"))  # as the file system's names
    if suffix == ".txt":
        return [line.strip() for line in text if line.strip()]
    try:
        rows = [row for row in csv.reader(text, strict=True) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError(f"{file} is not a CSV file: {error}") from error
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = header.index("image") if "image" in header else 0
    names = rows[1:] if "image" in header else rows
    if any(len(row) <= column for row in names):
        raise UserError(f"{file} has rows without a name in column {column + 1}: correct or remove them")
    return [row[column].strip() for row in names]


def read_text(file: Path, what: str, errors: str = "strict") -> str:
    """Read a UTF-8 text file.

    Args:
        file: the file.
        what: what the file should be, for the message.
        errors: handling of bytes that are not UTF-8, as in ``bytes.decode``.

    Raises:
        UserError: it is missing, a folder, not UTF-8, or cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8-sig", errors=errors)
    except UnicodeDecodeError as error:
        raise UserError(
            f"the {what} {file} must be UTF-8 text, but byte {error.start} is not: save it as UTF-8"
        ) from None
    except FileNotFoundError:
        raise UserError(f"the {what} {file} does not exist: check its path") from None
    except OSError as error:
        raise UserError(f"the {what} {file} cannot be read: {error.strerror}") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a dangling link is listed too
        return -1
