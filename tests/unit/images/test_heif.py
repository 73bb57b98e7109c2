"""AVIF and HEIC."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from manyview.images import UnreadableImage, decode_image, find_images, open_image
from tests.helpers.image_files import STORED, UPRIGHT, exif

pillow_heif = pytest.importorskip("pillow_heif")
FORMATS = ["avif", "heic"]

if not features.check("avif"):
    FORMATS.remove("avif")


def encoded(format: str, pixels: np.ndarray = STORED, orientation: int = 1) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    if format == "avif":
        image.save(stream, "AVIF", quality=100, subsampling="4:4:4", exif=b"Exif\0\0" + exif(orientation))
    else:
        pillow_heif.from_pillow(image).save(stream, quality=100, chroma=444, matrix_coefficients=0)
    return stream.getvalue()


@pytest.mark.parametrize("format", FORMATS)
def test_pixels_are_those_that_were_saved(tmp_path: Path, format: str) -> None:
    file = tmp_path / f"a.{format}"
    file.write_bytes(encoded(format))
    assert list(find_images(tmp_path)) == [file.name]
    opened = open_image(file)
    assert (opened.width, opened.height) == (STORED.shape[1], STORED.shape[0])
    assert np.abs(decode_image(file).astype(int) - STORED).max() <= 3


@pytest.mark.skipif("avif" not in FORMATS, reason="Pillow without AVIF")
@pytest.mark.parametrize("number", UPRIGHT)
def test_avif_is_turned_by_its_container(tmp_path: Path, number: int) -> None:
    """Pillow writes EXIF's orientation as the container's rotation and mirror."""
    file = tmp_path / "a.avif"
    file.write_bytes(encoded("avif", orientation=number))
    expected = UPRIGHT[number](STORED)
    opened = open_image(file)
    assert (opened.height, opened.width) == expected.shape[:2]
    assert np.abs(decode_image(file).astype(int) - expected).max() <= 3


@pytest.mark.parametrize("alpha", [0, 255])
@pytest.mark.parametrize("format", FORMATS)
def test_transparency_is_over_white(tmp_path: Path, format: str, alpha: int) -> None:
    pixels = np.dstack([STORED, np.full(STORED.shape[:2], alpha, np.uint8)])
    file = tmp_path / f"a.{format}"
    file.write_bytes(encoded(format, pixels))
    expected = STORED if alpha else np.full_like(STORED, 255)
    assert np.abs(decode_image(file).astype(int) - expected).max() <= 3


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("share", "filled"),  # but for a few zeroed bytes at the end of lossy data, which show nowhere
    [*((share, False) for share in (0.01, 0.1, 0.5, 0.9, 0.999)), *((share, True) for share in (0.01, 0.1, 0.5, 0.9))],
)
def test_what_lacks_pixels_is_refused(tmp_path: Path, format: str, share: float, filled: bool) -> None:
    rng = np.random.default_rng(0)
    data = encoded(format, rng.integers(0, 256, (64, 96, 3), dtype=np.uint8))
    kept = data[: int(share * len(data))]
    (tmp_path / "a").write_bytes(kept + bytes(len(data) - len(kept)) if filled else kept)
    with pytest.raises(UnreadableImage):
        decode_image(tmp_path / "a")


@pytest.mark.parametrize("format", FORMATS)
def test_without_its_decoder_the_reason_names_what_reads_it(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(encoded(format))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(features, "check", lambda _: False)
    named = {"avif": r"AVIF, which Pillow 11\.3", "heic": r"HEIC, which pip install 'manyview\[heif\]' reads"}
    with pytest.raises(UnreadableImage, match=named[format]):
        decode_image(tmp_path / "a")


@pytest.mark.parametrize("format", FORMATS)
def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path, format: str) -> None:
    (tmp_path / "a").write_bytes(encoded(format))
    with pytest.raises(UnreadableImage, match="pixels"):
        open_image(tmp_path / "a", max_pixels=100)


@pytest.mark.parametrize("brand", [b"isom", b"mp42", b"qt  ", b"crx "])
def test_films_and_raw_images_in_such_containers_are_not_images(tmp_path: Path, brand: bytes) -> None:
    (tmp_path / "a").write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0" + brand * 2 + bytes(100))
    with pytest.raises(UnreadableImage, match="not an image of a known format"):
        decode_image(tmp_path / "a")
