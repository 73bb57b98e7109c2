"""Arrow files of images, as ``save_to_disk`` of Hugging Face's datasets writes them, mapped into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manyview.errors import UserError
from manyview.images.sources.parquet import (
    TableFormat,
    add_rows,
    encoded,
    image_column,
    name_columns,
    require_pyarrow,
)
from manyview.images.sources.shards import Members, ShardReader
from manyview.images.sources.stores import Shard, is_address
from manyview.parsing import parse_json

_STATE = "state.json"  # in which datasets lists the files of a data set


class ArrowFormat(TableFormat):
    """Arrow's IPC streams and files; an image is read without its neighbors."""

    title, ending = "Arrow", ".arrow"

    def add_images(self, found: Members, shard: Shard) -> None:
        """Add the images of a file, all at once."""
        table = _table(shard)
        column = image_column(table.schema, shard)
        add_rows(found, shard, iter([_names(table, column)]), column, table.num_rows)

    def open(self, shard: Shard) -> ShardReader:
        """Map a file into memory."""
        table = _table(shard)
        return _ArrowReader(table.column(image_column(table.schema, shard)))

    def choose(self, names: list[str]) -> list[str]:
        """The files that the data set consists of: ``datasets`` keeps others of its own beside them."""
        state = next((Path(name).with_name(_STATE) for name in names if Path(name).with_name(_STATE).is_file()), None)
        if state is None:
            return names
        try:
            listed = {entry["filename"] for entry in parse_json(state.read_bytes())["_data_files"]}
        except (OSError, ValueError, KeyError, TypeError):
            return names
        return [name for name in names if Path(name).name in listed]


class _ArrowReader(ShardReader):
    def __init__(self, column: Any) -> None:
        self._column = column

    def read(self, start: int, length: int) -> bytes:
        return encoded(self._column[start].as_py())


def _names(table: Any, column: str) -> Any:
    """The columns that may name images."""
    import pyarrow

    columns = name_columns(table.schema, column)
    parts = {}
    for name in columns:
        if name == f"{column}.path":
            chunks = [chunk.field("path") for chunk in table.column(column).chunks]
            parts[column] = pyarrow.chunked_array(chunks, table.schema.field(column).type.field("path").type)
        else:
            parts[name] = table.column(name)
    return pyarrow.table(parts)


def _table(shard: Shard) -> Any:
    """All rows, which are read from the disk only where they are looked at."""
    require_pyarrow()
    import pyarrow

    if is_address(shard.where):
        raise UserError(f"{shard.where}: Arrow files are read from this machine only; copy them here, or use Parquet")
    mapped = pyarrow.memory_map(shard.where)
    try:
        return pyarrow.ipc.open_stream(mapped).read_all()
    except pyarrow.ArrowInvalid:
        return pyarrow.ipc.open_file(pyarrow.memory_map(shard.where)).read_all()


FORMAT = ArrowFormat()
