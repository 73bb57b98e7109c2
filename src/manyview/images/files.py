"""Listing of image files: names below a folder in a stable order, stored in one flat buffer."""

from __future__ import annotations

import csv
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from manyview.errors import UserError, first_few
from manyview.images.formats import describe_left_out, extension, extensions, named_like_an_image
from manyview.images.name_forms import NameForms, holds
from manyview.images.sources.collection import BadShard, Collection
from manyview.images.sources.lists import KeptList, looks_at_files, open_shared
from manyview.images.sources.names import Names, NamesBuilder, plain_arrays
from manyview.images.sources.root import ImagePath, ImageRoot, image_root
from manyview.images.sources.scan import scan
from manyview.images.sources.stats import FileStats, fingerprint, read_stats


class ImageFiles(Names):
    """Names of image files below one folder or in one collection of shards, as a sequence.

    The names are stored in one byte buffer instead of a list of strings, so that loader processes share its memory.
    Pickling is one block copy; that of a large collection whose list is kept is the name of the list.

    Args:
        root: folder to which the names are relative, or shards that hold them.
        names: relative names with forward slashes, in index order.
        left_out: what the folder holds besides, as a sentence; may be empty.
        kept: where the names of a large collection are kept.
        note: a sentence on that; may be empty.
    """

    root: ImageRoot
    left_out: str
    note: str
    bad: tuple[BadShard, ...]
    """Shards that cannot be read as a whole."""

    def __init__(
        self, root: ImageRoot, names: Iterable[str], left_out: str = "", *, kept: KeptList | None = None, note: str = ""
    ) -> None:
        super().__init__(names)
        self.root, self.left_out, self.note, self._kept = root, left_out, note, kept
        self.bad = ()
        self._stats: FileStats | None = None
        self._fingerprint: str | None = None

    def __repr__(self) -> str:
        return f"ImageFiles({str(self.root)!r}, {len(self)} images)"

    def path(self, index: int) -> ImagePath:
        """Path of image ``index``, or the member of a shard."""
        return self.root / self[index]

    def stats(self) -> FileStats:
        """Sizes and times of change of the files, each of which is looked at once."""
        if self._stats is None and isinstance(self.root, Collection):
            self._stats = self.root.stats(self)
        elif self._stats is None:
            kept = self._kept.read_stats() if self._kept else None
            root = self.root
            assert not isinstance(root, Collection), "those of shards are known"
            found = read_stats(root, self) if kept is None or looks_at_files() else kept[0]
            if kept is not None and kept[0] == found:
                self._stats, self._fingerprint = kept
            else:
                self._stats = found
        assert self._stats is not None, "just set"
        return self._stats

    def fingerprint(self) -> str:
        """SHA-256 over names and file sizes, in hexadecimal."""
        stats = self.stats()
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self, stats.sizes)
            if self._kept is not None:
                self._kept.keep_stats(stats, self._fingerprint)
        return self._fingerprint

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_stats": None}
        shared = self._kept.shared() if self._kept else None
        if shared is None:
            return plain_arrays(state)
        del state["buffer"], state["offsets"]
        return state | {"_shared": shared}

    def __setstate__(self, state: dict[str, Any]) -> None:
        shared = state.pop("_shared", None)
        self.__dict__.update(state)
        if shared is not None:
            names = open_shared(*shared)
            self.buffer, self.offsets = names.buffer, names.offsets


def find_images(
    where: str | os.PathLike[str] | Collection, list_file: Path | None = None, *, arrays: bool = False
) -> ImageFiles:
    """Find the images of a folder or of shards, or check those named by a list.

    The search is recursive and follows links to folders, each real folder once. A file counts by its extension (JPEG,
    PNG, WebP, BMP, TIFF, GIF, and AVIF and HEIC where their decoders are installed; upper or lower case), whether it
    can be read or not; one without extension counts by its first bytes. Hidden files and folders do not, nor do
    those in which thumbnailers, bins, snapshots and version control keep copies. Names are sorted by their bytes,
    whatever the order of the file system or the list.

    What was found in a folder with at least 100,000 images is kept in the user's cache (``images.sources.lists``), and
    not searched again until one of the folders changes.

    Args:
        where: the folder, or shards as ``images.sources.root.image_root`` takes them.
        list_file: a ``.txt`` with one name a line, or a ``.csv`` with the names in its column ``image``, or in its
            first column where there is no such header. Names are relative to the folder; one given twice counts once.
        arrays: whether NumPy arrays (.npy) count too, which only ``decode_bands`` reads.

    Raises:
        UserError: the folder or list is missing, empty, unreadable or of the wrong type, or the list names files that
            do not exist.
    """
    root = image_root(where)
    check_folder(root)
    note = root.describe() if isinstance(root, Collection) else ""
    if list_file is not None:
        return ImageFiles(root, check_names(_listed(list_file), root, list_file).sorted_once(), note=note)
    wanted = extensions(arrays=arrays)
    if isinstance(root, Collection):
        return _in_shards(root, wanted, note)
    kept = KeptList(root, *sorted(wanted))
    if (before := kept.read_names()) is not None:
        return ImageFiles(root, before[0], before[1]["left_out"], kept=kept)
    found = scan(root, wanted)
    left_out = describe_left_out(found.others)
    if not len(found.names):
        endings = ", ".join(sorted(ending.lstrip(".") for ending in wanted))
        raise UserError(
            f"no images in {root}: nothing below it ends in {endings}"
            + (left_out and f"; {left_out[:-1]}")
            + _images_of_labels(root)
        )
    note = kept.keep_names(found.names, {"left_out": left_out}, found)
    return ImageFiles(root, found.names, left_out, kept=kept, note=note)


