"""Features as Parquet: one row per image, written in row groups."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float

from manyview.errors import UserError
from manyview.evaluation.embed.files import CHUNK_BYTES, FeaturesFile, Rows, Writer, read_record

KEY = "manyview"
"""The key of the record in the file's metadata, as JSON."""


def require_pyarrow() -> None:
    """Raise a ``UserError`` if pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UserError(
            "Parquet needs pyarrow: pip install 'manyview[parquet]', or use a file that ends in .npz"
        ) from None


class ParquetRows(Writer):
    """Writes ``image``, ``width``, ``height``, ``features`` and, if rows have them, ``patches``.

    Features and patches are lists of fixed size; patches are flattened (row, column, dimension).

    Args:
        stream: destination, which stays open.
        group_bytes: minimum uncompressed size of all row groups but the last.
    """

    def __init__(self, stream: IO[bytes], group_bytes: int = CHUNK_BYTES) -> None:
        require_pyarrow()
        self._stream, self._group_bytes = stream, group_bytes
        self._buffered: list[Rows] = []
        self._writer: Any = None

    def write(self, rows: Rows) -> None:
        """Add rows; writes a row group when enough are buffered."""
        self._buffered.append(rows)
        if sum(each.nbytes for each in self._buffered) >= self._group_bytes:
            self._write_group()

    def finish(self, record: Mapping[str, Any]) -> None:
        """Write the last row group, and the file's footer with the record."""
        if self._buffered:
            self._write_group()
        self._writer.add_key_value_metadata({KEY: json.dumps(record, allow_nan=False)})
        self._writer.close()

    def close(self) -> None:
        """Close pyarrow's writer while the stream is open: else it might write its footer later."""
        if self._writer is not None and self._writer.is_open:
            with contextlib.suppress(OSError):
                self._writer.close()

    def _write_group(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        parts, self._buffered = self._buffered, []
        sizes = np.concatenate([rows.sizes for rows in parts]).astype(np.int32)
        columns = {
            "image": pa.array([name for rows in parts for name in rows.images], pa.string()),
            "width": pa.array(sizes[:, 0]),
            "height": pa.array(sizes[:, 1]),
            "features": _lists(np.concatenate([rows.features for rows in parts])),
        }
        patches = [rows.patches for rows in parts if rows.patches is not None]
        if patches:
            columns["patches"] = _lists(np.concatenate(patches).reshape(len(sizes), -1))
        table = pa.table(columns)
        if self._writer is None:
            # Dictionaries of floating-point numbers, which rarely repeat, would cost memory and save nothing.
            self._writer = pq.ParquetWriter(self._stream, table.schema, compression="zstd", use_dictionary=False)
        self._writer.write_table(table, row_group_size=len(sizes))


class ParquetFeatures(FeaturesFile):
    """A Parquet file that ``ParquetRows`` wrote.

    Raises:
        UserError: it is damaged, or written by another program.
    """

    def __init__(self, path: Path) -> None:
        require_pyarrow()
        self.path = path
        with self._readable(), self._opened() as file:
            about = file.metadata.metadata or {}
            if KEY.encode() not in about:
                raise UserError(f"{path} is a Parquet file, but not one that manyview embed wrote")
            self.record = read_record(about[KEY.encode()])
            self.count = file.metadata.num_rows

    def rows(self, *, patches: bool = False) -> Iterator[Rows]:
        """All rows in order, in chunks."""
        shape = self.record["protocol"]["patches"] if patches else None
        wanted = ["image", "width", "height", "features"] + (["patches"] if shape else [])
        for batch in self._batches(wanted):
            maps = _numbers(batch.column("patches")) if shape else None
            yield Rows(
                batch.column("image").to_pylist(),
                np.stack([batch.column(side).to_numpy() for side in ("width", "height")], axis=1),
                _numbers(batch.column("features")),
                None if maps is None or shape is None else maps.reshape(len(maps), *_shape(shape)),
            )

    def images(self) -> Iterator[str]:
        """The names alone."""
        for batch in self._batches(["image"]):
            yield from batch.column("image").to_pylist()

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        protocol = self.record["protocol"]
        numbers = protocol["feature_dim"] + (np.prod(_shape(protocol["patches"])) if "patches" in columns else 0)
        with self._readable(), self._opened() as file:
            yield from file.iter_batches(max(1, CHUNK_BYTES // int(4 * numbers)), columns=columns)

    def _opened(self) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(self.path)

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn errors of reading into a ``UserError``."""
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise UserError(f"{self.path} is damaged or no Parquet file ({' '.join(str(error).split())})") from error


def _lists(numbers: Float[np.ndarray, "images numbers"]) -> Any:
    """A column of lists of fixed size."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), numbers.shape[1])


def _numbers(column: Any) -> Float[np.ndarray, "images numbers"]:
    """A column of lists as an array."""
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def _shape(patches: Mapping[str, int]) -> tuple[int, int, int]:
    return patches["rows"], patches["columns"], patches["dim"]
