from __future__ import annotations

import io
import os
import pickle
import struct
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from manyview.images import UnreadableImage, decode_image
from tests.helpers.image_files import UPRIGHT, chunk, png

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (18, 25, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(*np.ix_(np.arange(0, 240, 4), np.arange(0, 240, 3)), 90), -1).astype(np.uint8)


def encode(pixels: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def tiff(
    data: bytes, size: tuple[int, int], bits: int, photometric: int = 1, sample: int = 1, order: str = "<"
) -> bytes:
    """An uncompressed one-channel TIFF written from its specification."""
    entries = {256: size[0], 257: size[1], 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: size[1]}
    entries |= {279: len(data), 339: sample}
    ifd = b"".join(struct.pack(f"{order}HHII" if tag in (273, 279) else f"{order}HHIHxx", tag, 4 if tag in (273, 279)
                               else 3, 1, value) for tag, value in entries.items())  # fmt: skip
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(entries)) + ifd + bytes(4)


def gray(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def reason(source: bytes | Path, **options: Any) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode_image(source, **options)
    return caught.value.reason


@pytest.mark.parametrize(
    ("format", "options"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})],
)
def test_lossless_formats_give_the_pixels(format: str, options: dict[str, Any]) -> None:
    decoded = decode_image(encode(NOISE, format, **options))
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, NOISE)


@pytest.mark.parametrize(("format", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {})])
def test_lossy_formats_give_nearly_the_pixels(format: str, options: dict[str, Any]) -> None:
    decoded = decode_image(encode(SMOOTH, format, quality=95, **options))
    assert np.abs(decoded.astype(int) - SMOOTH).max() <= 8


def test_path_and_bytes_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(SMOOTH, "JPEG"))
    np.testing.assert_array_equal(decode_image(tmp_path / "a.jpg"), decode_image((tmp_path / "a.jpg").read_bytes()))


def test_content_decides_not_the_extension(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(NOISE, "PNG"))
    np.testing.assert_array_equal(decode_image(tmp_path / "a.jpg"), NOISE)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
def test_gray_fills_three_channels(format: str) -> None:
    level = np.full((16, 16), 77, dtype=np.uint8)
    np.testing.assert_array_equal(decode_image(encode(level, format)), gray(level))


def test_one_bit_becomes_black_and_white() -> None:
    bits = RNG.random((9, 13)) < 0.5
    np.testing.assert_array_equal(decode_image(encode(bits, "PNG")), gray(bits * np.uint8(255)))


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette_is_looked_up(format: str) -> None:
    palette, indices = RNG.integers(0, 256, (256, 3), dtype=np.uint8), RNG.integers(0, 256, (20, 30), dtype=np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    np.testing.assert_array_equal(decode_image(encode(image, format)), palette[indices])


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "blue")]
    for format, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("PNG", {})):
        decoded = decode_image(encode(frames[0], format, save_all=True, append_images=frames[1:], **options))
        assert (decoded == (255, 0, 0)).all(), format


def over_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None].astype(np.float64) / 255
    return share * color + (1 - share) * 255


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_laid_over_white(format: str) -> None:
    pixels = RNG.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    decoded = decode_image(encode(pixels, format, **({"lossless": True, "exact": True} if format == "WEBP" else {})))
    assert np.abs(decoded - over_white(pixels[..., :3], pixels[..., 3])).max() <= 1


def test_gray_alpha_and_transparent_palette_are_laid_over_white() -> None:
    pixels = RNG.integers(0, 256, (20, 30, 2), dtype=np.uint8)
    decoded = decode_image(encode(Image.fromarray(pixels, "LA"), "PNG"))
    assert np.abs(decoded - over_white(gray(pixels[..., 0]), pixels[..., 1])).max() <= 1
    for format in ("PNG", "GIF"):
        indices = np.array([[0, 1], [1, 0]], dtype=np.uint8)
        image = Image.fromarray(indices)
        image.putpalette(bytes([10, 20, 30, 40, 50, 60]))
        decoded = decode_image(encode(image, format, transparency=1))
        np.testing.assert_array_equal(decoded[indices == 0], [[10, 20, 30]] * 2)
        np.testing.assert_array_equal(decoded[indices == 1], [[255, 255, 255]] * 2)


