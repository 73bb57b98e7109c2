"""PNGs: only what makes up the pixels must be intact, and that must be complete."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from manyview.images import UnreadableImage, decode_image, open_image
from manyview.images.bands import decode_bands
from tests.helpers.image_files import PNG, chunk, png, png_header, png_rows

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (41, 50, 3), dtype=np.uint8)
HEADER, DATA = png_header(PIXELS), zlib.compress(png_rows(PIXELS))
IDAT, IEND = chunk(b"IDAT", DATA), chunk(b"IEND", b"")
MANY = b"a" * 2**20
ANCILLARY = {
    "large color profile": chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(2**25))),
    "damaged color profile": chunk(b"iCCP", b"rubbish"),
    "checksum of a color profile": chunk(b"iCCP", b"name\0\0" + zlib.compress(b"profile"), sound=False),
    "large compressed text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(MANY * 32)),
    "large international text": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(MANY * 32)),
    "large plain text": chunk(b"tEXt", b"Comment\0" + MANY * 3),
    "many texts": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(MANY)) * 80,
    "text in a wrong compression": chunk(b"zTXt", b"Comment\0\7rubbish"),
    "text without a keyword": chunk(b"tEXt", b""),
    "XMP in a wrong compression": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0rubbish"),
    "EXIF as rubbish": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n5\nwxyz")),
    "checksum of a text": chunk(b"tEXt", b"Comment\0text", sound=False),
    "checksum of EXIF": chunk(b"eXIf", b"II*\0", sound=False),
    "checksum of gamma": chunk(b"gAMA", bytes(4), sound=False),
    "short gamma": chunk(b"gAMA", b""),
    "short chromaticities": chunk(b"cHRM", b"1"),
    "short resolution": chunk(b"pHYs", b"1"),
    "short rendering intent": chunk(b"sRGB", b""),
    "animation of no frames": chunk(b"acTL", bytes(8)),
    "damaged animation": chunk(b"acTL", b"") + chunk(b"fcTL", b"123"),
    "unknown": chunk(b"abCd", b"whatever", sound=False),
}


@pytest.mark.parametrize("name", ANCILLARY)
def test_what_is_no_pixel_may_be_damaged_or_large(name: str) -> None:
    for file in (
        PNG + HEADER + ANCILLARY[name] + IDAT + IEND,
        PNG + HEADER + IDAT + ANCILLARY[name] + IEND,
    ):
        np.testing.assert_array_equal(decode_image(file), PIXELS)
        np.testing.assert_array_equal(decode_bands(file, 3), PIXELS)


def test_ancillary_chunks_of_16_bit_color() -> None:
    deep = RNG.integers(0, 65536, (9, 7, 3), dtype=np.uint16)
    extra = b"".join(ANCILLARY.values())
    file = PNG + png_header(deep) + extra + chunk(b"IDAT", zlib.compress(png_rows(deep))) + IEND
    np.testing.assert_array_equal(decode_bands(file, 3), deep)
    np.testing.assert_array_equal(decode_image(file), deep >> 8)


def test_transparency_counts_and_must_be_intact() -> None:
    color = struct.pack(">HHH", *map(int, PIXELS[0, 0]))
    expected = PIXELS.copy()
    expected[(PIXELS[0, 0] == PIXELS).all(axis=2)] = 255
    noted = chunk(b"tEXt", b"Comment\0text", sound=False) + chunk(b"tRNS", color)
    np.testing.assert_array_equal(decode_image(PNG + HEADER + noted + IDAT + IEND), expected)
    assert "tRNS" in reason(PNG + HEADER + chunk(b"tRNS", color, sound=False) + IDAT + IEND)


def reason(file: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode_image(file)
    with pytest.raises(UnreadableImage):
        decode_bands(file, 3)
    with pytest.raises(UnreadableImage):
        open_image(file).decode(4)
    return caught.value.reason


def pieces() -> list[bytes]:
    return [chunk(b"IDAT", DATA[start : start + 500]) for start in range(0, len(DATA), 500)]


def test_critical_chunks_must_be_intact() -> None:
    assert "IHDR" in reason(PNG + HEADER[:-1] + bytes([HEADER[-1] ^ 1]) + IDAT + IEND)
    assert "IDAT" in reason(PNG + HEADER + chunk(b"IDAT", DATA, sound=False) + IEND)
    first, *others = pieces()
    for position in range(len(others)):
        broken = others[position][:-4] + bytes(4)
        assert "IDAT" in reason(PNG + HEADER + first + b"".join([*others[:position], broken]) + IEND)
    np.testing.assert_array_equal(decode_image(PNG + HEADER + b"".join(pieces()) + IEND), PIXELS)


def test_data_that_were_never_written() -> None:
    whole = PNG + HEADER + IDAT + IEND
    assert "checksum" in reason(whole[: len(whole) // 2] + bytes(len(whole) // 2))
    assert reason(whole[: len(whole) // 2]) == "truncated file"
    half = PNG + HEADER + b"".join(pieces()[:5])
    for end in (b"", IEND, bytes(len(whole) // 2)):
        assert reason(half + end) == "truncated file"


def test_the_end_may_be_missing() -> None:
    for end in (b"", IEND[:3], IEND[:7], IEND[:-1], bytes(500), IEND + b"more", chunk(b"IEND", b"", sound=False)):
        np.testing.assert_array_equal(decode_image(PNG + HEADER + IDAT + end), PIXELS)
        np.testing.assert_array_equal(decode_bands(PNG + HEADER + IDAT + end, 3), PIXELS)


@pytest.mark.parametrize("missing", [1, 50, 151, 151 * 20])
def test_rows_missing_from_data_that_end_properly(missing: int) -> None:
    short = chunk(b"IDAT", zlib.compress(png_rows(PIXELS)[:-missing]))
    assert reason(PNG + HEADER + short + IEND) == "truncated file"


def test_a_wrong_checksum_within_the_compressed_data() -> None:
    assert reason(PNG + HEADER + chunk(b"IDAT", DATA[:-1] + bytes([DATA[-1] ^ 1])) + IEND)


@pytest.mark.parametrize(("samples", "bits"), [(1, 8), (3, 8), (2, 8), (4, 8), (1, 16), (3, 16)])
def test_black_rows_at_the_end_are_no_missing_ones(samples: int, bits: int) -> None:
    kind = np.uint16 if bits == 16 else np.uint8
    values = RNG.integers(0, 256, (20, 9, samples)).astype(kind)
    values[10:] = 0
    np.testing.assert_array_equal(decode_bands(png(values), samples), values)
    short = PNG + png_header(values) + chunk(b"IDAT", zlib.compress(png_rows(values[:15]))) + IEND
    with pytest.raises(UnreadableImage, match="truncated file"):
        decode_bands(short, samples)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (16, 16), (33, 17)])
def test_interlaced_rows_are_counted(size: tuple[int, int]) -> None:
    values = RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_image(png(values, interlaced=True)), values)
    start, data = PNG + png_header(values, interlaced=True), png_rows(values, interlaced=True)
    for end in (len(data) // 2, len(data) - 1):
        with pytest.raises(UnreadableImage):
            decode_image(start + chunk(b"IDAT", zlib.compress(data[:end])) + IEND)
