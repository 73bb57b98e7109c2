"""The account of images that cannot be read: its list, and when it ends the work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manyview.errors import UserError
from manyview.images import ImageFiles, find_images
from manyview.images.skipped import SkippedImages, read_skipped, write_skipped


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    """Eight names."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(8):
        (folder / f"{index}.jpg").touch()
    return find_images(folder)


def test_the_list_comes_back(tmp_path: Path) -> None:
    listing, skipped = tmp_path / "skipped.csv", {'b, "quoted".jpg': "empty file", "a/é.jpg": "truncated file"}
    assert read_skipped(listing) == {}
    write_skipped(listing, skipped)
    assert read_skipped(listing) == skipped
    assert listing.read_text().splitlines()[:2] == ["image,reason", "a/é.jpg,truncated file"]


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    listing, name = tmp_path / "skipped.csv", os.fsdecode(b"caf\xe9.jpg")
    write_skipped(listing, {name: "empty file"})
    assert read_skipped(listing) == {name: "empty file"}
    assert b"caf\xe9.jpg,empty file" in listing.read_bytes()


def test_they_are_listed_as_they_are_found_and_count_once(files: ImageFiles, tmp_path: Path) -> None:
    account = SkippedImages(files, 0.25, tmp_path / "a.csv", "data.limit")
    account.add([(5, "empty file")])
    assert read_skipped(tmp_path / "a.csv") == {"5.jpg": "empty file"}
    account.add([(5, "empty file"), (2, "a directory")])
    again = SkippedImages(files, 0.25, tmp_path / "a.csv", "data.limit", resume=True)
    assert again.reasons == account.reasons == {"2.jpg": "a directory", "5.jpg": "empty file"}
    with pytest.raises(
        UserError,
        match=r"3 of 8 images cannot be read, 37\.5%, above the limit of 25%: 0\.jpg \(empty file\), 2\.jpg .*; "
        r"those found so far are listed in .*a\.csv; remove or repair them, or raise data\.limit",
    ):
        again.add([(0, "empty file")])
    assert len(read_skipped(tmp_path / "a.csv")) == 3


def test_whatever_the_limit_something_must_be_left(files: ImageFiles, tmp_path: Path) -> None:
    account = SkippedImages(files, 1, tmp_path / "a.csv", "limit")
    with pytest.raises(UserError, match=r"1 of 8 .*, and too many of them in a row: 0\.jpg"):
        account.add([(0, "empty file")], complete=False)
    with pytest.raises(UserError, match=r"8 of 8 .*, and none is left: .* 4\.jpg \(empty file\) and 3 more; those"):
        account.add((index, "empty file") for index in range(8))


def test_only_one_process_writes_and_an_old_list_goes(files: ImageFiles, tmp_path: Path) -> None:
    listing = tmp_path / "a.csv"
    SkippedImages(files, 1, listing, "limit", writes=False).add([(0, "empty file")])
    assert not listing.exists()
    write_skipped(listing, {"old.jpg": "empty file"})
    SkippedImages(files, 1, listing, "limit", writes=False).write()
    assert listing.exists()
    SkippedImages(files, 1, listing, "limit").write()
    assert not listing.exists()


@pytest.mark.parametrize("damage", [(b"reason", b"reasnn"), (b"a.jpg,", b"a.jpg\0"), (b"b.jpg,empty", b"b.jpg")])
def test_a_damaged_list_gives_what_is_intact(tmp_path: Path, damage: tuple[bytes, bytes]) -> None:
    listing = tmp_path / "skipped.csv"
    write_skipped(listing, {"a.jpg": "empty file", "b.jpg": "empty"})
    listing.write_bytes(listing.read_bytes().replace(*damage))
    assert read_skipped(listing).items() <= {"a.jpg": "empty file", "b.jpg": "empty"}.items()
