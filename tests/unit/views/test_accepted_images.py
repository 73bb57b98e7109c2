"""What ``BlockViews`` takes for an image, and what it says to the rest."""

from __future__ import annotations

import inspect
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from manyview.config import BlockViewsConfig
from manyview.errors import UserError
from manyview.images import open_image
from manyview.images.decode import EncodedImage
from manyview.views import BlockViews, largest_shrink, render_views, sample_views, shrink_crops
from manyview.views.transform import array_pixels

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (40, 56, 3), dtype=np.uint8)
ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def smooth(width: int, height: int) -> Image.Image:
    """An image of soft shapes, which loses little when it is made smaller."""
    return Image.fromarray(RANDOM.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((width, height))


def at_zero(image: Any, **options: Any) -> torch.Tensor:
    return BlockViews(view_size=16, seed=5, output="uint8", **options).at(image, 0)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(IMAGE),
        torch.from_numpy(IMAGE).permute(2, 0, 1),
        torch.from_numpy(IMAGE).permute(2, 0, 1).contiguous(),
        encoded(Image.fromarray(IMAGE), "PNG"),
        encoded(Image.fromarray(IMAGE), "BMP"),
        np.asfortranarray(IMAGE),
        IMAGE[::-1].copy()[::-1],
        torch.from_numpy(IMAGE).permute(2, 0, 1) / 255,
        (torch.from_numpy(IMAGE).permute(2, 0, 1) / 255).double().requires_grad_(),
        IMAGE / 255,
    ],
    ids=[
        *("Pillow", "tensor", "contiguous tensor", "PNG", "BMP", "column-major", "upside-down"),
        *("float tensor", "double tensor", "float array"),
    ],
)
def test_every_kind_of_image_gives_the_same_views(image: Any) -> None:
    assert torch.equal(at_zero(image), at_zero(IMAGE))


def test_a_path_gives_the_views_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    file.write_bytes(encoded(smooth(333, 250), "JPEG"))
    expected = at_zero(file.read_bytes(), scale=(0.6, 1.0))
    for path in (file, str(file)):
        assert torch.equal(at_zero(path, scale=(0.6, 1.0)), expected)
    with pytest.raises(UserError, match=r"missing\.jpg cannot be decoded as an image: "):
        BlockViews(view_size=16)(tmp_path / "missing.jpg")


def test_bands_come_from_files_and_from_shares_of_white(tmp_path: Path) -> None:
    deep = RANDOM.integers(0, 65536, (40, 56, 4), dtype=np.uint16)
    np.save(tmp_path / "tile.npy", deep)
    expected = at_zero(deep, bands=4)
    assert expected.dtype == torch.uint16
    for image in (
        *(tmp_path / "tile.npy", (tmp_path / "tile.npy").read_bytes(), deep / 65535),
        torch.from_numpy(deep.transpose(2, 0, 1) / 65535),
    ):
        assert torch.equal(at_zero(image, bands=4), expected)


