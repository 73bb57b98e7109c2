from __future__ import annotations

import io
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from manyview.errors import UserError
from manyview.images import ImageFiles, UnreadableImage, find_images, image_root, open_image
from manyview.images.sources import collection, parquet, shard_index, stores
from manyview.images.sources.collection import Collection, Member
from tests.helpers.shards import ENDINGS, write_shards, write_tar
from tests.helpers.tiny import write_images


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MANYVIEW_CACHE", str(tmp_path / "cache"))
    shard_index.collect.cache_clear()
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_images(tmp_path_factory.mktemp("loose") / "photos", 7)
    (folder / "b").mkdir()
    (folder / "06.jpg").rename(folder / "b" / "é 6.jpg")
    return folder


def same_images(files: ImageFiles, loose: Path) -> None:
    expected = find_images(loose)
    assert list(files) == list(expected)
    for index in range(len(files)):
        assert np.array_equal(open_image(files.path(index)).decode(), open_image(expected.path(index)).decode())


@pytest.mark.parametrize("ending", ENDINGS)
def test_shards_are_a_folder(loose: Path, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_shards(loose, tmp_path / "shards", ending)
    files = find_images(folder)
    assert isinstance(files.root, Collection)
    assert files.note.startswith("7 images in 2 shards (")
    assert files.left_out == ""
    same_images(files, loose)
    shard_index.collect.cache_clear()
    monkeypatch.setattr(type(files.root.form), "members", lambda *_: pytest.fail("listed again though kept"))
    same_images(pickle.loads(pickle.dumps(find_images(folder))), loose)
    assert find_images(folder).fingerprint() == files.fingerprint()
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda index: files.path(index).read_bytes(), [*range(7)] * 20))
    assert read == [(loose / name).read_bytes() for name in files] * 20


@pytest.mark.parametrize(
    "pattern", ["000000.tar", "{000000..000001}.tar", "00000?.tar", "{000001,000000}.tar", "*.tar"]
)
def test_patterns(loose: Path, tmp_path: Path, pattern: str) -> None:
    folder = write_shards(loose, tmp_path / "shards", ".tar", shards=1 if pattern == "000000.tar" else 2)
    (folder / "notes").mkdir()
    same_images(find_images(folder / pattern), loose)
    with pytest.raises(UserError, match=r"no images in .*shards: nothing below it"):
        find_images(folder)  # holds folders too, so that it is one of loose images


@pytest.mark.parametrize("name", ["train[1].tar", "train{1}.tar", "{a,b}.tar"])
def test_a_file_may_have_the_letters_of_patterns_in_its_name(loose: Path, tmp_path: Path, name: str) -> None:
    folder = write_shards(loose, tmp_path / "shards [2024]{0,1}", ".tar", shards=1)
    (folder / "000000.tar").rename(folder / name)
    same_images(find_images(folder / name), loose)
    same_images(find_images(folder), loose)


def test_braces() -> None:
    assert list(stores.expand("a{08..11}{x,}.tar")) == [f"a{n:02d}{x}.tar" for n in range(8, 12) for x in ("x", "")]
    assert list(stores.expand("a.tar")) == ["a.tar"]


@pytest.mark.parametrize("written", ["memory://b/{000000..000001}.tar", "memory:/b/*.tar", "memory://b"])
def test_addresses(loose: Path, tmp_path: Path, written: str) -> None:
    system = fsspec.filesystem("memory")
    for shard in write_shards(loose, tmp_path / "shards", ".tar").iterdir():
        system.pipe(f"/b/{shard.name}", shard.read_bytes())
    try:
        files = find_images(Path(written))  # pathlib takes one slash for two
        assert str(files.path(0)).startswith("memory://b")
        same_images(files, loose)
        system.rm("/b/000001.tar")
        with pytest.raises(UnreadableImage, match=r"the shard 000001\.tar cannot be read: "):
            files.path(5).read_bytes()
    finally:
        system.rm("/b", recursive=True)


def test_addresses_of_parquet_and_of_local_files(loose: Path, tmp_path: Path) -> None:
    folder = write_shards(loose, tmp_path / "shards", ".parquet")
    system = fsspec.filesystem("memory")
    for shard in folder.iterdir():
        system.pipe(f"/p/{shard.name}", shard.read_bytes())
    try:
        same_images(find_images("memory://p"), loose)
    finally:
        system.rm("/p", recursive=True)
    same_images(find_images(f"file://{folder}"), loose)
    with pytest.raises(UserError, match=r"nosuch://a/\*\.tar is no address that can be read"):
        find_images("nosuch://a/*.tar")


