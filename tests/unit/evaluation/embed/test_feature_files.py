"""Files of features by themselves: memory that stays the same, reading in parts, and files of other formats."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manyview.errors import UserError
from manyview.evaluation.embed import npz as npz_format
from manyview.evaluation.embed import parquet as parquet_format
from manyview.evaluation.embed import read_features
from manyview.evaluation.embed.files import Rows, Writer
from manyview.evaluation.embed.read import open_features

MEGABYTE = 2**20
BATCHES, IMAGES, DIM = 48, 32, 2048  # a quarter of a megabyte a batch of features, as much of patches
ENDINGS = pytest.mark.parametrize("ending", [".parquet", ".npz"])


def record() -> dict[str, Any]:
    shape = {"rows": 2, "columns": 2, "dim": DIM // 4}
    return {"protocol": {"feature_dim": DIM, "patches": shape}, "results": {}, "provenance": {}}


def batches() -> Iterator[Rows]:
    for batch in range(BATCHES):
        rng = np.random.default_rng(batch)
        yield Rows(
            [f"{batch}/{number}.jpg" for number in range(IMAGES)],
            rng.integers(1, 5000, (IMAGES, 2)),
            rng.random((IMAGES, DIM), dtype=np.float32),
            rng.random((IMAGES, 2, 2, DIM // 4), dtype=np.float32),
        )


def writer(path: Path, stream: Any) -> Writer:
    if path.suffix == ".parquet":
        return parquet_format.ParquetRows(stream, group_bytes=MEGABYTE)
    return npz_format.NpzRows(stream, path.parent, longest_name=10)


def write(path: Path) -> int:
    """Write the batches; gives the most memory that Python and NumPy held at a time."""
    tracemalloc.start()
    try:
        with path.open("wb") as stream, closing(writer(path, stream)) as rows:
            for batch in batches():
                rows.write(batch)
            rows.finish(record())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@ENDINGS
def test_writing_and_reading_hold_a_part_at_a_time(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"f{ending}"
    whole = BATCHES * IMAGES * DIM * 4 * 2
    arrow_before = pa.total_allocated_bytes()
    assert write(path) < whole / 4
    assert pa.total_allocated_bytes() - arrow_before < whole / 4
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    if ending == ".parquet":
        assert pq.read_metadata(path).num_row_groups >= whole / (2 * MEGABYTE)

    for module in (parquet_format, npz_format):
        monkeypatch.setattr(module, "CHUNK_BYTES", MEGABYTE)
    file = open_features(path)
    assert file.count == BATCHES * IMAGES
    tracemalloc.start()
    chunks = 0
    for rows in file.rows(patches=True):
        chunks += 1
        assert rows.nbytes <= 1.1 * MEGABYTE
    assert tracemalloc.get_traced_memory()[1] < whole / 4
    tracemalloc.stop()
    assert chunks >= whole / (2 * MEGABYTE)


@ENDINGS
def test_what_was_written_is_read(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"f{ending}"
    write(path)
    for module in (parquet_format, npz_format):
        monkeypatch.setattr(module, "CHUNK_BYTES", 3 * MEGABYTE)
    stored = read_features(path, patches=True)
    written = list(batches())
    assert list(stored.images) == [name for rows in written for name in rows.images]
    assert list(open_features(path).images()) == list(stored.images)
    np.testing.assert_array_equal(stored.features, np.concatenate([rows.features for rows in written]))
    np.testing.assert_array_equal(stored.patches, np.concatenate([rows.patches for rows in written]))  # type: ignore[arg-type]
    np.testing.assert_array_equal(stored.sizes, np.concatenate([rows.sizes for rows in written]))
    assert stored.record == record()
    assert read_features(path).patches is None


@ENDINGS
def test_a_file_that_is_cut_off_or_altered_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"f{ending}"
    write(path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"rubbish" * 100):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"f\.\w+ is damaged or no (Parquet|NPZ) file"):
            read_features(path)


def test_an_npz_file_with_changed_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.npz"
    write(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        read_features(path, patches=True)


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["a"]}), tmp_path / "other.parquet")
    np.savez(tmp_path / "other.npz", features=np.zeros((2, 3)))
    for name in ("other.parquet", "other.npz"):
        with pytest.raises(UserError, match="but not one that manyview embed wrote"):
            read_features(tmp_path / name)
    with pytest.raises(UserError, match=r"there is no file .*nowhere\.npz"):
        read_features(tmp_path / "nowhere.npz")
    with pytest.raises(UserError, match=r"must end in \.parquet or \.npz"):
        read_features(tmp_path / "features.h5")
