"""Files of 16 bits whose values use fewer: scaled to white, measured, and named in a sentence."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from manyview.errors import UserError
from manyview.images import ImageFiles, UnreadableImage, decode, open_image, used_bits
from manyview.images.depth import require_bit_depth
from manyview.images.used_bits import describe_depth
from tests.helpers.image_files import png

BITS = (9, 10, 12, 14, 15)
SAMPLES = {"gray": 1, "gray with alpha": 2, "RGB": 3, "RGBA": 4}
TIFFS: dict[str, dict[str, Any]] = {
    "uncompressed": {},
    "deflate": {"compression": "zlib"},
    "big-endian": {"byteorder": ">"},
    "in planes": {"planarconfig": "separate"},
    "deflate in planes": {"planarconfig": "separate", "compression": "zlib"},
}


def drawn(samples: int, bits: int) -> np.ndarray:
    """Values (18, 25, samples) that use so many bits, the first white; alpha has 16."""
    values = np.random.default_rng(bits).integers(0, 2**bits, (18, 25, samples), dtype=np.uint16)
    values[0, 0] = 2**bits - 1
    if samples in (2, 4):
        values[..., -1] = 65535
        values[3:6, :, -1] = 30000
    return values


def tiff(values: np.ndarray, **options: Any) -> bytes:
    samples = values.shape[2]
    if options.get("planarconfig") == "separate" and samples > 1:
        values = values.transpose(2, 0, 1)
    elif samples == 1:
        values, options = values[..., 0], {key: value for key, value in options.items() if key != "planarconfig"}
    options.setdefault("photometric", "rgb" if samples > 2 else "minisblack")
    if samples in (2, 4):
        options["extrasamples"] = ["unassalpha"]
    if samples > 1:
        options.setdefault("planarconfig", "contig")
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def encoded(values: np.ndarray, form: str) -> bytes:
    return png(values) if form == "PNG" else tiff(values, **TIFFS[form])


def scaled(values: np.ndarray, bits: int, white: int) -> np.ndarray:
    """By the definition, in float64."""
    top = 2.0**bits - 1
    return np.floor(np.minimum(values.astype(np.float64), top) / top * white + 0.5)


def over_white(values: np.ndarray, bits: int) -> np.ndarray:
    """8-bit RGB of the values, composited by their alpha of 16 bits."""
    count = values.shape[2]
    colors = np.broadcast_to(scaled(values[..., : 3 if count > 2 else 1], bits, 255), (*values.shape[:2], 3))
    if count in (1, 3):
        return colors
    alpha = values[..., -1:] / 65535
    return colors * alpha + 255 * (1 - alpha)


@pytest.mark.parametrize("form", ["PNG", *TIFFS])
@pytest.mark.parametrize("samples", SAMPLES.values(), ids=SAMPLES.keys())
@pytest.mark.parametrize("bits", BITS)
def test_rgb_has_all_levels(bits: int, samples: int, form: str) -> None:
    values = drawn(samples, bits)

    pixels = open_image(encoded(values, form), bit_depth=bits).decode()

    assert pixels.dtype == np.uint8
    # Compositing by an alpha of 8 bits may be off by a level and a half.
    np.testing.assert_allclose(pixels, over_white(values, bits), rtol=0, atol=1.5 if samples in (2, 4) else 0)


@pytest.mark.parametrize("form", ["PNG", *TIFFS])
@pytest.mark.parametrize("samples", SAMPLES.values(), ids=SAMPLES.keys())
@pytest.mark.parametrize("bits", BITS)
def test_bands_use_all_16_bits(bits: int, samples: int, form: str) -> None:
    values = drawn(samples, bits)

    pixels = open_image(encoded(values, form), samples, bit_depth=bits).decode()

    expected = scaled(values, bits, 65535)
    if form == "PNG" and samples in (2, 4):
        expected[..., -1] = values[..., -1]
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("form", ["PNG", "uncompressed", "deflate in planes"])
def test_bands_of_gray_with_alpha_keep_16_bits(form: str) -> None:
    values = drawn(2, 12)
    np.testing.assert_array_equal(open_image(encoded(values, form), 2).decode(), values)


def test_gray_pngs_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow keeps all of their bits."""
    monkeypatch.setattr(decode, "deep_samples", None)
    np.testing.assert_array_equal(open_image(png(drawn(1, 12)), bit_depth=12).decode(), over_white(drawn(1, 12), 12))


def test_arrays_are_scaled() -> None:
    stream = io.BytesIO()
    np.save(stream, drawn(5, 12))
    expected = scaled(drawn(5, 12), 12, 65535)
    np.testing.assert_array_equal(open_image(stream.getvalue(), 5, bit_depth=12).decode(), expected)


