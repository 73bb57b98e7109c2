"""Decoding of JPEGs on a device: worker processes read the bytes, the main process decodes them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from manyview.errors import UserError
from manyview.images.jpeg import END, JPEG, check_scans, common_header, whole_jpeg
from manyview.images.orientation import orientation, upright
from manyview.images.sources.collection import Member
from manyview.images.unreadable import UnreadableImage, quiet
from manyview.imports import import_lightly

Encoded = UInt8[Tensor, " _"]
RGB = UInt8[Tensor, "3 _ _"]

_CORNER = 8  # side of a block of a JPEG
_PIXELS_AT_ONCE = 2**27  # decoded together: 0.4 GB
_TURNS: dict[int, Callable[[Tensor], Tensor]] = {
    2: lambda image: image.flip(-1),
    3: lambda image: image.flip(-2, -1),
    4: lambda image: image.flip(-2),
    5: lambda image: image.transpose(-2, -1),
    6: lambda image: image.rot90(-1, (-2, -1)),
    7: lambda image: image.rot90(2, (-2, -1)).transpose(-2, -1),
    8: lambda image: image.rot90(1, (-2, -1)),
}


@dataclass(frozen=True)
class JpegHeader:
    """Size and orientation of a JPEG, known before it is decoded.

    Attributes:
        width: in pixels, of the upright image.
        height: in pixels, of the upright image.
        orientation: of the stored pixels, 1 to 8, 1 for upright; see ``manyview.images.orientation``.
    """

    width: int
    height: int
    orientation: int


def read_jpeg(file: Path | Member, *, max_pixels: int) -> tuple[bytes, JpegHeader] | None:
    """Read the bytes of a complete YCbCr JPEG, which every decoder takes; None for any other file.

    Others are files that cannot be read or are no JPEG, gray and CMYK images, those with more than ``max_pixels``, and
    those without the marker of their end.
    """
    try:
        data = file.read_bytes()
        if not (data.startswith(JPEG) and data.endswith(END)):
            return None
        header = common_header(data)
        if header is None or header.colors != "YCbCr" or header.width * header.height > max_pixels:
            return None
        with quiet():
            check_scans(data)
            turn = orientation(data)
    except (OSError, UnreadableImage):
        return None
    return data, JpegHeader(*upright(header.width, header.height, turn), turn)


def decode_jpegs(files: Sequence[Encoded], headers: Sequence[JpegHeader], device: torch.device) -> Iterator[RGB | None]:
    """Decode JPEGs on a device, with nvJPEG on CUDA.

    Args:
        files: bytes in host memory, as ``read_jpeg`` returns them.
        headers: of these files.
        device: CUDA or the CPU.

    Yields:
        For each file its upright pixels, or None where the device's decoder refused it, or where data are missing, of
        which it says nothing.
    """
    first = 0
    while first < len(files):
        last, pixels = first, 0
        while last < len(files) and (last == first or pixels < _PIXELS_AT_ONCE):
            pixels += headers[last].width * headers[last].height
            last += 1
        yield from _decode_together(files[first:last], headers[first:last], device)
        first = last


def check_device_decoding(device: torch.device) -> None:
    """Check that JPEGs can be decoded on a device, by decoding a small one.

    Raises:
        UserError: this device or this torchvision cannot decode them.
    """
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG")
    advice = "leave data.decode at workers"
    if device.type not in ("cuda", "cpu"):
        raise UserError(f"data.decode is device, but torchvision decodes JPEGs on CUDA only, not on {device}: {advice}")
    try:
        _torchvision([torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)], device)
    except (RuntimeError, ImportError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"data.decode is device, but this torchvision cannot decode JPEGs on {device} ({reason}): {advice}"
        ) from error


def _decode_together(
    files: Sequence[Encoded], headers: Sequence[JpegHeader], device: torch.device
) -> Iterator[RGB | None]:
    """Decode in one call, or one by one if a file fails, since it makes the whole call fail."""
    try:
        images = _torchvision(files, device)
    except RuntimeError:
        if len(files) == 1:
            yield None
            return
        for file, header in zip(files, headers, strict=True):
            yield from _decode_together([file], [header], device)
        return
    suspects = _flat_corners(images)
    for image, header, file, suspect in zip(images, headers, files, suspects, strict=True):
        if suspect and not _whole(file):
            yield None
            continue
        turn = _TURNS.get(header.orientation)
        pixels = image if turn is None else turn(image)
        yield pixels if pixels.shape == (3, header.height, header.width) else None


def _flat_corners(images: Sequence[Tensor]) -> list[bool]:
    """Whether the end of each stored image is one color other than white, as decoders leave what is missing."""
    ends = [image[:, -_CORNER:, -_CORNER:].flatten(1) for image in images]
    ranges = torch.stack([torch.stack([end.amax(1), end.amin(1)]) for end in ends]).tolist()  # one wait for the device
    return [high == low and high != [255] * len(high) for high, low in ranges]


def _whole(file: Encoded) -> bool:
    """Whether a JPEG holds the data of all its pixels, which is found out on the CPU."""
    try:
        whole_jpeg(file.numpy().tobytes())
    except UnreadableImage:
        return False
    return True


def _torchvision(files: Sequence[Encoded], device: torch.device) -> list[Tensor]:
    import_lightly("torchvision")
    from torchvision.io import ImageReadMode, decode_jpeg

    with warnings.catch_warnings():
        # Deprecated since torchvision 0.29 in favor of a package that few have installed.
        warnings.simplefilter("ignore")
        images: list[Tensor] = decode_jpeg(list(files), mode=ImageReadMode.RGB, device=device)
    return images
