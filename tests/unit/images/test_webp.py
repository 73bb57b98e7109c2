"""WebP and GIF: data that were never written are noticed as far as the formats allow."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from manyview.images import UnreadableImage, decode_image

NOISE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def saved(format: str, pixels: np.ndarray = NOISE, **options: bool | bytes) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **options)
    return stream.getvalue()


def reason(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode_image(data)
    return caught.value.reason


@pytest.mark.parametrize("lossless", [False, True])
def test_holes_in_webp(lossless: bool) -> None:
    whole = saved("WEBP", lossless=lossless, exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(3000))
    decode_image(whole)  # zeros of its metadata are none of the pixels
    half = len(whole) // 2
    assert "zeros" in reason(whole[:half] + bytes(len(whole) - half))
    assert "zeros" in reason(whole[: half - 600] + bytes(600) + whole[half:])


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_cut_off_however_its_sizes_read(lossless: bool) -> None:
    whole = saved("WEBP", lossless=lossless)
    half = len(whole) // 4 * 2
    assert reason(whole[:half]) == "truncated file"
    sized = whole[:4] + struct.pack("<I", half - 8) + whole[8:half]
    assert reason(sized)
    assert reason(sized[:16] + struct.pack("<I", half - 20) + sized[20:])


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_plain_images_have_no_holes(lossless: bool, value: int) -> None:
    flat = np.full((1500, 1500, 3), value, dtype=np.uint8)
    flat[700:710, 300:400] = 90
    assert np.abs(decode_image(saved("WEBP", flat, lossless=lossless)).astype(int) - flat).max() <= 60


def test_gif_cut_off_however_it_ends() -> None:
    whole = saved("GIF")
    half = whole[: len(whole) // 2]
    for end in (b"", b"\0;", bytes(len(half)), b";"):
        assert reason(half + end)
    expected = decode_image(whole)
    for file in (whole[:-1], whole[:-2], whole + b"more"):
        np.testing.assert_array_equal(decode_image(file), expected)
