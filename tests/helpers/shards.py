"""Shards of images of every format, made from a folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ENDINGS = (".tar", ".parquet", ".arrow")


def write_shards(images: Path, out: Path, ending: str, shards: int = 2) -> Path:
    """The images of a folder in so many shards of equal size, as ``out``/000000.tar and so on."""
    out.mkdir(parents=True)
    for number, names in enumerate(parts(images, shards)):
        WRITERS[ending](images, names, out / f"{number:06d}{ending}")
    return out


def parts(images: Path, shards: int) -> Iterator[Sequence[str]]:
    names = sorted(path.relative_to(images).as_posix() for path in images.rglob("*") if path.is_file())
    size = -(-len(names) // shards)
    return (names[start : start + size] for start in range(0, len(names), size))


def write_tar(images: Path, names: Sequence[str], file: Path) -> None:
    """As WebDataset lays it out: files of one sample, here an image and its class, one after the other."""
    with tarfile.open(file, "w") as archive:
        for name in names:
            archive.add(images / name, name)
            label = tarfile.TarInfo(f"{name.rpartition('.')[0]}.cls")
            label.size = 1
            archive.addfile(label, io.BytesIO(b"3"))


def write_parquet(images: Path, names: Sequence[str], file: Path) -> None:
    """As Hugging Face's datasets does, with row groups of three."""
    import pyarrow.parquet

    pyarrow.parquet.write_table(table(images, names), file, row_group_size=3)


def write_arrow(images: Path, names: Sequence[str], file: Path) -> None:
    """As ``save_to_disk`` of datasets does: a stream, in batches of two rows."""
    import pyarrow

    rows = table(images, names)
    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=2)


def table(images: Path, names: Sequence[str]) -> object:
    import pyarrow

    cells = [{"bytes": (images / name).read_bytes(), "path": name} for name in names]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    return pyarrow.table({"label": list(range(len(names))), "image": pyarrow.array(cells, kind)})


WRITERS = {".tar": write_tar, ".parquet": write_parquet, ".arrow": write_arrow}
