from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from manyview.errors import UserError
from manyview.images import ImageFiles, find_images
from manyview.images.sources import lists, scan, stats
from manyview.images.sources.kept import kept_file, open_kept, write_arrays

NAMES = ["a-b/3.jpg", "a/1.jpg", "a/b/2.jpg", "a0.jpg"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose list is kept, though it holds four images only, which were put there a minute ago."""
    monkeypatch.setenv("MANYVIEW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lists, "LARGE", 1)
    root = tmp_path / "photos"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    (root / "b.heics").touch()
    age(root)
    return root


def age(root: Path, minutes: int = 1) -> None:
    for path in (root, *root.rglob("*")):
        now = path.stat().st_mtime_ns - minutes * 60 * 10**9
        os.utime(path, ns=(now, now))


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("called though the list is kept")


def listed_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the folder is searched, with the names that are found either way."""
    with monkeypatch.context() as patched:
        patched.setattr("manyview.images.files.scan", refuse)
        try:
            find_images(root)
        except AssertionError:
            return True
    return False


def test_a_large_folder_is_searched_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = find_images(folder)
    assert "is kept in" in first.note
    fingerprint = first.fingerprint()
    assert not listed_again(folder, monkeypatch)
    again = find_images(folder)
    assert (list(again), again.left_out, again.note) == (NAMES, first.left_out, "")
    assert again.left_out == "1 file of other formats left out (1 .heics)."
    monkeypatch.setattr("manyview.images.files.fingerprint", refuse)
    assert again.fingerprint() == fingerprint
    assert find_images(folder, arrays=True).note != "", "another search"


def add(root: Path) -> None:
    (root / "a/b/new.jpg").touch()


def remove(root: Path) -> None:
    (root / "a/b/2.jpg").unlink()


def rename(root: Path) -> None:
    (root / "a/1.jpg").rename(root / "a/11.jpg")


def add_a_folder(root: Path) -> None:
    (root / "a/c").mkdir()


def replace_a_folder(root: Path) -> None:
    (root / "a-b").rename(root.parent / "elsewhere")
    (root / "a-b").mkdir()
    (root / "a-b/other.jpg").touch()


@pytest.mark.parametrize("change", [add, remove, rename, add_a_folder, replace_a_folder])
def test_a_folder_that_changed_is_searched_again(folder: Path, change: object, monkeypatch: pytest.MonkeyPatch) -> None:
    find_images(folder)
    assert callable(change)
    change(folder)
    assert listed_again(folder, monkeypatch)
    expected = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    assert sorted(find_images(folder)) == expected


def test_a_file_changed_in_its_folder_changes_fingerprint_and_times(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = find_images(folder)
    fingerprint, times = before.fingerprint(), before.stats().changed
    (folder / NAMES[1]).write_bytes(b"A" * len(NAMES[1]))
    again = find_images(folder)
    assert again.fingerprint() == fingerprint
    assert np.flatnonzero(again.stats().changed != times).tolist() == [1]
    with (folder / NAMES[2]).open("ab") as stream:
        stream.write(b"longer")
    assert find_images(folder).fingerprint() != fingerprint
    monkeypatch.setenv(lists.CHECK_FILES, "0")
    last = find_images(folder).fingerprint()
    (folder / NAMES[2]).write_bytes(b"short")
    assert find_images(folder).fingerprint() == last, "files are not looked at"
    monkeypatch.delenv(lists.CHECK_FILES)
    assert find_images(folder).fingerprint() not in (last, fingerprint)


def test_a_folder_changed_just_now_may_change_again_at_the_same_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a/new.jpg").touch()
    assert find_images(folder).note == ""
    assert listed_again(folder, monkeypatch)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "version"])
def test_a_damaged_list_is_made_again(folder: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find_images(folder)
    (file,) = (folder.parent / "cache").glob("*.names")
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[-3] ^= 1
    file.write_bytes(
        {"cut": data[:-40], "flip": data, "empty": b"", "version": data.replace(b"list 1", b"list 9")}[damage]
    )
    assert listed_again(folder, monkeypatch)
    assert list(find_images(folder)) == NAMES


def test_nothing_is_kept_of_few_images_or_against_the_users_will(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANYVIEW_CACHE", "")
    assert find_images(folder).note == ""
    monkeypatch.setenv("MANYVIEW_CACHE", str(folder / NAMES[0]))
    assert "is not kept for the next time" in find_images(folder).note
    monkeypatch.setenv("MANYVIEW_CACHE", str(tmp_path / "unused"))
    monkeypatch.setattr(lists, "LARGE", 5)
    find_images(folder).fingerprint()
    assert not (tmp_path / "unused").exists()
    monkeypatch.delenv("MANYVIEW_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    file = kept_file("a")
    assert file is not None
    assert file.parent == tmp_path / "xdg" / "manyview"


def test_another_process_maps_the_list_instead_of_receiving_it(folder: Path) -> None:
    files = find_images(folder)
    pickled = pickle.dumps(files)
    assert NAMES[0].encode() not in pickled
    received = pickle.loads(pickled)
    assert list(received) == NAMES
    assert received.path(1) == folder / NAMES[1]
    add(folder)
    age(folder, 2)
    find_images(folder)
    with pytest.raises(UserError, match="was replaced while it was used"):
        pickle.loads(pickled)


def test_arrays_are_kept_as_they_are(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "none": np.zeros((0, 2)), "b": np.array([1.5])}
    write_arrays(tmp_path / "file", {"said": [1, "ü"]}, arrays)
    kept = open_kept(tmp_path / "file")
    assert kept is not None
    assert kept.about == {"said": [1, "ü"]}
    for name, array in arrays.items():
        assert kept.arrays[name].dtype == array.dtype
        assert np.array_equal(kept.arrays[name], array)
    with pytest.raises(ValueError, match="read-only"):
        kept.arrays["a"][0, 0] = 1


def test_files_are_looked_at_in_threads_where_the_file_system_is_slow(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ImageFiles(folder, [*NAMES, "none.jpg"] * 40)
    quick = stats.read_stats(folder, names)
    assert quick.sizes[4] == stats.ABSENT
    monkeypatch.setattr(stats, "_SLOW", -1.0)
    monkeypatch.setattr(stats, "_TRIED", 3)
    monkeypatch.setattr(stats, "_AT_ONCE", 70)
    assert stats.read_stats(folder, names) == quick


def test_names_of_a_folder_are_in_order_of_their_bytes_below_links_too(tmp_path: Path) -> None:
    for name in ("b/1.jpg", "b-/2.jpg", "é/3.jpg", "b.jpg", "b0/x/4.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    plain = [*scan.scan(tmp_path, {".jpg"}).names]
    assert plain == ["b-/2.jpg", "b.jpg", "b/1.jpg", "b0/x/4.jpg", "é/3.jpg"]
    (tmp_path / "é/up").symlink_to(tmp_path)
    assert [*scan.scan(tmp_path, {".jpg"}).names] == plain
    # Of two paths to one folder, the first by components: "b" before "b-", though "b-/" is before "b/".
    (tmp_path / "b-/again").symlink_to(tmp_path / "b0/x")
    (tmp_path / "b/again").symlink_to(tmp_path / "b0/x")
    assert [*scan.scan(tmp_path, {".jpg"}).names] == ["b-/2.jpg", "b.jpg", "b/1.jpg", "b/again/4.jpg", "é/3.jpg"]