def test_lists_and_labels_name_members(loose: Path, tmp_path: Path) -> None:
    from manyview.labels import read_labels

    folder = write_shards(loose, tmp_path / "shards", ".tar")
    (tmp_path / "list.txt").write_text("05.jpg\n./00.JPG\nb/e\u0301 6.jpg\n")
    files = find_images(folder, tmp_path / "list.txt")
    assert list(files) == ["00.jpg", "05.jpg", "b/é 6.jpg"]
    assert files.stats().sizes.tolist() == [(loose / name).stat().st_size for name in files]
    (tmp_path / "labels.csv").write_text("image,labels\n05.jpg,cat\n02.jpg,dog\n")
    assert read_labels(tmp_path / "labels.csv", folder).names == ("05.jpg", "02.jpg")
    (tmp_path / "labels.csv").write_text("image,labels\n55.jpg,cat\n")
    with pytest.raises(UserError, match=r"names 55\.jpg, which is missing, the nearest name being 05\.jpg"):
        read_labels(tmp_path / "labels.csv", folder)
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo/03.txt").write_text("0 .5 .5 .2 .2\n")
    (tmp_path / "yolo/b").mkdir()
    (tmp_path / "yolo/b/é 6.txt").write_text("1 .5 .5 .2 .2\n")
    assert read_labels(tmp_path / "yolo", folder).names == ("03.jpg", "b/é 6.jpg")