def test_modes_of_pillow_images() -> None:
    gray = Image.fromarray(IMAGE[..., 0])
    assert torch.equal(at_zero(gray), at_zero(IMAGE[..., :1].repeat(3, axis=2)))
    palette = Image.fromarray(IMAGE // 64 * 64).quantize(64)
    assert torch.equal(at_zero(palette), at_zero(np.asarray(palette.convert("RGB"))))
    half = Image.fromarray(np.dstack([IMAGE, np.full((40, 56), 128, np.uint8)]))
    over_white = np.asarray(half)[..., :3] * (128 / 255) + 255 * (127 / 255)
    plain: dict[str, Any] = {"jitter": 0, "grayscale": 0, "blur": (0, 0)}
    difference = at_zero(half, **plain).int() - at_zero(np.round(over_white).astype(np.uint8), **plain).int()
    assert difference.abs().max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_files_are_turned_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = encoded(Image.fromarray(IMAGE), kind, exif=exif)
    with Image.open(io.BytesIO(file)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    image = open_image(file)
    assert (image.height, image.width) == upright.shape[:2]
    np.testing.assert_array_equal(image.decode(), upright)
    assert torch.equal(at_zero(file), at_zero(upright))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_of_other_colors(mode: str) -> None:
    file = encoded(Image.fromarray(IMAGE).convert(mode), "JPEG", quality=95)
    with Image.open(io.BytesIO(file)) as image:
        np.testing.assert_array_equal(open_image(file).decode(), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
def test_jpegs_are_decoded_smaller(shrink: int, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = encoded(smooth(336, 248), "JPEG", quality=95, exif=exif)
    pixels = open_image(file).decode(shrink)
    width, height = 336 // shrink, 248 // shrink
    assert pixels.shape == ((width, height, 3) if orientation == 6 else (height, width, 3))
    with Image.open(io.BytesIO(file)) as image:
        reduced = ImageOps.exif_transpose(image).resize(pixels.shape[1::-1], Image.Resampling.BOX)
    assert np.abs(pixels.astype(int) - np.asarray(reduced).astype(int)).mean() < 1


def test_a_size_that_cannot_be_divided_is_rounded_up() -> None:
    assert open_image(encoded(smooth(333, 250), "JPEG")).decode(8).shape == (32, 42, 3)


def test_a_large_jpeg_gives_the_views_that_its_pixels_give(monkeypatch: pytest.MonkeyPatch) -> None:
    shrinks: list[int] = []
    decode = EncodedImage.decode

    def record(image: EncodedImage, shrink: int = 1) -> np.ndarray:
        shrinks.append(shrink)
        return decode(image, shrink)

    monkeypatch.setattr(EncodedImage, "decode", record)
    for kind in ("JPEG", "PNG"):
        file = encoded(smooth(1600, 1200), kind)
        with Image.open(io.BytesIO(file)) as image:
            whole = at_zero(np.asarray(image), scale=(0.6, 1.0))
        difference = at_zero(file, scale=(0.6, 1.0)).int() - whole.int()
        assert difference.abs().float().mean() < 2
    assert shrinks == [8, 8]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(90, 70), (1001, 777)])
def test_a_file_gives_the_views_that_a_run_makes_of_it(kind: str, size: tuple[int, int]) -> None:
    file = encoded(smooth(*size), kind)
    image = open_image(file)
    parameters = sample_views(BlockViewsConfig(size=16), *size, seed=5, epoch=0, image=0)
    shrink = largest_shrink((view.crop for view in parameters), 16)
    pixels = image.decode(shrink)
    parameters = shrink_crops(parameters, shrink, (pixels.shape[1], pixels.shape[0]))
    np.testing.assert_array_equal(at_zero(file).numpy(), render_views(pixels, parameters, 16))


def test_deep_gray_is_scaled() -> None:
    deep = np.arange(40 * 56, dtype=np.uint16).reshape(40, 56) * 29
    gray = np.round(deep / 257).astype(np.uint8)
    expected = at_zero(np.dstack([gray] * 3))
    assert torch.equal(at_zero(Image.fromarray(deep)), expected)
    assert torch.equal(at_zero(encoded(Image.fromarray(deep), "PNG")), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE.astype(np.float32), "values from 0 to 1, and these are from 0 to 255: give the image before"),
        (torch.full((3, 4, 4), -0.5), r"these are from -0\.5 to -0\.5"),
        (np.full((4, 4, 3), np.nan), "these are from nan to nan"),
        (IMAGE.astype(np.int32), r"of uint8, or of floating-point values .* not int32 \(40, 56, 3\)"),
        (IMAGE.astype(np.uint16), r"not uint16 \(40, 56, 3\); for other bands or 16 bits give their number"),
        (IMAGE[..., 0], r"not uint8 \(40, 56\)"),
        (IMAGE.transpose(2, 0, 1), r"not uint8 \(3, 40, 56\)"),
        (IMAGE[:0], r"not uint8 \(0, 56, 3\)"),
        (torch.from_numpy(IMAGE), r"not torch.uint8 \(40, 56, 3\)"),
        (torch.zeros(40, 56, 3), r"not torch.float32 \(40, 56, 3\)"),
        (torch.zeros(3, 40, 56, dtype=torch.int16), r"not torch.int16 \(3, 40, 56\)"),
        (torch.zeros(1, 3, 40, 56, dtype=torch.uint8), r"not torch.uint8 \(1, 3, 40, 56\)"),
        (Image.fromarray(np.full((4, 4), 300, np.float32)), "mode 'F': pixel values from 300 to 300, whose white"),
        (encoded(Image.fromarray(IMAGE), "JPEG")[:500], "500 bytes cannot be decoded"),
        (encoded(Image.fromarray(IMAGE), "JPEG")[:1500], "1500 bytes cannot be decoded"),
        (b"no image", "8 bytes cannot be decoded"),
        (b"", "0 bytes cannot be decoded"),
    ],
)
def test_images_that_are_not_understood(image: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        BlockViews(view_size=16)(image)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE, r"arrays \(height, width, 4\) .* of uint8 or uint16, .* not uint8 \(40, 56, 3\)"),
        (np.zeros((4, 5, 4), np.int16), r"not int16 \(4, 5, 4\)"),
        (torch.zeros(5, 4, 4, dtype=torch.uint8), r"not torch.uint8 \(5, 4, 4\)"),
        (Image.fromarray(IMAGE), "takes paths or bytes of files, arrays and tensors, not Image"),
        (b"bytes", "these 5 bytes cannot be decoded"),
    ],
)
def test_images_of_other_bands_than_said(image: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        BlockViews(view_size=16, bands=4, output="uint8")(image)


def test_a_wrong_type_of_image() -> None:
    # Executed annotations would refuse it first; users run without them.
    with pytest.raises(UserError, match="takes paths or bytes of files, Pillow images, arrays, tensors, not int"):
        inspect.unwrap(array_pixels)(3, None)
