from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmarks.images import encode, jpegs, load_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of 300 x 200 pixels in one color each, and a file that is none."""
    for index, color in enumerate(["#ff0000", "#00ff00", "#0000ff"]):
        Image.new("RGB", (300, 200), color).save(tmp_path / f"{index}.png")
    (tmp_path / "1-damaged.png").write_bytes(b"not an image")
    return tmp_path


def test_images_are_cut_and_scaled_to_the_size(folder: Path) -> None:
    gradient = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    gradient.save(folder / "0.png")
    [first] = load_images(folder, (120, 120), 1)
    np.testing.assert_array_equal(first, np.asarray(ImageOps.fit(gradient, (120, 120), Image.Resampling.BICUBIC)))


def test_small_images_are_enlarged_where_that_is_asked_for(folder: Path) -> None:
    found = load_images(folder, (600, 400), 4, enlarge=True)
    assert [image.shape for image in found] == [(400, 600, 3)] * 4
    assert [image[0, 0].tolist() for image in found] == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 0, 0]]
    assert all(image.std(axis=(0, 1)).max() == 0 for image in found)


def test_small_images_are_laid_in_a_mosaic_otherwise(folder: Path) -> None:
    [mosaic] = load_images(folder, (500, 400), 1)
    tiles = [mosaic[row : row + 200, column : column + 250] for row in (0, 200) for column in (0, 250)]
    assert [tile[0, 0].tolist() for tile in tiles] == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 0, 0]]
    assert all(tile.std(axis=(0, 1)).max() == 0 for tile in tiles)


def test_synthetic_scenes_stand_in_where_there_are_no_images() -> None:
    first, second = jpegs(None, (160, 120), 2)
    sizes = [Image.open(io.BytesIO(data)).size for data in (first, second)]
    assert sizes == [(160, 120)] * 2
    assert first != second


def test_a_folder_without_any_readable_image_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no")
    with pytest.raises(SystemExit, match="no image that can be read"):
        load_images(tmp_path, (64, 64), 1)


def test_jpegs_have_the_given_quality() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    assert encode(pixels) == file.getvalue()
