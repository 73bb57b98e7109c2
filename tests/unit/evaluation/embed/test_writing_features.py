"""Features written to a file: what stands in it, what is passed over, and that nothing half-written stays."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from manyview.backbones import load_backbone, save_backbone
from manyview.errors import UserError
from manyview.evaluation.embed import embed, format_written, read_features
from manyview.evaluation.embed import parquet as parquet_format
from manyview.evaluation.embed.npz import NpzRows
from manyview.pooling import KINDS

FORMATS = pytest.mark.parametrize("ending", [".parquet", ".npz"])
SMALL: dict[str, Any] = {"size": 64, "batch_size": 5, "workers": 0, "device": "cpu"}


@pytest.fixture
def photos(scenes: Any, tmp_path: Path) -> Path:
    """Sixteen images of one's own, twelve of them in a folder below."""
    folder = tmp_path / "photos"
    for file in sorted(scenes.images.rglob("*.png"))[:12]:
        target = folder / file.relative_to(scenes.images)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    for number in range(4):
        shutil.copy(scenes.images / f"b/{2 * number + 1}.png", folder / f"z{number}.png")
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def everything_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def pooled(patches: np.ndarray, kind: str) -> np.ndarray:
    """Pooling of maps with channels last, in float64."""
    exact = patches.astype(np.float64)
    average, maximum = exact.mean((1, 2)), exact.max((1, 2))
    return {
        "gamp": (average + maximum) / 2,
        "avg": average,
        "max": maximum,
        "avg_minus_max": (average - maximum) / 2,
        "cat": np.concatenate([average, maximum], axis=1),
    }[kind]


