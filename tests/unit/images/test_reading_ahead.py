"""An image's size before its pixels, and pixels at a part of the size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from manyview.images import UnreadableImage, decode_image, open_image
from tests.helpers.memory import extra_memory, reads_peak_memory

SMOOTH = np.stack(np.broadcast_arrays(*np.ix_(np.arange(0, 240, 4), np.arange(0, 240, 3)), 90), -1).astype(np.uint8)


def encode(pixels: np.ndarray, format: str, mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_the_size_is_known_before_decoding(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(encode(SMOOTH[:, :43], format, exif=exif))
    size = (opened.height, opened.width)
    assert size == ((60, 43) if orientation <= 4 else (43, 60))
    assert opened.decode().shape[:2] == size


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:4:4"}, {"optimize": True}])
def test_plain_jpegs_come_out_as_from_pillow(mode: str, options: dict[str, Any]) -> None:
    data = encode(SMOOTH, "JPEG", mode, quality=90, **options)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(decode_image(data) - expected).max() <= 1


def test_plain_jpegs_do_not_go_through_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data, calls = encode(SMOOTH, "JPEG"), []
    original = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *a, **k: calls.append(k) or original(*a, **k))
    decode_image(data)
    assert len(calls) == 1
    exif = Image.Exif()
    exif[0x0112] = 6
    decode_image(encode(SMOOTH, "JPEG", exif=exif))
    assert len(calls) == 2
    decode_image(encode(SMOOTH, "JPEG", "CMYK"))  # whose completeness is checked at an eighth of the size
    assert [bool(call.get("min_width") == 1) for call in calls] == [False, False, True]


@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_decoded_smaller_is_the_mean_of_its_pixels(mode: str, shrink: int) -> None:
    whole = np.kron(SMOOTH, np.ones((4, 4, 1), dtype=np.uint8))  # 240 x 320
    opened = open_image(encode(whole, "JPEG", mode, quality=95))
    assert (opened.width, opened.height) == (320, 240)
    decoded = opened.decode(shrink)
    assert decoded.shape == (240 // shrink, 320 // shrink, 3)
    expected = decode_image(encode(whole, "JPEG", mode, quality=95)).astype(float)
    expected = expected.reshape(240 // shrink, shrink, 320 // shrink, shrink, 3).mean(axis=(1, 3))
    assert np.abs(decoded - expected).mean() < 2


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_odd_sides_are_rounded_up(mode: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for shrink in (2, 4, 8):
        opened = open_image(encode(SMOOTH[:57, :75], "JPEG", mode, exif=exif))
        down, across = -(-57 // shrink), -(-75 // shrink)
        assert opened.decode(shrink).shape == ((across, down, 3) if orientation == 6 else (down, across, 3))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_other_formats_are_averaged(mode: str) -> None:
    data = encode(SMOOTH, "PNG", mode)
    np.testing.assert_array_equal(open_image(data).decode(), decode_image(data))
    expected = decode_image(data).astype(float).reshape(15, 4, 20, 4, 3).mean(axis=(1, 3))
    assert np.abs(open_image(data).decode(4) - expected).max() <= 0.51


@reads_peak_memory
@pytest.mark.parametrize(("format", "times"), [("JPEG", 0.3), ("PNG", 1.5), ("TIFF", 2.5)])
def test_a_huge_image_takes_bounded_memory(format: str, times: float, tmp_path: Path) -> None:
    """Memory that decoding at an eighth takes at its peak, in multiples of the decoded image's size."""
    pixels = np.zeros((4000, 6000, 3), dtype=np.uint8)
    pixels[::64, :, 1] = 200
    file = tmp_path / "huge"
    file.write_bytes(encode(pixels, format))
    prepare = "from pathlib import Path; from manyview.images import open_image"
    taken = extra_memory(prepare, "open_image(Path(sys.argv[1])).decode(8)", file)
    assert 0 < taken < times * pixels.nbytes


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize("shrink", [1, 8])
def test_a_jpeg_cut_off_is_refused_at_every_size(mode: str, shrink: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    data = encode(noise, "JPEG", mode)
    opened = open_image(data[: len(data) // 2])
    assert opened.width == 200
    with pytest.raises(UnreadableImage, match="truncated"):
        opened.decode(shrink)


def test_remarks_of_the_decoder_refuse_no_sound_image() -> None:
    """Rubbish between two segments, which simplejpeg refuses when it is strict, and every viewer ignores."""
    data = encode(SMOOTH, "JPEG")
    table = data.index(b"\xff\xc4")
    odd = data[:table] + b"\x00\x00\x00" + data[table:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(odd)
    assert np.abs(decode_image(odd).astype(int) - decode_image(data)).max() <= 1


def test_too_large_is_said_before_decoding() -> None:
    with pytest.raises(UnreadableImage, match="too large: 80 x 60 pixels"):
        open_image(encode(SMOOTH, "JPEG"), max_pixels=4_799)
    assert open_image(encode(SMOOTH, "JPEG"), max_pixels=4_800).width == 80