@pytest.mark.parametrize("form", ["PNG", "uncompressed", "in planes"])
@pytest.mark.parametrize("samples", [1, 3])
def test_values_above_the_range_are_white(samples: int, form: str) -> None:
    values = drawn(samples, 14)
    pixels = open_image(encoded(values, form), bit_depth=12).decode()
    np.testing.assert_array_equal(pixels, over_white(values, 12))
    assert (pixels[..., 0][values[..., 0] > 4095] == 255).all()
    np.testing.assert_array_equal(
        open_image(encoded(values, form), samples, bit_depth=12).decode(), scaled(values, 12, 65535)
    )


def test_white_may_be_zero() -> None:
    values = drawn(1, 12)
    data = tiff(values, photometric="miniswhite")
    inverted = np.broadcast_to(255 - scaled(values, 12, 255), (18, 25, 3))
    np.testing.assert_array_equal(open_image(data, bit_depth=12).decode(), inverted)
    np.testing.assert_array_equal(open_image(data, 1, bit_depth=12).decode(), 65535 - scaled(values, 12, 65535))


@pytest.mark.parametrize("samples", [1, 3])
def test_signed_values_count_unless_negative(samples: int) -> None:
    values = drawn(samples, 12)
    pixels = open_image(tiff(values.astype(np.int16)), bit_depth=12).decode()
    np.testing.assert_array_equal(pixels, over_white(values, 12))
    with pytest.raises(UnreadableImage, match="whose white is unknown"):
        open_image(tiff(-values.astype(np.int16)), bit_depth=12).decode()


def test_images_are_turned_and_shrunk_as_others() -> None:
    values = drawn(3, 12)
    data = tiff(values, extratags=[(274, "H", 1, 6, True)])
    opened = open_image(data, bit_depth=12)
    assert (opened.width, opened.height) == (18, 25)
    turned = over_white(values, 12).transpose(1, 0, 2)[:, ::-1]
    np.testing.assert_array_equal(opened.decode(), turned)
    shrunk = open_image(data, bit_depth=12).decode(2)
    expected = np.asarray(Image.fromarray(turned.astype(np.uint8)).reduce(2))
    np.testing.assert_array_equal(shrunk, expected)


def others() -> dict[str, bytes]:
    """Files that have no integers of 16 bits."""
    values = np.random.default_rng(0).integers(0, 256, (18, 25, 3), dtype=np.uint8)
    found: dict[str, bytes] = {"TIFF": tiff(values), "float": tiff(values.astype(np.float32) / 255)}
    found["12-bit TIFF"] = twelve_bit_tiff()
    for form in ("JPEG", "PNG", "WEBP", "BMP"):
        stream = io.BytesIO()
        Image.fromarray(values).save(stream, format=form)
        found[form] = stream.getvalue()
    return found


def twelve_bit_tiff() -> bytes:
    """A gray TIFF of 2 x 1 pixels of 12 bits each, 4095 and 0, written from its specification (TIFF 6.0)."""
    entries = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    table = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in entries)
    ifd = struct.pack("<H", len(entries)) + table + bytes(4)
    return b"II*\0" + struct.pack("<I", 12) + b"\xff\xf0\x00\0" + ifd


@pytest.mark.parametrize("form", others())
def test_other_files_are_not_changed(form: str) -> None:
    data = others()[form]
    np.testing.assert_array_equal(open_image(data, bit_depth=12).decode(), open_image(data).decode())


def test_without_a_depth_nothing_changes() -> None:
    values = drawn(3, 12)
    np.testing.assert_array_equal(open_image(encoded(values, "deflate")).decode(), values >> 8)


@pytest.mark.parametrize("bits", [8, 16, 12.5, "12", -1])
def test_other_depths_are_refused(bits: Any) -> None:
    with pytest.raises(UserError, match=f"bit_depth must be a whole number from 9 to 15, not {bits!r}"):
        require_bit_depth(bits)
    if isinstance(bits, int):
        with pytest.raises(UserError, match="bit_depth must be a whole number"):
            open_image(png(drawn(1, 12)), bit_depth=bits)


def test_color_that_only_pillow_reads_is_not_cut_to_its_high_byte() -> None:
    stream = io.BytesIO()
    Image.fromarray(drawn(1, 12)[..., 0]).save(stream, format="TIFF", compression="tiff_lzw")
    np.testing.assert_array_equal(open_image(stream.getvalue(), bit_depth=12).decode(), over_white(drawn(1, 12), 12))


def folder(path: Path, **contents: bytes) -> ImageFiles:
    for name, data in contents.items():
        (path / name.replace("_", ".")).write_bytes(data)
    return ImageFiles(path, sorted(file.name for file in path.iterdir()))


