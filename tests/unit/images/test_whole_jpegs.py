"""Whether a JPEG is accepted: by the data of its pixels, not by the marker of its end."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image, JpegImagePlugin

from manyview.images import UnreadableImage, decode_image, open_image
from manyview.images.bands import decode_bands
from manyview.images.jpeg import common_header, quick_pixels, whole_jpeg
from manyview.images.jpeg_on_device import read_jpeg

END = b"\xff\xd9"
NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("RGB", {}),
    "progressive": ("RGB", {"progressive": True}),
    "own tables": ("RGB", {"optimize": True}),
    "restarts": ("RGB", {"restart_marker_rows": 1}),
    "full color": ("RGB", {"subsampling": 0}),
    "stored as RGB": ("RGB", {"keep_rgb": True}),
    "gray": ("L", {}),
    "CMYK": ("CMYK", {}),
    "progressive CMYK": ("CMYK", {"progressive": True}),
}


def jpeg(kind: str) -> bytes:
    mode, options = KINDS[kind]
    stream = io.BytesIO()
    Image.fromarray(NOISE).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def reason(data: bytes, shrink: int = 1) -> str:
    with pytest.raises(UnreadableImage) as caught:
        open_image(data).decode(shrink)
    return caught.value.reason


@pytest.mark.parametrize("shrink", [1, 2, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_all_pixels_without_a_proper_end(kind: str, shrink: int) -> None:
    whole = jpeg(kind)
    expected = open_image(whole).decode(shrink)
    for file in (
        whole[:-2],
        whole[:-1],
        whole[:-2] + bytes(3000),  # a block of the disk that was never written
        whole[:-2] + b"\xff\xff",
        whole[:-2] + b"\x12\x34\x56" * 300 + END,  # padding, of which decoders warn
        whole + bytes(5000),
        whole + b"more",
        whole + whole,  # as with two views of a scene in one file
    ):
        decoded = open_image(file).decode(shrink)
        assert np.abs(decoded.astype(int) - expected).max() <= 1  # of two decoders, at most


@pytest.mark.parametrize("shrink", [1, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_missing_pixels_are_refused_however_the_file_ends(kind: str, shrink: int) -> None:
    whole = jpeg(kind)
    for share in (0.4, 0.5, 0.9, 0.99):
        half = whole[: int(share * len(whole))]
        missing = len(whole) - len(half)
        for file in (
            half,
            half + END,
            half + bytes(missing),
            half + bytes(missing - 2) + END,
            half + bytes(9 * len(whole)),  # enough for all blocks, had they been coded as zeros
            half + END + whole,
        ):
            assert reason(file, shrink) == "truncated file"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "progressive" not in kind])
def test_the_last_block_counts(kind: str) -> None:
    whole = jpeg(kind)
    assert reason(whole[:-6] + END) == "truncated file"


def test_data_lost_between_restarts() -> None:
    whole = jpeg("restarts")
    second = whole.index(b"\xff\xd1")
    assert reason(whole[: second - 200] + whole[second:])
    assert reason(whole[:second] + whole[whole.index(b"\xff\xd4") :])


def test_a_hole_in_a_large_file() -> None:
    whole = jpeg("baseline")
    hole = len(whole) // 2
    for size in (512, 4096):
        assert reason(whole[:hole] + bytes(size) + whole[hole + size :])
    extra = whole[:hole] + bytes(4096) + whole[hole:]
    assert reason(extra)


def test_missing_pixels_behind_a_harmless_warning() -> None:
    """A decoder tells its first warning only."""
    whole = jpeg("baseline")
    table = whole.index(b"\xff\xc4")
    odd = whole[:table] + bytes(3) + whole[table:]
    with pytest.raises(ValueError, match="extraneous bytes before marker 0xc4"):
        simplejpeg.decode_jpeg(odd)
    assert np.abs(decode_image(odd).astype(int) - decode_image(whole)).max() <= 1
    assert np.abs(decode_image(odd[:-2]).astype(int) - decode_image(whole)).max() <= 1
    assert reason(odd[: len(odd) // 2] + END) == "truncated file"


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_images_narrower_than_a_block(mode: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(NOISE[:300, :4]).convert(mode).save(stream, "JPEG")
    whole = stream.getvalue()
    padded = whole[:-2] + b"\x11" * 12 + END  # of which decoders warn
    assert np.array_equal(decode_image(padded), decode_image(whole))
    assert open_image(whole).decode(8).shape[1] == 1
    assert reason(padded[: len(padded) // 2] + END) == "truncated file"


def test_a_thumbnail_with_its_own_end_is_not_the_end() -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    Image.fromarray(NOISE[:40, :40]).save(stream, "JPEG")
    exif[0x010E] = stream.getvalue().decode("latin-1")
    whole = io.BytesIO()
    Image.fromarray(NOISE).save(whole, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + stream.getvalue())
    data = whole.getvalue()
    assert data.count(END) == 2
    assert np.abs(decode_image(data[:-2]).astype(int) - decode_image(data)).max() <= 1
    assert reason(data[: len(data) // 2] + END) == "truncated file"


@pytest.mark.parametrize(("kind", "bands"), [("baseline", 3), ("gray", 1)])
def test_bands_are_read_by_the_same_rule(kind: str, bands: int) -> None:
    whole = jpeg(kind)
    expected = decode_bands(whole, bands)
    with Image.open(io.BytesIO(whole)) as image:
        assert np.abs(np.asarray(image).reshape(expected.shape).astype(int) - expected).max() <= 1
    assert np.abs(decode_bands(whole[:-2], bands).astype(int) - expected).max() <= 1
    for file in (whole[: len(whole) // 2], whole[: len(whole) // 2] + END):
        with pytest.raises(UnreadableImage, match="truncated file"):
            decode_bands(file, bands)


def test_a_sound_jpeg_is_decoded_once_and_not_by_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, calls = jpeg("baseline"), []

    def counted(function: str) -> None:
        original = getattr(simplejpeg, function)
        monkeypatch.setattr(simplejpeg, function, lambda *a, **k: calls.append(function) or original(*a, **k))

    counted("decode_jpeg_header")
    counted("decode_jpeg")
    (tmp_path / "a.jpg").write_bytes(data)
    decode_bands(data, 3)
    monkeypatch.setattr(JpegImagePlugin, "JpegImageFile", None)
    for shrink in (1, 4):
        open_image(data).decode(shrink)
    assert calls == ["decode_jpeg_header", "decode_jpeg"] * 3
    assert read_jpeg(tmp_path / "a.jpg", max_pixels=10**6) is not None
    assert calls[6:] == ["decode_jpeg_header"]


def test_the_whole_file_ends_at_its_pixels() -> None:
    whole = jpeg("gray")
    for file in (whole, whole[:-1], whole[:-2], whole + b"more", whole + bytes(9)):
        assert whole_jpeg(file).rstrip(END) == whole.rstrip(END)
    assert common_header(jpeg("CMYK")) is None
    assert common_header(whole) == (320, 240, "Gray")
    assert quick_pixels(whole, common_header(whole), gray=True).shape == (240, 320, 1)


def test_a_last_coded_byte_of_ones_keeps_the_zero_that_follows_it() -> None:
    """T.81, B.1.1.5: ff is coded as ff 00; without the zero the last blocks would be lost."""
    for seed in range(2000):
        stream = io.BytesIO()
        noise = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(stream, "JPEG", quality=95)
        if (whole := stream.getvalue()).endswith(b"\xff\x00" + END):
            break
    else:
        raise AssertionError("no image whose data end so")
    expected = decode_image(whole).astype(int)
    for file in (whole[:-2], whole[:-1], whole[:-2] + bytes(3000), whole[:-2] + b"\x12\x34\x56" * 300 + END):
        assert np.abs(decode_image(file) - expected).max() <= 1


def test_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg("baseline")[:5000] + END)
    with pytest.raises(UnreadableImage, match=r"a\.jpg: truncated file"):
        decode_image(tmp_path / "a.jpg")