def test_names_that_occur_in_several_shards_get_the_shards_name(loose: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    for name in ("x/0.tar", "x/1.tar", "y/0.tar"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_tar(loose, ["00.jpg"], folder / name)
    files = find_images(folder / "x" / "*.tar")
    assert list(files) == ["0.tar/00.jpg", "1.tar/00.jpg"]
    assert "so that the shard's name stands before each" in files.note
    assert list(find_images(folder / "*/*.tar")) == ["x/0.tar/00.jpg", "x/1.tar/00.jpg", "y/0.tar/00.jpg"]
    write_tar(loose, ["01.jpg"], folder / "x" / "2.tar")  # with what is kept of the others
    assert list(find_images(folder / "x" / "*.tar")) == ["0.tar/00.jpg", "1.tar/00.jpg", "2.tar/01.jpg"]
    (folder / "x" / "1.tar").unlink()
    assert list(find_images(folder / "x" / "*.tar")) == ["00.jpg", "01.jpg"]


def add(
    archive: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(content), kind, link
    archive.addfile(member, io.BytesIO(content))


def test_members_of_every_kind(tmp_path: Path) -> None:
    jpeg = b"\xff\xd8\xff\xe0"
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        folder = tmp_path / str(kind)
        folder.mkdir()
        with tarfile.open(folder / "a.tar", "w", format=kind) as archive:
            add(archive, "twice.jpg", b"old")
            add(archive, "./a/" + "long" * 22 + ".jpg", b"long")
            add(archive, "noending", jpeg)
            add(archive, "README", b"text")
            add(archive, "../outside.jpg", b"no")
            add(archive, "/absolute.jpg", b"no")
            add(archive, "._twice.jpg", b"no")
            add(archive, "folder.jpg", kind=tarfile.DIRTYPE)
            add(archive, "pipe.jpg", kind=tarfile.FIFOTYPE)
            add(archive, "twice.jpg", b"new!")
            add(archive, "a/hard.jpg", kind=tarfile.LNKTYPE, link="./twice.jpg")
            add(archive, "a/soft.jpg", kind=tarfile.SYMTYPE, link="../twice.jpg")
            add(archive, "a/dangling.jpg", kind=tarfile.SYMTYPE, link="/etc/passwd")
            add(archive, "clip.mp4", b"x")
        files = find_images(folder)
        found = {name: files.path(index).read_bytes() for index, name in enumerate(files)}
        assert found == {
            **{"a/" + "long" * 22 + ".jpg": b"long", "a/hard.jpg": b"new!", "a/soft.jpg": b"new!"},
            **{"noending": jpeg, "twice.jpg": b"new!"},
        }
        assert files.left_out == "1 file of other formats left out (1 .mp4)."


def test_bad_shards_are_named_and_counted(loose: Path, tmp_path: Path) -> None:
    folder = write_shards(loose, tmp_path / "shards", ".tar", shards=7)
    sound = (folder / "000001.tar").read_bytes()
    (folder / "000001.tar").write_bytes(sound[: tarfile.BLOCKSIZE + 100])
    (folder / "000002.tar").write_bytes(b"")
    (folder / "000003.tar").write_bytes(b"\x1f\x8b" + bytes(2000))
    (folder / "000004.tar").unlink()
    files = find_images(f"{folder}/{{000000..000006}}.tar")
    assert list(files) == ["00.jpg", "05.jpg", "b/é 6.jpg"]
    reasons = {bad.name: (bad.reason.partition(" (")[0], bad.lost) for bad in files.bad}
    assert reasons == {
        "000001.tar": ("no tar archive that is not compressed", 1),
        "000002.tar": ("empty file", 1),
        "000003.tar": ("no tar archive that is not compressed", 1),
        "000004.tar": ("missing", 1),
    }
    assert "4 of 7 shards cannot be read as a whole, by which some 4 images are lost: 000001.tar (" in files.left_out
    (folder / "000001.tar").write_bytes(sound)  # with the same size and another time, or not kept at all
    assert len(find_images(f"{folder}/{{000000..000006}}.tar")) == 4
    for shard in folder.iterdir():
        shard.unlink()
    with pytest.raises(UserError, match=r"none of the 7 shards of .* can be read: 000000\.tar \(missing\)"):
        find_images(f"{folder}/{{000000..000006}}.tar")
    with pytest.raises(UserError, match=r"there is no file .*\*\.tar: check the pattern"):
        find_images(folder / "*.tar")


def test_a_cut_shard_keeps_its_whole_images(loose: Path, tmp_path: Path) -> None:
    folder = write_shards(loose, tmp_path / "shards", ".tar", shards=2)
    with (folder / "000001.tar").open("rb+") as stream, tarfile.open(folder / "000001.tar") as archive:
        last = archive.getmembers()[-2]
        stream.truncate(last.offset_data + last.size - 1)
    files = find_images(folder)
    assert list(files) == [f"{number:02d}.jpg" for number in range(6)]
    assert files.bad[0].reason.startswith("cut or damaged after its 2. image")
    assert files.bad[0].lost == 2  # the other shard has four


def test_a_shard_that_changes_while_it_is_used(loose: Path, tmp_path: Path) -> None:
    files = find_images(write_shards(loose, tmp_path / "shards", ".tar"))
    shard = tmp_path / "shards" / "000001.tar"
    shard.write_bytes(shard.read_bytes()[512:])
    with pytest.raises(
        UnreadableImage, match=r"changed since it was listed, no image can be found in the shard 000001"
    ):
        files.path(5).read_bytes()
    shard.unlink()
    with pytest.raises(UnreadableImage, match=r"the shard 000001\.tar cannot be read: missing"):
        open_image(files.path(6))
    assert open_image(files.path(0)).width == 64
    with pytest.raises(UnreadableImage, match="no such image in the shards"):
        (files.root / "none.jpg").read_bytes()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts this process's open files as Linux lists them")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_keeps_few_shards_open(
    loose: Path, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shards(loose, tmp_path / "shards", ending, shards=7)
    monkeypatch.setattr(collection, "_OPEN", 2)
    find_images(folder)  # whatever stays open of the libraries
    shard_index.collect.cache_clear()
    monkeypatch.setenv("MANYVIEW_CACHE", "")  # so that each is listed
    before = len(list(Path("/proc/self/fd").iterdir()))
    files = find_images(folder)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    for index in range(7):
        files.path(index).read_bytes()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_parquet_of_other_layouts(loose: Path, tmp_path: Path) -> None:
    data = [(loose / f"{number:02d}.jpg").read_bytes() for number in range(3)]
    tables = {
        "plain": ({"jpg": data, "id": [1, 2, 3]}, [f"plain/{row:09d}" for row in range(3)]),
        "named": ({"image": data, "file_name": ["c.jpg", "a.jpg", "b.jpg"]}, ["a.jpg", "b.jpg", "c.jpg"]),
        "repeated": (
            {"image": data, "file_name": ["a.jpg", "a.jpg", "b.jpg"]},
            [f"repeated/{n:09d}" for n in range(3)],
        ),
        "two": ({"mask": data, "image": data}, [f"two/{row:09d}" for row in range(3)]),
        "large": (
            {"image": data, "file_name": pyarrow.array(["c.jpg", "a.jpg", "b.jpg"], pyarrow.large_string())},
            ["a.jpg", "b.jpg", "c.jpg"],
        ),
        "dots": ({"image": data, "id": ["13.5", "Mr. Smith", "c.jpg"]}, ["13.5", "Mr. Smith", "c.jpg"]),
        "slashes": ({"image": data, "path": ["/a.jpg", "a.jpg", "b.jpg"]}, [f"slashes/{n:09d}" for n in range(3)]),
    }
    for name, (columns, names) in tables.items():
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / f"{name}.parquet")
        files = find_images(tmp_path / f"{name}.parquet")
        assert list(files) == names
        assert files.left_out == ""
        assert sorted(files.path(index).read_bytes() for index in range(3)) == sorted(data)
    cells = [{"bytes": None, "path": "/data/a.jpg"}, {"bytes": data[0], "path": None}, None]
    kind = pyarrow.struct([("bytes", pyarrow.large_binary()), ("path", pyarrow.string())])
    pyarrow.parquet.write_table(pyarrow.table({"image": pyarrow.array(cells, kind)}), tmp_path / "holes.parquet")
    files = find_images(tmp_path / "holes.parquet")
    assert files.path(1).read_bytes() == data[0]
    with pytest.raises(UnreadableImage, match=r"no bytes, only the path /data/a\.jpg in the shard holes\.parquet"):
        files.path(0).read_bytes()
    with pytest.raises(UnreadableImage, match="no bytes in the shard"):
        files.path(2).read_bytes()
    for columns, message in (
        ({"a": data, "b": data}, "several columns of bytes, a, b: name that of the images image"),
        ({"a": [1]}, "has no column of images"),
    ):
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "bad.parquet")
        with pytest.raises(UserError, match=message):
            find_images(tmp_path / "bad.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"the shard .*bad\.parquet cannot be read \(no Parquet file that can be read"):
        find_images(tmp_path / "bad.parquet")


def test_folder_of_save_to_disk(loose: Path, tmp_path: Path) -> None:
    folder = write_shards(loose, tmp_path / "shards", ".arrow", shards=1)
    (folder / "000000.arrow").rename(folder / "data-00000-of-00001.arrow")
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    (folder / "cache-123.arrow").write_bytes(b"of datasets itself")
    same_images(find_images(folder), loose)
    (folder / "state.json").write_text("{}")
    assert [bad.name for bad in find_images(folder).bad] == ["cache-123.arrow"]
    kind = pyarrow.struct([("bytes", pyarrow.large_binary()), ("path", pyarrow.large_string())])
    rows = pyarrow.table({"image": pyarrow.array([{"bytes": b"x", "path": "a.jpg"}], kind)})
    with pyarrow.OSFile(str(tmp_path / "large.arrow"), "wb") as sink, pyarrow.ipc.new_stream(sink, rows.schema) as out:
        out.write_table(rows)
    assert list(find_images(tmp_path / "large.arrow")) == ["a.jpg"]
    fsspec.filesystem("memory").pipe("/arrow/a.arrow", b"x")
    with pytest.raises(UserError, match="Arrow files are read from this machine only"):
        find_images("memory://arrow")


def test_what_is_no_collection(tmp_path: Path, loose: Path) -> None:
    write_images(tmp_path / "mixed", 2)
    write_tar(loose, ["00.jpg"], tmp_path / "mixed" / "backup.tar")
    assert image_root(tmp_path / "mixed") == tmp_path / "mixed"
    assert list(find_images(tmp_path / "mixed")) == ["00.jpg", "01.jpg"]
    (tmp_path / "a.tar.gz").touch()
    with pytest.raises(UserError, match="compressed archives, of which no image can be read by itself"):
        find_images(tmp_path / "*.tar.gz")
    (tmp_path / "both").mkdir()
    for name in ("a.tar", "b.parquet"):
        (tmp_path / "both" / name).touch()
    with pytest.raises(UserError, match=r"several formats \(\.parquet, \.tar\): name those of one"):
        find_images(tmp_path / "both")
    with tarfile.open(tmp_path / "none.tar", "w") as archive:
        add(archive, "a.txt", b"x")
        add(archive, "b.heics", b"x")
    with pytest.raises(UserError, match=r"no images in .*none\.tar: 1 file of other formats left out"):
        find_images(tmp_path / "none.tar")
    member = image_root(write_shards(loose, tmp_path / "s", ".tar")) / "00.jpg"
    assert isinstance(member, Member)
    assert member == member.resolve()
    assert len({member, pickle.loads(pickle.dumps(member))}) == 1
    assert os.fspath(str(member)).endswith("/s/00.jpg")


def test_a_process_keeps_row_groups_up_to_a_number_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = write_images(tmp_path / "photos")
    shards = write_shards(photos, tmp_path / "shards", ".parquet", shards=2)  # three groups of 3, 3 and 2 rows each
    files = find_images(shards)
    read: list[int] = []
    original = pyarrow.parquet.ParquetFile.read_row_group
    monkeypatch.setattr(
        pyarrow.parquet.ParquetFile,
        "read_row_group",
        lambda self, group, **options: (read.append(group), original(self, group, **options))[1],
    )
    monkeypatch.setattr(parquet, "_GROUPS", parquet._Groups())
    for order, groups in (
        (range(16), [0, 1, 2, 0, 1, 2]),  # each is read once, and then all are there
        (range(15, -1, -1), []),
    ):
        assert [files.path(index).read_bytes() for index in order] == [
            (photos / files[index]).read_bytes() for index in order
        ]
        assert read == groups
        read.clear()
    monkeypatch.setattr(parquet, "_MOST", 1)
    monkeypatch.setattr(parquet, "_GROUPS", kept := parquet._Groups())
    for index in (0, 8, 0, 8, 3, 0):  # two are kept, whatever their size
        files.path(index).read_bytes()
    assert (read, len(kept._kept)) == ([0, 0, 1, 0], 2)
