from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from manyview.errors import UserError
from manyview.images import ImageFiles, find_images
from manyview.images.statistics import BandStatistics, measure_bands

LEVELS = np.array([0.2, 0.5, 0.02])


def pixels(index: int, height: int = 20, width: int = 30) -> np.ndarray:
    """Three bands about ``LEVELS``, of another brightness in each image."""
    rng = np.random.default_rng(index)
    shares = LEVELS * rng.uniform(0.5, 1.5) * rng.uniform(0, 1, (height, width, 3))
    return (shares * 65535).astype(np.uint16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bands")
    for index in range(12):
        np.save(root / f"{index:02d}.npy", pixels(index))
    return root


def listed(folder: Path) -> ImageFiles:
    return find_images(folder, arrays=True)


def expected(indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation over all pixels of images of one size."""
    values = np.concatenate([pixels(index).reshape(-1, 3) for index in indices]) / 65535
    return values.mean(axis=0), values.std(axis=0)


def test_mean_and_deviation_of_all_pixels(folder: Path) -> None:
    measured = measure_bands(listed(folder), 3, seed=0)

    mean, std = expected(list(range(12)))
    np.testing.assert_allclose(measured.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(measured.std, std, rtol=1e-9)
    assert measured.images == 12


def test_8_bits_and_16_bits_are_shares_of_their_own_white(tmp_path: Path) -> None:
    shallow = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", shallow)
    np.save(tmp_path / "b.npy", shallow * np.uint16(257))

    both = measure_bands(listed(tmp_path), 3, seed=0)

    np.testing.assert_allclose(both.mean, (shallow / 255).mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(both.std, (shallow / 255).std(axis=(0, 1)), rtol=1e-12)


def test_each_image_counts_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "large.npy", np.full((300, 500, 1), 255, np.uint8))
    np.save(tmp_path / "small.npy", np.zeros((2, 2, 1), np.uint8))

    measured = measure_bands(listed(tmp_path), 1, seed=0)

    assert measured == BandStatistics((0.5,), (0.5,), 2)


def test_large_images_keep_their_deviation(tmp_path: Path) -> None:
    """Averaged pixels of noise would have nearly none."""
    noise = np.random.default_rng(0).integers(0, 65536, (900, 700, 1), dtype=np.uint16)
    np.save(tmp_path / "noise.npy", noise)

    measured = measure_bands(listed(tmp_path), 1, seed=0)

    assert measured.std[0] == pytest.approx(1 / 12**0.5, rel=0.01)
    assert measured.mean[0] == pytest.approx(0.5, abs=0.01)


def test_a_band_that_never_changes_is_divided_by_one(tmp_path: Path) -> None:
    values = pixels(0)
    values[..., 1] = 700
    np.save(tmp_path / "a.npy", values)

    measured = measure_bands(listed(tmp_path), 3, seed=0)

    assert measured.std[1] == 1
    assert 0 < measured.std[0] < 1


def read_of(folder: Path, seed: int, sample: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which images a sample reads."""
    read = []
    path = ImageFiles.path
    monkeypatch.setattr(ImageFiles, "path", lambda self, index: read.append(index) or path(self, index))
    measure_bands(listed(folder), 3, seed=seed, sample=sample)
    monkeypatch.undo()
    return read


def test_sample_depends_on_the_seed_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [read_of(folder, seed, 5, monkeypatch) for seed in (0, 0, 1, 2, 3)]

    assert samples[0] == samples[1]
    assert len({tuple(sample) for sample in samples}) > 2
    assert all(len(set(sample)) == 5 for sample in samples)
    mean, std = expected(samples[0])
    measured = measure_bands(listed(folder), 3, seed=0, sample=5)
    np.testing.assert_allclose(measured.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(measured.std, std, rtol=1e-9)


def test_threads_change_nothing(folder: Path) -> None:
    alone, together = (measure_bands(listed(folder), 3, seed=0, threads=threads) for threads in (1, 4))

    assert alone == together


def test_unreadable_images_are_left_out(tmp_path: Path) -> None:
    for index in range(3):
        np.save(tmp_path / f"{index}.npy", pixels(index))
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    tifffile.imwrite(tmp_path / "other.tif", np.zeros((4, 4), np.uint16))

    measured = measure_bands(listed(tmp_path), 3, seed=0)

    assert measured.images == 3
    np.testing.assert_allclose(measured.mean, expected([0, 1, 2])[0], rtol=1e-9)


def test_no_image_with_so_many_bands(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        measure_bands(listed(folder), 7, seed=0)
    assert str(caught.value) == (
        f"none of 12 images can be read as 7 bands ({folder / '00.npy'}: shape 20 x 30 x 3, which has no axis of "
        "7 bands): is data.bands right?"
    )


def test_larger_images_than_allowed_are_left_out(folder: Path) -> None:
    with pytest.raises(UserError, match="too large: 30 x 20 pixels"):
        measure_bands(listed(folder), 3, seed=0, max_pixels=599)


def test_progress_is_reported(folder: Path) -> None:
    reported: list[tuple[int, int]] = []

    measure_bands(listed(folder), 3, seed=0, sample=4, progress=lambda done, total: reported.append((done, total)))

    assert reported == [(1, 4), (2, 4), (3, 4), (4, 4)]
