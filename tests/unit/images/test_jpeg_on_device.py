from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from manyview.errors import UserError
from manyview.images import decode_image, jpeg_on_device
from manyview.images.jpeg_on_device import JpegHeader, check_device_decoding, decode_jpegs, read_jpeg

CPU = torch.device("cpu")
MANY = 10**9


def picture(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 40
    waves = [128 + 120 * np.sin(random.uniform(2, 9) * x + random.uniform(2, 9) * y) for _ in range(3)]
    return Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


def jpeg(image: Image.Image | None = None, orientation: int = 1, **options: Any) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    (image or picture()).save(buffer, "JPEG", exif=exif, **options)
    return buffer.getvalue()


def read(folder: Path, data: bytes, max_pixels: int = MANY) -> tuple[bytes, JpegHeader] | None:
    (folder / "file").write_bytes(data)
    return read_jpeg(folder / "file", max_pixels=max_pixels)


def decoded(files: Sequence[bytes], headers: Sequence[JpegHeader]) -> list[np.ndarray | None]:
    tensors = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
    return [image if image is None else image.numpy() for image in decode_jpegs(tensors, headers, CPU)]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_pixels_are_the_workers(tmp_path: Path, orientation: int, options: dict[str, Any]) -> None:
    data = jpeg(orientation=orientation, **options)
    found = read(tmp_path, data)
    assert found is not None
    (image,) = decoded([found[0]], [found[1]])
    expected = decode_image(data).transpose(2, 0, 1)
    assert image is not None
    np.testing.assert_array_equal(image, expected)
    assert found[1] == JpegHeader(expected.shape[2], expected.shape[1], orientation)


def without_adobe(data: bytes) -> bytes:
    """A JPEG without Adobe's marker, which then says by the names of its components that they are R, G and B."""
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 16 :]


def other_files() -> dict[str, bytes]:
    whole, png = jpeg(), io.BytesIO()
    picture().save(png, "PNG")
    return {
        "cut off": whole[: len(whole) // 2],
        "without its last byte": whole[:-1],
        "followed by something": whole + b"more",
        "PNG": png.getvalue(),
        "gray": jpeg(picture().convert("L")),
        "CMYK": jpeg(picture().convert("CMYK")),
        "stored as RGB": jpeg(keep_rgb=True),
        "stored as RGB by its components' names": without_adobe(jpeg(keep_rgb=True)),
        "damaged header": whole[:6] + b"\xff\xff" * 20 + b"\xff\xd9",
        "text": b"not an image\n" * 20,
        "nothing": b"",
    }


@pytest.mark.parametrize("kind", other_files())
def test_other_files_are_left_to_the_workers(tmp_path: Path, kind: str) -> None:
    assert read(tmp_path, other_files()[kind]) is None


def test_what_cannot_be_read_is_left_to_the_workers(tmp_path: Path) -> None:
    assert read_jpeg(tmp_path, max_pixels=MANY) is None
    assert read_jpeg(tmp_path / "missing.jpg", max_pixels=MANY) is None
    assert read(tmp_path, jpeg(), max_pixels=60 * 40) is not None
    assert read(tmp_path, jpeg(), max_pixels=60 * 40 - 1) is None


def test_one_that_fails_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [jpeg(picture(40 + index, 30, index)) for index in range(5)]
    headers = [found[1] for found in (read(tmp_path, file) for file in files) if found]
    broken = files[3][:2] + b"\xff\xda" + files[3][4:]  # no header any more
    images = decoded([*files[:3], broken, files[4]], headers)
    assert [image is None for image in images] == [False, False, False, True, False]
    for at_once in (1, 40 * 30 * 2, MANY):
        monkeypatch.setattr(jpeg_on_device, "_PIXELS_AT_ONCE", at_once)
        for image, file in zip(decoded(files, headers), files, strict=True):
            np.testing.assert_array_equal(image, decode_image(file).transpose(2, 0, 1))


def test_what_lacks_pixels_is_refused_and_a_flat_corner_is_not(tmp_path: Path) -> None:
    cut, flat, white = (picture(640, 480, seed) for seed in range(3))
    flat.paste((30, 90, 60), (320, 240, 640, 480))
    white.paste((255, 255, 255), (320, 240, 640, 480))
    whole = jpeg(cut)
    files = [whole[: len(whole) // 2] + b"\xff\xd9", jpeg(flat), whole, jpeg(white), jpeg(flat, orientation=3)]
    headers = [found[1] for found in (read(tmp_path, file) for file in files) if found]
    images = decoded(files, headers)
    assert [image is None for image in images] == [True, False, False, False, False]
    for image, file in list(zip(images, files, strict=True))[1:]:
        np.testing.assert_array_equal(image, decode_image(file).transpose(2, 0, 1))


def test_no_more_than_so_many_pixels_are_decoded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    together = jpeg_on_device._torchvision
    monkeypatch.setattr(
        jpeg_on_device, "_torchvision", lambda files, device: sizes.append(len(files)) or together(files, device)
    )
    monkeypatch.setattr(jpeg_on_device, "_PIXELS_AT_ONCE", 60 * 40 * 3)
    found = read(tmp_path, jpeg())
    assert found is not None
    assert len(decoded([found[0]] * 8, [found[1]] * 8)) == 8
    assert sizes == [3, 3, 2]


def test_another_size_than_the_headers_is_refused() -> None:
    """Crops are drawn by the header's size: an image of another would be shown wrongly."""
    assert decoded([jpeg()], [JpegHeader(40, 60, 1)]) == [None]


def test_whether_a_device_decodes_is_known_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    check_device_decoding(CPU)
    with pytest.raises(UserError, match="torchvision decodes JPEGs on CUDA only, not on mps: leave data"):
        check_device_decoding(torch.device("mps"))

    def without(*_: object) -> None:
        raise RuntimeError("not compiled with nvJPEG support\nmore lines")

    monkeypatch.setattr(jpeg_on_device, "_torchvision", without)
    with pytest.raises(UserError, match=r"cannot decode JPEGs on cuda \(not compiled with nvJPEG support\): leave"):
        check_device_decoding(torch.device("cuda"))
