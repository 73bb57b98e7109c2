"""Views that are finished, or even decoded, on the training device, batch by batch against the workers'."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from manyview.config import PretrainConfig
from manyview.images import find_images, jpeg_on_device
from manyview.training.data import TrainingBatch, start_loader
from manyview.training.device_views import DeviceViews
from manyview.training.plan import BatchPlan, make_plan

CPU = torch.device("cpu")
SIZE = 48
WORKERS = {"training.renderer": "cpu"}
DEVICE = {"training.renderer": "device"}
DECODING = {"data.decode": "device", "training.renderer": "device"}


def scene(seed: int, width: int = 110, height: int = 90) -> Image.Image:
    """Smooth colors and a few edges: what JPEG and both renderers' resizing keep."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 90
    waves = [128 + 110 * np.sin(random.uniform(1, 7) * x + random.uniform(1, 7) * y + 2 * phase) for phase in range(3)]
    colors = np.stack(waves, axis=-1)
    left, top = random.integers(0, 60, 2)
    colors[top : top + 25, left : left + 40] = random.uniform(0, 255, 3)
    return Image.fromarray(colors.astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEGs, among them lying ones, a progressive one, a gray one, a PNG."""
    root = tmp_path_factory.mktemp("scenes")
    for index in range(10):
        scene(index).save(root / f"{index}.jpg", quality=95)
    for orientation in (3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        scene(20 + orientation).save(root / f"lying{orientation}.jpg", exif=exif, quality=95)
    scene(30).save(root / "progressive.jpg", progressive=True, quality=95)
    scene(31).convert("L").save(root / "gray.jpg", quality=95)
    scene(32).save(root / "other.png")
    return root


def batches(root: Path, *, workers: int = 0, arrays: bool = False, **settings: Any) -> Iterator[TrainingBatch]:
    """All batches of a run of two epochs, four images each."""
    values: dict[str, Any] = {
        "data": {"images": str(root), "workers": workers},
        "training": {"epochs": 2, "batch_size": 4, "device": "cpu"},
        "views": {"kind": "blocks", "size": SIZE, "solarize": (0.2, 0.2)},
    }
    for key, value in settings.items():
        section, _, name = key.partition(".")
        values[section][name] = value
    config = PretrainConfig.model_validate(values)
    files = find_images(root, arrays=arrays)
    loaded = start_loader(files, config, BatchPlan(make_plan(config, len(files))), pin=False)
    return DeviceViews(loaded, files, config, CPU)


def apart(one: Tensor, other: Tensor) -> float:
    """Mean absolute difference in shares of full scale."""
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    return float((one.double() - other.double()).abs().mean()) / torch.iinfo(one.dtype).max


@pytest.mark.parametrize("settings", [DEVICE, DECODING], ids=["device renderer", "device decoding"])
def test_each_batch_is_the_workers(folder: Path, settings: dict[str, Any]) -> None:
    compared = 0
    for one, other in zip(batches(folder, **settings), batches(folder, **WORKERS), strict=True):
        assert one.groups[0].shape == (4, 8, 3, SIZE, SIZE)
        assert torch.equal(one.image_ids, other.image_ids)
        assert one.complete
        assert one.skipped == []
        assert apart(one.groups[0], other.groups[0]) < 1.5 / 255
        assert max(apart(mine, yours) for mine, yours in zip(one.groups[0], other.groups[0], strict=True)) < 2 / 255
        compared += 1
    assert compared == 8


def test_the_reference_is_within_reach(folder: Path) -> None:
    reference = batches(folder, **{"training.renderer": "reference"})
    for one, other in zip(batches(folder, **DEVICE), reference, strict=True):
        assert 0 < apart(one.groups[0], other.groups[0]) < 1 / 255


@pytest.mark.parametrize("settings", [DEVICE, DECODING], ids=["device renderer", "device decoding"])
def test_the_same_with_any_number_of_workers(folder: Path, settings: dict[str, Any]) -> None:
    for one, other in zip(batches(folder, workers=2, **settings), batches(folder, **settings), strict=True):
        assert torch.equal(one.groups[0], other.groups[0])
        assert torch.equal(one.image_ids, other.image_ids)


def test_jpegs_alone_reach_the_device_encoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = 0
    together = jpeg_on_device._torchvision

    def counting(files: list[Tensor], device: torch.device) -> list[Tensor]:
        nonlocal sent
        sent += len(files)
        return together(files, device)

    monkeypatch.setattr(jpeg_on_device, "_torchvision", counting)
    shown = [int(image) for batch in batches(folder, **DECODING) for image in batch.image_ids]
    names = find_images(folder)
    assert len(shown) == 32
    assert sent == sum(names[image] not in ("gray.jpg", "other.png") for image in shown) < 32


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("rgb", [None, (4, 1, 0)])
def test_bands_are_the_workers(tmp_path: Path, bits: int, rgb: tuple[int, int, int] | None) -> None:
    for index in range(8):
        bands = np.concatenate([np.asarray(scene(index)), np.asarray(scene(index + 50))[..., :2]], axis=-1)
        pixels = bands if bits == 8 else bands.astype(np.uint16) * 257
        np.save(tmp_path / f"{index}.npy", pixels)
    given = {"data.bands": 5, "data.rgb_bands": rgb, "arrays": True}
    for one, other in zip(batches(tmp_path, **DEVICE, **given), batches(tmp_path, **WORKERS, **given), strict=True):
        assert one.groups[0].dtype == (torch.uint8 if bits == 8 else torch.uint16)
        assert one.groups[0].shape == (4, 8, 5, SIZE, SIZE)
        assert apart(one.groups[0], other.groups[0]) < 1 / 255


# --- files that are no images


def spoil(root: Path, folder: Path, change: Callable[[bytes], bytes]) -> Path:
    """The folder's images, of which two are changed."""
    root.mkdir()
    for file in folder.iterdir():
        data = file.read_bytes()
        (root / file.name).write_bytes(change(data) if file.name in ("3.jpg", "lying6.jpg") else data)
    return root


@pytest.mark.parametrize("change", [lambda data: data[: len(data) // 2], lambda _: b""], ids=["truncated", "empty"])
def test_damaged_files_are_replaced_and_named_as_by_the_workers(
    folder: Path, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    root = spoil(tmp_path / "spoilt", folder, change)
    skipped = set()
    for one, other in zip(batches(root, **DECODING), batches(root, **WORKERS), strict=True):
        assert torch.equal(one.image_ids, other.image_ids)
        assert one.skipped == other.skipped
        assert one.complete
        assert apart(one.groups[0], other.groups[0]) < 1.5 / 255
        skipped |= set(one.skipped)
    names = find_images(root)
    assert {names[image] for image, _ in skipped} == {"3.jpg", "lying6.jpg"}


def test_what_the_device_refuses_the_host_decodes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = jpeg_on_device._torchvision
    refused = 0

    def choosy(files: list[Tensor], device: torch.device) -> list[Tensor]:
        nonlocal refused
        if any(len(file) % 2 for file in files):
            refused += len(files) == 1
            raise RuntimeError("nvjpegDecode failed: 4")
        return together(files, device)

    expected = list(batches(folder, **DECODING))
    monkeypatch.setattr(jpeg_on_device, "_torchvision", choosy)
    for one, other in zip(batches(folder, **DECODING), expected, strict=True):
        assert one.skipped == []
        assert torch.equal(one.image_ids, other.image_ids)
        distance = apart(one.groups[0], other.groups[0])
        assert distance < 0.5 / 255, "the same crops, and flipped the same, but for a rounding"
    assert 2 < refused < 30


def test_what_nobody_can_decode_is_replaced_and_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its header and its end are sound, so that it shows only on the device."""
    root = spoil(tmp_path / "spoilt", folder, lambda data: data)
    bad = {(root / "3.jpg").read_bytes(), (root / "lying6.jpg").read_bytes()}
    together, read_bytes = jpeg_on_device._torchvision, Path.read_bytes

    def refusing(files: list[Tensor], device: torch.device) -> list[Tensor]:
        if any(file.numpy().tobytes() in bad for file in files):
            for file in root.iterdir():  # by the time that the host looks at it
                if read_bytes(file) in bad:
                    file.write_bytes(read_bytes(file)[:200])
            raise RuntimeError("nvjpegDecode failed: 4")
        return together(files, device)

    expected = batches(spoil(tmp_path / "cut", folder, lambda data: data[:200]), **DECODING)
    monkeypatch.setattr(jpeg_on_device, "_torchvision", refusing)
    names, found = find_images(root), set()
    for one, other in zip(batches(root, **DECODING), expected, strict=True):
        assert torch.equal(one.image_ids, other.image_ids)
        assert sorted(one.skipped) == sorted(other.skipped)
        assert one.complete
        assert max(apart(mine, yours) for mine, yours in zip(one.groups[0], other.groups[0], strict=True)) < 1 / 255
        found |= {names[image] for image, _ in one.skipped}
    assert found == {"3.jpg", "lying6.jpg"}


def test_a_batch_of_nothing_is_said_to_be_incomplete(tmp_path: Path) -> None:
    for index in range(4):
        (tmp_path / f"{index}.jpg").write_bytes(b"")
    batch = next(batches(tmp_path, **DECODING))
    assert not batch.complete
    assert len(batch.image_ids) == 0
    assert {reason for _, reason in batch.skipped} == {"empty file"}