def _in_shards(root: Collection, wanted: Set[str], note: str) -> ImageFiles:
    """The images of shards, but for those whose names have the extension of an image that is not wanted."""
    # A row of a table is an image whatever it is called, but for formats whose decoder is not installed.
    others = Counter(
        extension(name) for name in root.names if named_like_an_image(name) and extension(name) not in wanted
    )
    names = (name for name in root.names if extension(name) not in others)
    left_out = " ".join(filter(None, (describe_left_out(others + root.others), root.describe_bad())))
    files = ImageFiles(root, names if others else root.names, left_out, note=note)
    if not len(files):
        raise UserError(f"no images in {root}" + (files.left_out and f": {files.left_out[:-1]}"))
    files.bad = root.bad
    return files


def _images_of_labels(root: Path) -> str:
    """The folder of images that goes with a folder of labels by its name, as the end of a sentence."""
    parts = root.parts
    for labels, images in (("labels", "images"), ("Annotations", "JPEGImages")):
        for index in (index for index, part in enumerate(parts) if part == labels):
            other = Path(*parts[:index], images, *parts[index + 1 :])
            if other.is_dir():
                return f"; its images may be in {other}"
    return ""


def check_folder(root: ImageRoot) -> None:
    """Check that ``root`` is a folder, or shards.

    Raises:
        UserError: it is missing, or is a file.
    """
    if isinstance(root, Collection):
        return
    if not os.path.exists(root):  # noqa: PTH110 - Path.exists raises where a parent may not be searched
        raise UserError(f"the folder of images {root} does not exist: check its path")
    if not root.is_dir():
        raise UserError(f"{root} is a file where a folder of images is needed: give the folder that holds it")


def check_names(names: Iterable[str], root: ImageRoot, source: Path) -> NamesBuilder:
    """Normalize and check relative names of images, keeping their order.

    Args:
        names: as written in ``source``, relative to ``root``.
        root: folder of the images.
        source: file that holds the names, for the message.

    Raises:
        UserError: there are none, some lie outside the folder, or some do not exist.
    """
    forms, kept, written = NameForms(root), NamesBuilder(), 0
    missing: list[str] = []
    for written, name in enumerate(names, start=1):  # noqa: B007 - their number
        found = forms.find(name, lambda plain: [plain] if holds(root, plain) else [])
        if len(found) > 1:
            raise UserError(
                f"{source} names {name}, which may be any of {first_few(found)}: write the name of one of them"
            )
        if found:
            kept.add(os.fsencode(found[0]))
        else:
            missing.append(name)
    if not written:
        raise UserError(f"{source} names no images")
    if missing:
        raise _absent(missing, written, forms, source)
    return kept


def _absent(missing: list[str], written: int, forms: NameForms, source: Path) -> UserError:
    root, outside = forms.root, [posixpath.normpath(name) for name in missing if forms.leads_outside(name)]
    if outside:
        return UserError(
            f"{source} names {_some(outside, written)} outside the folder {root}: names must be relative to it"
        )
    plain = [posixpath.normpath(name) for name in missing]
    return UserError(
        f"{source} names {_some(plain, written)} not found in {root}{forms.nearest(missing[0])}: "
        "names must be relative to that folder, with their extension"
    )


def _some(names: list[str], total: int) -> str:
    return f"{len(names)} of {total} images ({first_few(names)})"


def _listed(file: Path) -> Iterator[str]:
    """The names that a list gives, one after the other."""
    suffix = file.suffix.lower()
    if suffix not in (".txt", ".csv"):
        raise UserError(f"the list {file} must end in .txt (one name a line) or .csv (names in the column image)")
    with opened_text(file, "list of images", errors="surrogateescape") as text:  # as the file system's names
        if suffix == ".txt":
            yield from (line.strip() for line in text if line.strip())
            return
        try:
            yield from _column(file, text)
        except csv.Error as error:
            raise UserError(f"{file} is not a CSV file: {error}") from error


def _column(file: Path, text: TextIO) -> Iterator[str]:
    """The names in a CSV file: its column ``image``, or its first where there is no such header."""
    rows = (row for row in csv.reader(text, strict=True) if any(cell.strip() for cell in row))
    column = 0
    for number, row in enumerate(rows):
        if not number:
            header = [cell.strip().lower() for cell in row]
            if "image" in header:
                column = header.index("image")
                continue
        if len(row) <= column:
            raise UserError(f"{file} has rows without a name in column {column + 1}: correct or remove them")
        yield row[column].strip()


@contextmanager
def opened_text(file: Path, what: str, errors: str = "strict") -> Iterator[TextIO]:
    """A UTF-8 text file, open for reading.

    Args:
        file: the file.
        what: what the file should be, for the message.
        errors: handling of bytes that are not UTF-8, as in ``bytes.decode``.

    Raises:
        UserError: it is missing, a folder, not UTF-8, or cannot be read.
    """
    try:
        with file.open(encoding="utf-8-sig", errors=errors) as text:
            yield text
    except UnicodeDecodeError as error:
        raise UserError(
            f"the {what} {file} must be UTF-8 text, but byte {error.start} is not: save it as UTF-8"
        ) from None
    except FileNotFoundError:
        raise UserError(f"the {what} {file} does not exist: check its path") from None
    except OSError as error:
        raise UserError(f"the {what} {file} cannot be read: {error.strerror}") from error


def read_text(file: Path, what: str, errors: str = "strict") -> str:
    """The whole of a UTF-8 text file; arguments and errors are those of ``opened_text``."""
    with opened_text(file, what, errors) as text:
        return text.read()
