from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import features

from manyview.errors import UserError
from manyview.images import ImageFiles, find_images


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_names_paths_and_indices(tmp_path: Path) -> None:
    names = ["a.jpg", "längst/ø/写真.png", "", "b c.gif"]
    files = ImageFiles(tmp_path, names)
    assert list(files) == names
    assert len(files) == 4
    assert [files[index] for index in range(-4, 0)] == names
    assert files.path(1) == tmp_path / "längst" / "ø" / "写真.png"
    for index in (4, -5):
        with pytest.raises(IndexError):
            files[index]
    assert len(ImageFiles(tmp_path, [])) == 0


def test_names_lie_in_one_buffer_that_pickles_as_a_block(tmp_path: Path) -> None:
    names = [f"folder/{number:08d}.jpg" for number in range(20_000)]
    files = ImageFiles(tmp_path, names)
    assert files.buffer.dtype == np.uint8
    assert files.buffer.tobytes() == "".join(names).encode()
    pickled = pickle.dumps(files)
    assert len(pickled) < 1000 + files.buffer.nbytes + files.offsets.nbytes
    assert list(pickle.loads(pickled)) == names


def test_names_that_are_not_text_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / name).touch()
    assert list(find_images(tmp_path)) == [name]
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.jpg\n")
    assert find_images(tmp_path, tmp_path / "list.txt").path(0).exists()


def test_fingerprint_is_of_names_and_sizes(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b/c.png")
    before = find_images(tmp_path).fingerprint()
    assert before == hashlib.sha256(b"a.jpg\x005\nb/c.png\x007\n").hexdigest()
    (tmp_path / "a.jpg").write_bytes(b"AAAAA")
    assert find_images(tmp_path).fingerprint() == before
    (tmp_path / "a.jpg").write_bytes(b"longer")
    assert find_images(tmp_path).fingerprint() != before
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    assert len(find_images(tmp_path).fingerprint()) == 64


def test_search_is_recursive_sorted_and_by_extension(tmp_path: Path) -> None:
    found = ["B.JPG", "Z/1.tif", "a-b.webp", "a.TIFF", "a/10.png", "a/9.jpeg", "a0.bmp", "ü.gif"]
    make(tmp_path, *found, "a/notes.txt", "photo.jpg.part", "jpg", ".hidden.jpg", ".cache/x.jpg", "a/._9.jpeg")
    assert list(find_images(tmp_path)) == sorted(found, key=str.encode)


def test_bad_files_are_found_too(tmp_path: Path) -> None:
    make(tmp_path, "folder.jpg/inside.png", "empty.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert list(find_images(tmp_path)) == [
        "dangling.jpg",
        "empty.jpg",
        "folder.jpg/inside.png",
        "loop.jpg",
    ]


@pytest.mark.parametrize(
    "folder",
    [
        "@eaDir/a.jpg",
        "b/@eaDir/c.jpg",
        "#recycle",
        "#snapshot/GMT-2026.11.01",
        "@Recycle",
        "@tmp",
        "$RECYCLE.BIN/S-1-5-21",
        "System Volume Information",
        "lost+found",
        "__MACOSX/photos",
        "CVS",
        "_darcs",
        "Previews.lrdata",
        ".git/annex",
        ".Trash-1000/files",
        ".thumbnails",
    ],
)
def test_copies_of_thumbnailers_bins_and_version_control_do_not_count(tmp_path: Path, folder: str) -> None:
    make(tmp_path, "a.jpg", "b/c.jpg", f"{folder}/SYNOPHOTO_THUMB_XL.jpg", f"{folder}/unnamed")
    files = find_images(tmp_path)
    assert list(files) == ["a.jpg", "b/c.jpg"]
    assert files.left_out == ""


def test_users_own_folders_of_such_names_count(tmp_path: Path) -> None:
    names = ["#1/a.jpg", "@home/a.jpg", "archive.jpg/a.jpg", "recycling/a.jpg"]
    make(tmp_path, *names)
    assert list(find_images(tmp_path)) == names


def test_every_name_of_a_format_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda _: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    names = ["a.jfif", "b.jpe", "c.MPO", "d.HEIC", "e.avif", "f.heif", "g.JPG"]
    make(tmp_path, *names)
    files = find_images(tmp_path)
    assert list(files) == names
    assert files.left_out == ""


@pytest.mark.parametrize(
    ("head", "counts"),
    [
        (b"\xff\xd8\xff\xe0", True),
        (b"\x89PNG\r\n\x1a\n", True),
        (b"RIFF\x10\0\0\0WEBPVP8 ", True),
        (b"GIF89a", True),
        (b"II*\0", True),
        (b"MM\0*", True),
        (b"BM6\0", True),
        (b"RIFF\x10\0\0\0WAVEfmt ", False),
        (b"#!/bin/sh", False),
        (b"", False),
    ],
)
def test_names_without_extension_count_by_their_first_bytes(tmp_path: Path, head: bytes, counts: bool) -> None:
    make(tmp_path, "z.jpg")
    (tmp_path / "0001").write_bytes(head)
    assert list(find_images(tmp_path)) == ["0001", "z.jpg"][not counts :]


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    make(tmp_path, "z.jpg")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    (tmp_path / "link").symlink_to("pipe")
    assert list(find_images(tmp_path)) == ["z.jpg"]


def test_other_formats_are_counted_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda _: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    others = [*(f"{n}.HEIC" for n in range(8)), *(f"{n}.cr2" for n in range(3)), "a.avif", "b.mp4", "c.mov"]
    make(tmp_path, "a.jpg", "a.txt", "labels.csv", "Thumbs.db", "a.xmp", *others)
    files = find_images(tmp_path)
    assert list(files) == ["a.jpg"]
    assert files.left_out == (
        "14 files of other formats left out (8 .heic, 3 .cr2, 1 .avif, 1 .mov, ...); "
        "pip install 'manyview[heif]' reads HEIC; Pillow 11.3 or newer reads AVIF."
    )
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(UserError, match=r"no images in .* ends in .*; 14 files of other formats left out \(8 \.heic"):
        find_images(tmp_path)


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "1.jpg")
    root = make(tmp_path / "root", "b/2.jpg")
    (root / "b" / "up").symlink_to(root)
    (root / "a").symlink_to(tmp_path / "elsewhere")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "d.jpg").symlink_to(root / "b" / "2.jpg")
    assert list(find_images(root)) == ["a/1.jpg", "b/2.jpg", "d.jpg"]


