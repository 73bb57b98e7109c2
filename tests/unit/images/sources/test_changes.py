from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from manyview.errors import UserError
from manyview.images import find_images
from manyview.images.files import ImageFiles
from manyview.images.sources.changes import RECORD, changes_since, hash_images, read_record, record_images


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(5):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(bytes([number]) * 9)
    return tmp_path / "photos"


def overwrite(file: Path, keep_time: bool = False) -> None:
    status = file.stat()
    file.write_bytes(b"x" * status.st_size)
    later = status.st_mtime_ns + (0 if keep_time else 10**9)
    os.utime(file, ns=(later, later))


def since(folder: Path, files: ImageFiles, contents: np.ndarray | None) -> str:
    record = read_record(folder, files)
    assert record is not None
    return changes_since(record, folder, files, contents)


def test_without_hashes_times_are_told(photos: Path, tmp_path: Path) -> None:
    files = find_images(photos)
    fingerprint = files.fingerprint()
    record_images(tmp_path, files, None)
    assert since(tmp_path, find_images(photos), None) == ""
    overwrite(photos / "3.jpg")
    changed = find_images(photos)
    assert changed.fingerprint() == fingerprint
    said = since(tmp_path, changed, None)
    assert said.startswith("Warning: 1 of 5 images (3.jpg) have the same size as when the run was started")
    assert "data.content_hashes=true" in said


def test_hashes_tell_edited_images_from_copied_ones(photos: Path, tmp_path: Path) -> None:
    (photos / "9.jpg").symlink_to("nowhere")
    files = find_images(photos)
    hashes = hash_images(files, 2)
    assert not hashes[5].any(), "what cannot be read"
    record_images(tmp_path, files, hashes)
    for file in photos.glob("[0-4].jpg"):
        os.utime(file, ns=(7, 7))
    copied = find_images(photos)
    said = since(tmp_path, copied, hash_images(copied, 1))
    assert said == (
        "5 of 6 images (0.jpg, 1.jpg, 2.jpg, ...) have another time of change, but the same contents, as after a copy."
    )
    overwrite(photos / "1.jpg", keep_time=True)
    edited = find_images(photos)
    with pytest.raises(UserError, match=r"1 of 6 images \(1.jpg\) changed since .* at the same size"):
        since(tmp_path, edited, hash_images(edited, 3))


def test_a_record_that_is_lost_or_damaged_is_none(photos: Path, tmp_path: Path) -> None:
    files = find_images(photos)
    assert read_record(tmp_path, files) is None
    record_images(tmp_path, files, None)
    (photos / "more.jpg").write_bytes((photos / "1.jpg").read_bytes())
    assert read_record(tmp_path, find_images(photos)) is None
    data = bytearray((tmp_path / RECORD).read_bytes())
    data[-1] ^= 255
    (tmp_path / RECORD).write_bytes(data)
    assert read_record(tmp_path, files) is None
