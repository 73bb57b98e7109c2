"""Parquet files of images, as Hugging Face's data sets have them: a column of bytes, or of bytes and path."""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from manyview.errors import UserError, first_few
from manyview.images.sources.shards import Members, ShardFormat, ShardReader, why
from manyview.images.sources.stores import Shard, is_address, open_file
from manyview.images.unreadable import UnreadableImage

_USUAL = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "bytes", "content")  # names of the column
_NAMES = ("file_name", "filename", "path", "__key__", "key", "name", "image_path", "image_id", "id")
_MOST = 2**27  # bytes of row groups that a process keeps
_FEWEST = 2  # groups kept whatever their size: images in the order of their names take one after the other


class TableFormat(ShardFormat):
    """Tables with an image a row."""

    def members(self, shard: Shard) -> Members:
        """The images of a file, by its columns other than their bytes."""
        found = Members()
        try:
            self.add_images(found, shard)
        except UserError:
            raise
        except Exception as error:  # pyarrow's and the store's
            found.problem = f"no {self.title} file that can be read ({why(error)})" if shard.size >= 0 else "missing"
        return found

    @abstractmethod
    def add_images(self, found: Members, shard: Shard) -> None:
        """Add the images of a file; any exception says that it cannot be read."""


class ParquetFormat(TableFormat):
    """Parquet: an image is read with its row group, so that groups should be small."""

    title, ending = "Parquet", ".parquet"

    def add_images(self, found: Members, shard: Shard) -> None:
        """Add the images of a file, one row group after the other."""
        file = _open(shard)
        column = image_column(file.schema_arrow, shard)
        columns = name_columns(file.schema_arrow, column)
        tables = (file.read_row_group(group, columns=columns) for group in range(file.num_row_groups))
        add_rows(found, shard, tables, column, file.metadata.num_rows)

    def open(self, shard: Shard) -> ShardReader:
        """Open a file."""
        return _ParquetReader(_open(shard), shard)


class _ParquetReader(ShardReader):
    def __init__(self, file: Any, shard: Shard) -> None:
        self._file, self._column = file, image_column(file.schema_arrow, shard)
        self._firsts = [0]
        for group in range(file.num_row_groups):
            self._firsts.append(self._firsts[-1] + file.metadata.row_group(group).num_rows)
        self._shard, self._lock = shard, threading.Lock()

    def read(self, start: int, length: int) -> bytes:
        group = bisect_right(self._firsts, start) - 1
        with self._lock:
            column = _GROUPS.get(self._shard, group)
            if column is None:
                column = self._file.read_row_group(group, columns=[self._column]).column(0)
                _GROUPS.add(self._shard, group, column)
        return encoded(column[start - self._firsts[group]].as_py())


class _Groups:
    """The row groups that this process has used last, of all files together.

    In the order of names, 99 of 100 images are in a group that is there. In random order, the share of images that are
    is that of the collection's bytes that are kept, so that more would not help: 50 % with half of 5,000 images in
    groups of 100, 2 % with two groups.
    """

    def __init__(self) -> None:
        self._forget()

    def get(self, shard: Shard, group: int) -> Any:
        """The column of images of a group; None if it is not kept."""
        if self._process != os.getpid():  # a loader process: a thread of its parent may have held the lock
            self._forget()
        with self._lock:
            if (shard, group) in self._kept:
                self._kept.move_to_end((shard, group))
            return self._kept.get((shard, group))

    def add(self, shard: Shard, group: int, column: Any) -> None:
        """Keep a group, and drop those used longest ago."""
        with self._lock:
            self._kept[shard, group] = column
            self._bytes += column.nbytes
            while self._bytes > _MOST and len(self._kept) > _FEWEST:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def _forget(self) -> None:
        self._process, self._lock, self._bytes = os.getpid(), threading.Lock(), 0
        self._kept: OrderedDict[tuple[Shard, int], Any] = OrderedDict()