def test_folder_that_may_not_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg", "locked/b.jpg")
    (tmp_path / "locked").chmod(0)
    if os.access(tmp_path / "locked", os.R_OK):  # the superuser may search everything
        scandir = os.scandir

        def refuse(path: Path) -> object:
            if Path(path).name == "locked":
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"cannot search the folder .*locked \(Permission denied\)"):
        find_images(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.txt", "c/d.png\r\n\n  a.jpg  \na.jpg\n"),
        ("l.csv", "image,labels\nc/d.png,cat|dog\n./a.jpg,\n"),
        ("l.csv", "\ufeffimage,labels\na.jpg,\nc/d.png,cat\n"),
        ("l.csv", "id, Image \n1,a.jpg\n2,c/d.png\n"),
        ("l.csv", 'a.jpg,x\n"c/d.png",y\n\n'),
    ],
)
def test_lists(tmp_path: Path, name: str, content: str) -> None:
    make(tmp_path, "a.jpg", "b.jpg", "c/d.png")
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert list(find_images(tmp_path, tmp_path / name)) == ["a.jpg", "c/d.png"]


def test_list_may_name_what_a_search_would_not_find(tmp_path: Path) -> None:
    make(tmp_path, "photo.jfif", ".hidden.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    (tmp_path / "l.txt").write_text("photo.jfif\n.hidden.jpg\ndangling.jpg\n")
    assert list(find_images(tmp_path, tmp_path / "l.txt")) == [".hidden.jpg", "dangling.jpg", "photo.jfif"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.txt", "a.jpg\nx.jpg\ny.jpg\nz.jpg\nw.jpg\n", r"4 of 5 images \(x.jpg, y.jpg, z.jpg, \.\.\.\) not found in"),
        ("l.txt", "../a.jpg\n", "outside the folder"),
        ("l.txt", "/a.jpg\n", "outside the folder"),
        ("l.txt", ".\n", "outside the folder"),
        ("l.txt", "\n \n", "names no images"),
        ("l.csv", "image,labels\n", "names no images"),
        ("l.csv", "", "names no images"),
        ("l.csv", "labels,image\ncat\n", "without a name in column 2"),
        ("l.csv", 'image\n"a.jpg', "not a CSV file"),
        ("l.json", "[]", r"must end in \.txt .* or \.csv"),
        ("none.txt", None, "does not exist"),
        ("folder.txt", None, "cannot be read: Is a directory"),
    ],
)
def test_bad_lists(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    make(tmp_path, "a.jpg")
    (tmp_path / "folder.txt").mkdir()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        find_images(tmp_path, tmp_path / name)


def test_bad_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg")
    with pytest.raises(UserError, match="does not exist"):
        find_images(tmp_path / "none")
    with pytest.raises(UserError, match="is a file where a folder"):
        find_images(tmp_path / "a.jpg")
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(features, "check", lambda _: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"no images in .*empty: nothing below it ends in avif, bmp, gif, jfif"):
        find_images(tmp_path / "empty")


def test_arrays_count_only_where_they_are_asked_for(tmp_path: Path) -> None:
    for name in ("a.tif", "b.npy", "c.NPY", "d.npz"):
        (tmp_path / name).touch()

    assert list(find_images(tmp_path)) == ["a.tif"]
    assert list(find_images(tmp_path, arrays=True)) == ["a.tif", "b.npy", "c.NPY"]


@pytest.mark.parametrize(("labels", "images"), [("labels/train", "images/train"), ("Annotations", "JPEGImages")])
def test_a_folder_of_labels_is_answered_with_that_of_its_images(tmp_path: Path, labels: str, images: str) -> None:
    make(tmp_path, f"{labels}/a.xml")
    with pytest.raises(UserError) as refused:
        find_images(tmp_path / labels)
    assert "may be in" not in str(refused.value)
    make(tmp_path, f"{images}/a.jpg")
    with pytest.raises(UserError, match=rf"no images in .*; its images may be in .*{images}$"):
        find_images(tmp_path / labels)
