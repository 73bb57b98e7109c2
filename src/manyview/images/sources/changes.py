"""What a run notes of its image files, by which a change is noticed when it is resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from manyview import distributed
from manyview.errors import UserError, first_few
from manyview.images.decode import read_file
from manyview.images.files import ImageFiles
from manyview.images.sources.kept import KeptArrays, open_kept, write_arrays
from manyview.images.sources.stats import hash_contents

RECORD = "images.stats"
"""File of a run's folder that holds them."""

Hashes = UInt8[np.ndarray, "images 32"]


def hash_images(files: ImageFiles, threads: int) -> Hashes:
    """SHA-256 of the contents of each image, in order; each process reads its share, and all get all.

    What cannot be read, and is left out of training, has the hash 0.

    Args:
        files: the images.
        threads: images read at a time by this process.
    """
    own = distributed.share(range(len(files)))
    hashes = hash_contents(lambda index: read_file(files.path(index)), own, threads=threads)
    return distributed.gather_shares(torch.from_numpy(hashes), len(files)).numpy()


def record_images(folder: Path, files: ImageFiles, contents: Hashes | None) -> None:
    """Note the times of change of a run's images, and the hashes of their contents if there are any.

    Raises:
        UserError: the disk is full or the folder not writable.
    """
    hashes = {} if contents is None else {"contents": contents}
    write_arrays(folder / RECORD, {"images": len(files)}, {"changed": files.stats().changed, **hashes})


def read_record(folder: Path, files: ImageFiles) -> KeptArrays | None:
    """What ``record_images`` noted of as many images; None if it is missing or damaged."""
    record = open_kept(folder / RECORD)
    return record if record is not None and record.about.get("images") == len(files) else None


def changes_since(record: KeptArrays, folder: Path, files: ImageFiles, contents: Hashes | None) -> str:
    """What has changed in images whose names and sizes are those that a run was started with.

    A time of change alone proves nothing: a copy of the folder has others.

    Args:
        record: what the run has noted.
        folder: of the run.
        files: the images now.
        contents: hashes now, of a run that has recorded them.

    Returns:
        A sentence; empty if nothing has changed.

    Raises:
        UserError: contents have changed.
    """
    (changed,) = np.nonzero(record.arrays["changed"] != files.stats().changed)
    before = record.arrays.get("contents")
    if before is not None and contents is not None:
        (other,) = np.nonzero((before != contents).any(axis=1))
        if len(other):
            raise UserError(
                f"{_named(other, files)} changed since {folder} was started, at the same size: put the former contents "
                "back, or start a new run"
            )
        same = f"{_named(changed, files)} have another time of change, but the same contents, as after a copy."
        return same if len(changed) else ""
    if not len(changed):
        return ""
    return (
        f"Warning: {_named(changed, files)} have the same size as when the run was started, but another time of "
        "change: as after a copy, or because they were edited. Contents are compared only in runs with "
        "data.content_hashes=true."
    )


def _named(indices: np.ndarray, files: ImageFiles) -> str:
    shown = first_few([files[int(index)] for index in indices[:4]])
    return f"{len(indices):,} of {len(files):,} images ({shown})"