_GROUPS = _Groups()


def encoded(value: Any) -> bytes:
    """The bytes of an image's cell.

    Raises:
        UnreadableImage: it is empty, or holds no more than a path.
    """
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        path = value.get("path") if isinstance(value, dict) else None
        raise UnreadableImage(f"no bytes, only the path {path}" if path else "no bytes")
    return data


def image_column(schema: Any, shard: Shard) -> str:
    """Name of the column of images: bytes, or a struct of bytes and path.

    Raises:
        UserError: there is none, or there are several and none of them has a usual name.
    """
    import pyarrow

    def binary(of_type: Any) -> bool:
        return bool(pyarrow.types.is_binary(of_type) or pyarrow.types.is_large_binary(of_type))

    columns = []
    for each in schema:
        parts = {part.name: part.type for part in each.type} if pyarrow.types.is_struct(each.type) else {}
        if binary(each.type) or ("bytes" in parts and binary(parts["bytes"])):
            columns.append(each.name)
    usual = [name for name in _USUAL if name in columns]
    if len(columns) > 1 and not usual:
        raise UserError(
            f"{shard.where} has several columns of bytes, {first_few(columns)}: name that of the images image"
        )
    if not columns:
        raise UserError(
            f"{shard.where} has no column of images, which are bytes, or bytes and path: it has "
            f"{first_few(schema.names)}"
        )
    return usual[0] if usual else columns[0]


def add_rows(found: Members, shard: Shard, tables: Iterator[Any], column: str, rows: int) -> None:
    """Add the images of all rows.

    They are named by their paths, or else by a column such as file_name, where those are there and differ, or else by
    the file and the number of the row.

    Args:
        found: to add them to.
        shard: the file.
        tables: its rows, one part after the other, without the bytes of the images.
        column: of the images.
        rows: number of rows.
    """
    names: dict[str, list[Any]] = {}
    for table in tables:
        for name in table.column_names:
            values = table.column(name).to_pylist()
            if name == column:
                values = [value.get("path") if isinstance(value, dict) else value for value in values]
            names.setdefault(name, []).extend(values)
    for name in sorted(names, key=lambda name: name != column):  # the path beside the bytes first
        texts = [text for value in names[name] if isinstance(value, str) and (text := value.lstrip("/"))]
        if len(texts) == rows == len(set(texts)) and rows:
            break
    else:
        stem = shard.name.rpartition(".")[0]
        texts = [f"{stem}/{row:09d}" for row in range(rows)]
    for row, text in enumerate(texts):
        found.add(text.encode("utf-8", "surrogateescape"), row, -1)


def name_columns(schema: Any, column: str) -> list[str]:
    """Columns that may name images; the path beside the bytes is called column.path."""
    import pyarrow

    of_type = schema.field(column).type
    has_path = pyarrow.types.is_struct(of_type) and "path" in {part.name for part in of_type}
    texts = [name for name in schema.names if _is_text(schema.field(name).type)]
    return [f"{column}.path"] * has_path + [name for name in _NAMES if name in texts and name != column]


def _is_text(of_type: Any) -> bool:
    """Whether these are strings, also those that may take more than 2 GB together, as Polars writes all of them."""
    import pyarrow

    return bool(pyarrow.types.is_string(of_type) or pyarrow.types.is_large_string(of_type))


def _open(shard: Shard) -> Any:
    """The open file."""
    require_pyarrow()
    import pyarrow.parquet

    if is_address(shard.where):
        return pyarrow.parquet.ParquetFile(open_file(shard.where).stream(), pre_buffer=False)
    return pyarrow.parquet.ParquetFile(shard.where, memory_map=False, pre_buffer=False)


def require_pyarrow() -> None:
    """Raise a ``UserError`` if pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UserError("images in Parquet and Arrow files need pyarrow: pip install 'manyview[parquet]'") from None


FORMAT = ParquetFormat()