def test_alpha_of_a_transparent_color_in_gray_and_rgb() -> None:
    level = np.array([[5, 9]], dtype=np.uint8)
    np.testing.assert_array_equal(decode_image(encode(level, "PNG", transparency=9))[0], [[5] * 3, [255] * 3])
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    decoded = decode_image(encode(pixels, "PNG", transparency=(4, 5, 6)))
    np.testing.assert_array_equal(decoded[0], [[1, 2, 3], [255] * 3])


def test_cmyk_jpeg_in_the_inverted_sense() -> None:
    inks = np.zeros((16, 64, 4), dtype=np.uint8)
    for block, ink in enumerate([(0, 0, 0, 0), (200, 0, 40, 30), (0, 150, 220, 0), (20, 30, 40, 250)]):
        inks[:, 16 * block : 16 * (block + 1)] = ink
    data = encode(Image.fromarray(inks, "CMYK"), "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in data
    expected = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
    assert np.abs(decode_image(data) - expected).max() <= 4


def test_cmyk_tiff_is_not_inverted() -> None:
    inks = RNG.integers(0, 256, (10, 12, 4), dtype=np.uint8)
    expected = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
    assert np.abs(decode_image(encode(Image.fromarray(inks, "CMYK"), "TIFF")) - expected).max() <= 1


def test_16_bit_gray_is_scaled_not_clipped() -> None:
    values = np.arange(0, 65536, 7, dtype=np.uint16)[: 90 * 100].reshape(90, 100)
    values[0, :3] = 0, 65535, 256
    expected = gray(np.round(values / 257.0).astype(np.uint8))
    np.testing.assert_array_equal(decode_image(png(values)), expected)
    for order, dtype in (("<", "<u2"), (">", ">u2")):
        data = tiff(values.astype(dtype).tobytes(), (100, 90), 16, order=order)
        np.testing.assert_array_equal(decode_image(data), expected)


def test_16_bit_color_is_scaled_within_one_level() -> None:
    values = RNG.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    assert np.abs(decode_image(png(values)) - values / 257.0).max() <= 1
    opaque = np.dstack([values, np.full((20, 30), 65535, dtype=np.uint16)])
    assert np.abs(decode_image(png(opaque)) - values / 257.0).max() <= 1


def test_12_bit_and_white_is_zero_tiffs() -> None:
    values = RNG.integers(0, 4096, (6, 8), dtype=np.uint16)
    pairs = values.reshape(-1, 2).astype(np.uint32)
    packed = b"".join(int(a << 12 | b).to_bytes(3, "big") for a, b in pairs)
    expected = gray(np.round(values / 4095.0 * 255).astype(np.uint8))
    np.testing.assert_array_equal(decode_image(tiff(packed, (8, 6), 12)), expected)
    wide = RNG.integers(0, 65536, (6, 8), dtype=np.uint16)
    expected = gray(np.round((65535 - wide) / 257.0).astype(np.uint8))
    np.testing.assert_array_equal(decode_image(tiff(wide.tobytes(), (8, 6), 16, photometric=0)), expected)


def test_floating_point_gray() -> None:
    shares = RNG.random((6, 8), dtype=np.float32)
    expected = gray(np.round(shares * 255.0).astype(np.uint8))
    np.testing.assert_array_equal(decode_image(encode(shares, "TIFF")), expected)
    np.testing.assert_array_equal(decode_image(encode(np.round(shares * 255), "TIFF")), expected)
    for bad in (-0.5, 300.0, np.nan):
        shares[0, 0] = bad
        assert "white is unknown" in reason(encode(shares, "TIFF"))


def test_32_bit_integers_count_as_16_bit() -> None:
    values = RNG.integers(0, 65536, (6, 8), dtype=np.int32)
    expected = gray(np.round(values / 257.0).astype(np.uint8))
    np.testing.assert_array_equal(decode_image(encode(values, "TIFF")), expected)
    assert "white is unknown" in reason(encode(values * 70000, "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_exif_orientation(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {"quality": 95} if format == "JPEG" else {}
    stored = SMOOTH[:, :43] if format == "JPEG" else NOISE
    decoded = decode_image(encode(stored, format, exif=exif, **options))
    expected = UPRIGHT[orientation](stored)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).max() <= (8 if format == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_counts_as_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode_image(encode(NOISE, "PNG", exif=exif)), NOISE)


def test_damaged_exif_counts_as_upright() -> None:
    for exif in (b"Exif\0\0rubbish", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"):
        assert decode_image(encode(SMOOTH, "JPEG", exif=exif)).shape == SMOOTH.shape


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_cut_off_files_are_refused(format: str, options: dict[str, Any]) -> None:
    whole = encode(np.kron(NOISE, np.ones((8, 8, 1), dtype=np.uint8)), format, **options)
    if format != "TIFF":  # its directory lies at the end, so that half of it is no image at all
        assert reason(whole[: len(whole) // 2]) == "truncated file"
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        found = reason(whole[: int(share * len(whole))])
        assert found == "truncated file" or found.startswith("damaged file")


def test_what_is_no_image(tmp_path: Path) -> None:
    assert reason(b"") == "empty file"
    (tmp_path / "empty.jpg").touch()
    assert reason(tmp_path / "empty.jpg") == "empty file"
    (tmp_path / "text.jpg").write_text("not an image\n" * 100)
    assert reason(tmp_path / "text.jpg") == "not an image of a known format"
    assert reason(encode(NOISE, "PPM")) == "not an image of a known format"
    assert reason(b"\xff\xd8\xff\xe0" + bytes(200)).startswith(("damaged file", "truncated file"))
    assert reason(encode(Image.new("LAB", (4, 4)), "TIFF")) == "colors in LAB, which are not supported"


def test_bomb_is_refused_from_its_header() -> None:
    bomb = png(np.zeros((1, 1, 3), np.uint8), (30000, 30000))
    assert reason(bomb) == "too large: 30000 x 30000 pixels"
    assert reason(encode(NOISE, "PNG"), max_pixels=449) == "too large: 25 x 18 pixels"
    assert decode_image(encode(NOISE, "PNG"), max_pixels=450).shape == (18, 25, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_our_limit_governs_and_not_that_of_pillow(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)  # 450 pixels are between the warning and the error
    assert decode_image(encode(NOISE, format)).shape == (18, 25, 3)
    if format not in ("WEBP", "TIFF"):  # whose readers in Pillow refuse what is over twice its limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        assert decode_image(encode(NOISE, format)).shape == (18, 25, 3)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(tmp_path / "none.jpg") == "no such file"
    (tmp_path / "link.jpg").symlink_to("nowhere.jpg")
    assert reason(tmp_path / "link.jpg") == "dangling link"
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert reason(tmp_path / "loop.jpg").startswith("cannot be read")
    (tmp_path / "folder.jpg").mkdir()
    assert reason(tmp_path / "folder.jpg") == "a directory"
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason(tmp_path / "pipe.jpg") == "not a regular file"
    locked = tmp_path / "locked.jpg"
    locked.write_bytes(encode(NOISE, "PNG"))
    locked.chmod(0)
    if os.access(locked, os.R_OK):  # the superuser may read everything

        def refuse(path: Path, *_: Any) -> bytes:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", refuse)
    assert reason(locked) == "no read permission"


def test_error_names_the_file_and_can_be_pickled(tmp_path: Path) -> None:
    path = tmp_path / "bad.jpg"
    path.write_text("text")
    with pytest.raises(UnreadableImage, match=r"bad\.jpg: not an image") as caught:
        decode_image(path)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.reason, str(copy)) == (caught.value.reason, str(caught.value))


def test_no_warning_escapes_from_any_thread_and_filters_come_back() -> None:
    whole = encode(NOISE, "PNG")
    odd = whole[:33] + chunk(b"acTL", bytes(8)) + whole[33:]  # an animation of no frames
    with pytest.warns(UserWarning, match="APNG"), Image.open(io.BytesIO(odd)) as image:
        image.load()  # Pillow does remark on it
    before, failures = list(warnings.filters), []

    def work() -> None:
        try:
            for _ in range(20):
                np.testing.assert_array_equal(decode_image(odd), NOISE)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(warnings.filters) == before