@pytest.mark.parametrize("form", ["PNG", *TIFFS])
@pytest.mark.parametrize("samples", SAMPLES.values(), ids=SAMPLES.keys())
@pytest.mark.parametrize("bits", BITS)
def test_the_depth_is_measured(bits: int, samples: int, form: str, tmp_path: Path) -> None:
    files = folder(tmp_path, **{"a_png" if form == "PNG" else "a_tif": encoded(drawn(samples, bits), form)})

    sentence = describe_depth(files, None)

    dark = "nearly black" if bits < 14 else "dark"
    assert sentence == (
        f"16-bit images use values up to {2**bits - 1:,} of 65,535 (1 image measured), as of {bits} bits: they are "
        f"{dark}, with some {2 ** (bits - 8)} of 256 levels of gray; data.bit_depth={bits} makes {2**bits - 1:,} white."
    )
    assert describe_depth(files, bits) == ""
    if samples in (1, 3):  # alpha adds levels
        levels = len(np.unique(open_image(files.path(0)).decode()[..., 0]))
        assert 0.9 * 2 ** (bits - 8) <= levels <= 2 ** (bits - 8) + 1


@pytest.mark.parametrize(
    ("highest", "said"),
    [
        (32768, ""),
        (65535, ""),
        (32767, "data.bit_depth=15"),
        (2049, "as of 12 bits"),
        (256, "as of 9 bits"),
        (255, "as of 8 bits: they are black; convert them to 8-bit files, or data.bit_depth=9 makes 511 white"),
        (0, "as of 8 bits"),
    ],
)
@pytest.mark.parametrize("form", ["PNG", "uncompressed"])
def test_the_highest_value_decides(highest: int, said: str, form: str, tmp_path: Path) -> None:
    values = np.zeros((5, 6, 3), np.uint16)
    values[4, 5, 1] = highest
    files = folder(tmp_path, **{"a_png" if form == "PNG" else "a_tif": encoded(values, form)})
    sentence = describe_depth(files, None)
    assert sentence.count(said) == 1 if said else sentence == ""


def test_a_mixed_folder_is_judged_by_its_16_bit_files(tmp_path: Path) -> None:
    plain = {f"{name}_{name}": data for name, data in (("jpg", others()["JPEG"]), ("png", others()["PNG"]))}
    files = folder(tmp_path, **plain, tif_tif=others()["TIFF"])
    assert describe_depth(files, None) == describe_depth(files, 12) == ""

    files = folder(tmp_path, a_tif=tiff(drawn(3, 12)), b_png=png(drawn(1, 10)), c_png=b"\x89PNG\r\n\x1a\n damaged")

    assert "up to 4,095 of 65,535 (2 images measured), as of 12 bits" in describe_depth(files, None)
    assert describe_depth(files, 12) == ""
    files = folder(tmp_path, full_png=png(drawn(3, 16)))
    assert describe_depth(files, None) == ""


def test_values_above_a_given_depth_are_named(tmp_path: Path) -> None:
    files = folder(tmp_path, a_tif=tiff(drawn(3, 14)), b_png=png(drawn(1, 10)))
    assert describe_depth(files, 12) == (
        "1 of 2 16-bit images have values above 4,095 (up to 16,383), which data.bit_depth=12 makes white; "
        "data.bit_depth=14 keeps them."
    )
    files = folder(tmp_path, c_tif=tiff(drawn(3, 16)))
    assert "leave --bit-depth out" in describe_depth(files, 12, option="--bit-depth")


def test_compressed_color_is_measured_by_its_high_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of TIFFs whose compression needs a package that is not installed."""
    monkeypatch.setattr(
        "manyview.images.tiff.obstacle", lambda page: "TIFF compression LZW, which needs the package imagecodecs"
    )
    files = folder(tmp_path, a_tif=tiff(drawn(3, 12)))
    assert "data.bit_depth=12" in describe_depth(files, None)
    with pytest.raises(UnreadableImage, match="imagecodecs"):
        open_image(files.path(0), bit_depth=12)


def test_at_most_64_images_are_decoded_and_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = png(drawn(1, 12)[:4, :4])
    files = folder(tmp_path, **{f"{index:03d}_png": data for index in range(100)}, x_jpg=others()["JPEG"])
    decoded: list[Path] = []
    before = used_bits._highest_value

    def counting(path: Path, max_pixels: int) -> int | None:
        decoded.append(path)
        return before(path, max_pixels)

    monkeypatch.setattr(used_bits, "_highest_value", counting)
    assert "(64 images measured)" in describe_depth(files, None, threads=3)
    assert len(set(decoded)) == len(decoded) == 64


def test_full_values_end_the_measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ok, data = cv2.imencode(".png", drawn(3, 16))
    assert ok
    files = folder(tmp_path, **{f"{index}_png": data.tobytes() for index in range(9)})
    decoded: list[Path] = []
    before = used_bits._highest_value
    monkeypatch.setattr(used_bits, "_highest_value", lambda path, limit: decoded.append(path) or before(path, limit))
    assert describe_depth(files, None, threads=2) == ""
    assert len(decoded) == 2


def test_images_above_the_limit_are_left_out(tmp_path: Path) -> None:
    files = folder(tmp_path, a_png=png(drawn(1, 12)))
    assert describe_depth(files, None, max_pixels=18 * 25) != ""
    assert describe_depth(files, None, max_pixels=18 * 25 - 1) == ""