@FORMATS
def test_features_and_patches_are_those_of_a_direct_forward_pass(
    scenes: Any, photos: Path, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"new/features{ending}"
    record = embed(scenes.weights, images=photos, out=out, patches=True, **SMALL)

    stored = read_features(out, patches=True)
    names = names_in(photos)
    assert list(stored.images) == names
    assert stored.record == record == json.loads(out.with_suffix(".json").read_text())
    assert stored.patches is not None
    assert stored.patches.shape == (16, 2, 2, 96)
    assert record["protocol"]["patches"] == {"rows": 2, "columns": 2, "dim": 96}
    backbone = load_backbone(scenes.weights).double()
    mean, std = np.array(backbone.mean), np.array(backbone.std)
    for row, name in enumerate(names):
        with Image.open(photos / name) as image:
            assert stored.sizes[row].tolist() == list(image.size)
            pixels = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)) / 255
        with torch.no_grad():
            maps = backbone(torch.from_numpy((pixels - mean) / std).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
        # Pillow's pixels may differ by one level of 255.
        np.testing.assert_allclose(stored.patches[row], maps, atol=0.05, rtol=0.02)
    np.testing.assert_allclose(stored.features, pooled(stored.patches, "gamp"), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_pooling_is_that_of_the_patches(scenes: Any, photos: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "features.npz"
    record = embed(scenes.weights, images=photos, out=out, pool=kind, patches=True, **SMALL)

    stored = read_features(out, patches=True)
    assert stored.patches is not None
    np.testing.assert_allclose(stored.features, pooled(stored.patches, kind), atol=1e-5)
    assert record["protocol"]["feature_dim"] == stored.features.shape[1]


def test_both_formats_hold_the_same_and_float16_is_float32_rounded(scenes: Any, photos: Path, tmp_path: Path) -> None:
    files = {}
    for name, dtype in (("a.parquet", "float32"), ("b.npz", "float32"), ("c.parquet", "float16"), ("d.npz", "float16")):
        embed(scenes.weights, images=photos, out=tmp_path / name, dtype=dtype, patches=True, **SMALL)
        files[name] = read_features(tmp_path / name, patches=True)
    a = files["a.parquet"]
    for name, stored in files.items():
        expected = a.features if name < "c" else a.features.astype(np.float16)
        np.testing.assert_array_equal(stored.features, expected)
        assert stored.features.dtype == expected.dtype == stored.patches.dtype  # type: ignore[union-attr]
        np.testing.assert_array_equal(stored.patches, a.patches.astype(expected.dtype))  # type: ignore[union-attr]
        assert stored.images == a.images
        np.testing.assert_array_equal(stored.sizes, a.sizes)


def test_parquet_is_one_row_an_image_for_any_reader(scenes: Any, photos: Path, tmp_path: Path) -> None:
    embed(scenes.weights, images=photos, out=tmp_path / "f.parquet", patches=True, **SMALL)

    table = pq.read_table(tmp_path / "f.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "image": "string",
        "width": "int32",
        "height": "int32",
        "features": "fixed_size_list<element: float>[96]",
        "patches": "fixed_size_list<element: float>[384]",
    }
    record = json.loads(pq.read_metadata(tmp_path / "f.parquet").metadata[b"manyview"])
    assert record["protocol"]["weights_sha256"] == hashlib.sha256(scenes.weights.read_bytes()).hexdigest()
    row = table.slice(3, 1).to_pylist()[0]
    stored = read_features(tmp_path / "f.parquet", patches=True)
    np.testing.assert_array_equal(np.float32(row["patches"]).reshape(2, 2, 96), stored.patches[3])  # type: ignore[index]
    assert (row["image"], row["width"], row["height"]) == (stored.images[3], *stored.sizes[3].tolist())


def test_npz_is_read_by_numpy_without_pickle(scenes: Any, photos: Path, tmp_path: Path) -> None:
    embed(scenes.weights, images=photos, out=tmp_path / "f.npz", **SMALL)

    with np.load(tmp_path / "f.npz", allow_pickle=False) as arrays:
        assert set(arrays.files) == {"images", "sizes", "features", "record"}
        assert arrays["images"].tolist() == names_in(photos)
        assert arrays["features"].shape == (16, 96)
        assert json.loads(str(arrays["record"]))["results"] == {"photographs": 16, "skipped": 0}
    assert read_features(tmp_path / "f.npz", patches=True).patches is None


@FORMATS
def test_what_cannot_be_read_is_left_out_and_listed(scenes: Any, photos: Path, tmp_path: Path, ending: str) -> None:
    (photos / "a" / "0.png").write_bytes(b"no image")
    (photos / "a" / "empty.jpg").touch()
    whole = tmp_path / f"whole{ending}"
    record = embed(scenes.weights, images=photos, out=whole, max_bad_fraction=0.2, **SMALL)

    stored = read_features(whole)
    assert list(stored.images) == [name for name in names_in(photos) if name != "a/0.png"]
    assert record["results"] == {"photographs": 15, "skipped": 2}
    with whole.with_suffix(".skipped.csv").open(newline="") as lines:
        reasons = {row["image"]: row["reason"] for row in csv.DictReader(lines)}
    assert reasons == {"a/0.png": "not an image of a known format", "a/empty.jpg": "empty file"}
    assert f"2 could not be read, listed in {whole.with_suffix('.skipped.csv')}" in format_written(record, whole)
    # The others are as they would be without the damaged ones.
    names = tmp_path / "names.txt"
    names.write_text("\n".join(stored.images))
    embed(scenes.weights, images=photos, out=tmp_path / f"sound{ending}", list=names, **SMALL)
    sound = read_features(tmp_path / f"sound{ending}")
    np.testing.assert_allclose(stored.features, sound.features, atol=1e-5)
    assert not (tmp_path / "sound.skipped.csv").exists()


@FORMATS
def test_too_many_that_cannot_be_read_end_it(scenes: Any, photos: Path, tmp_path: Path, ending: str) -> None:
    for number in range(2):
        (photos / f"z{number}.png").write_bytes(b"no image")
    out = tmp_path / "out" / f"f{ending}"
    with pytest.raises(UserError) as caught:
        embed(scenes.weights, images=photos, out=out, max_bad_fraction=0.1, **SMALL)
    assert "2 of 16 images cannot be read, 12.5%, above the limit of 10%: z0.png (not an image" in str(caught.value)
    assert everything_in(out.parent) == {"f.skipped.csv"}


def test_no_image_at_all_is_an_error_whatever_the_limit(scenes: Any, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 of 1 images cannot be read, 100.0%, and none is left"):
        embed(scenes.weights, images=tmp_path / "photos", out=tmp_path / "f.npz", max_bad_fraction=1, **SMALL)
    assert not (tmp_path / "f.npz").exists()


@FORMATS
@pytest.mark.parametrize("end", [KeyboardInterrupt, RuntimeError])
def test_work_that_is_interrupted_leaves_nothing(
    scenes: Any, photos: Path, tmp_path: Path, ending: str, end: type[BaseException]
) -> None:
    out = tmp_path / "out" / f"f{ending}"

    def stop(done: int, total: int, phase: str) -> None:
        assert (total, phase) == (16, "features")
        if done >= 10:
            raise end

    with pytest.raises(end):
        embed(scenes.weights, images=photos, out=out, progress=stop, **SMALL)
    assert everything_in(out.parent) == set()


@pytest.mark.parametrize(("number", "end"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_ends_the_work_after_the_batch_and_leaves_nothing(
    scenes: Any, photos: Path, tmp_path: Path, number: signal.Signals, end: type[BaseException]
) -> None:
    seen = []

    def stop(done: int, total: int, phase: str) -> None:
        seen.append(done)
        if done == 5:
            signal.raise_signal(number)

    handler = signal.getsignal(number)
    with pytest.raises(end):
        embed(scenes.weights, images=photos, out=tmp_path / "out" / "f.parquet", progress=stop, **SMALL)
    assert seen == [0, 5]
    assert everything_in(tmp_path / "out") == set()
    assert signal.getsignal(number) is handler


def test_a_signal_while_the_file_is_put_together_is_heeded(
    scenes: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = NpzRows.finish

    def interrupted(self: NpzRows, record: dict[str, Any]) -> None:
        signal.raise_signal(signal.SIGINT)
        finish(self, record)

    monkeypatch.setattr(NpzRows, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed(scenes.weights, images=photos, out=tmp_path / "out" / "f.npz", **SMALL)
    assert everything_in(tmp_path / "out") == set()


def test_a_full_disk_is_reported_and_leaves_nothing(
    scenes: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, rows: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(parquet_format.ParquetRows, "write", full)
    out = tmp_path / "out" / "f.parquet"
    with pytest.raises(UserError, match=r"cannot write .*f\.parquet: the disk is full"):
        embed(scenes.weights, images=photos, out=out, **SMALL)
    assert everything_in(out.parent) == set()


def test_features_too_large_for_float16_are_refused(scenes: Any, photos: Path, tmp_path: Path) -> None:
    backbone = load_backbone(scenes.weights)
    with torch.no_grad():
        for parameter in (
            backbone.get_parameter("network.layer4.0.bn2.weight"),
            backbone.get_parameter("network.layer4.0.bn2.bias"),
        ):
            parameter.fill_(1e6)
    save_backbone(backbone, tmp_path / "large.safetensors", {})
    with pytest.raises(UserError, match="but float16 ends at 65504: write them as float32"):
        embed(tmp_path / "large.safetensors", images=photos, out=tmp_path / "f.npz", dtype="float16", **SMALL)
    embed(tmp_path / "large.safetensors", images=photos, out=tmp_path / "f.npz", **SMALL)
    assert read_features(tmp_path / "f.npz").features.max() > 65504


@FORMATS
@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_a_name_that_is_no_utf8_is_written_with_its_bytes_numbers(
    scenes: Any, photos: Path, tmp_path: Path, ending: str
) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    shutil.copy(photos / "z0.png", photos / odd)
    (tmp_path / "names.txt").write_bytes(os.fsencode(odd) + b"\nz1.png\n")
    out = tmp_path / f"f{ending}"
    embed(scenes.weights, images=photos, out=out, list=tmp_path / "names.txt", **SMALL)
    assert read_features(out).images == ("caf\\udce9.png", "z1.png")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"out": "f.csv"}, "f.csv must end in .parquet or .npz"),
        ({"out": "taken.npz"}, "taken.npz already exists: choose another name for the output"),
        ({"out": "other.npz"}, "other.json already exists"),
        ({"out": "folder.npz"}, "folder.npz is a folder: choose another name"),
        ({"out": "taken.npz/f.npz"}, "taken.npz is a file: choose a folder"),
        ({"dtype": "float64"}, "dtype must be float32 or float16, not 'float64'"),
        ({"pool": "mean"}, "pool must be one of gamp, avg, max, avg_minus_max, cat, not 'mean'"),
        ({"size": 4}, "size must be at least 8 pixels, not 4"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"workers": -1}, "workers must be at least 0, not -1"),
        ({"max_bad_fraction": 1.5}, "max_bad_fraction is a share from 0 to 1, not 1.5"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"precision": "fp8"}, 'precision must be "auto", "float32" or "bf16"'),
        ({"images": Path("nowhere")}, "the folder of images nowhere does not exist"),
    ],
)
def test_mistakes_are_reported_before_any_work(
    scenes: Any, photos: Path, tmp_path: Path, changes: dict[str, Any], part: str
) -> None:
    (tmp_path / "taken.npz").write_text("mine")
    (tmp_path / "other.json").write_text("mine")
    (tmp_path / "folder.npz").mkdir()
    before = everything_in(tmp_path)

    def no_work(done: int, total: int, phase: str) -> None:
        raise AssertionError("work began")

    arguments = {"images": photos, "out": "f.parquet", **SMALL, **changes}
    arguments["out"] = tmp_path / arguments["out"]
    with pytest.raises(UserError) as caught:
        embed(scenes.weights, progress=no_work, **arguments)
    assert part in str(caught.value)
    assert everything_in(tmp_path) == before
    assert (tmp_path / "taken.npz").read_text() == (tmp_path / "other.json").read_text() == "mine"


def test_without_pyarrow_the_extra_is_named(
    scenes: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"pip install 'manyview\[parquet\]', or use a file that ends in \.npz"):
        embed(scenes.weights, images=photos, out=tmp_path / "f.parquet", **SMALL)
