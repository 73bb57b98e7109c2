"""JPEGs whose bytes are read by one process, and which are decoded by another on its device."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

from manyview.errors import UserError
from manyview.images.decode import orientation, upright
from manyview.images.unreadable import quiet

Encoded = UInt8[Tensor, " _"]
RGB = UInt8[Tensor, "3 _ _"]

_ADOBE_RGB = 0  # of Adobe's marker: the colors are not YCbCr
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
    """What has to be known of a JPEG before it is decoded.

    Attributes:
        width: in pixels, upright.
        height: likewise.
        orientation: EXIF's number for how the stored pixels lie, 1 for upright.
    """

    width: int
    height: int
    orientation: int


def read_jpeg(file: Path, *, max_pixels: int) -> tuple[bytes, JpegHeader] | None:
    """The bytes of a whole JPEG of the common kind, which every decoder takes; None for any other file.

    Others are files that cannot be read or are no JPEG, gray ones, CMYK, those of more than ``max_pixels``, and those
    that do not end as a whole JPEG does: a decoder would fill what is missing with gray.
    """
    try:
        data = file.read_bytes()
        if not (data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9")):
            return None
        with quiet():
            image = JpegImageFile(io.BytesIO(data))
            turn = orientation(image)
    except Exception:  # Pillow's readers raise nearly anything on damaged data
        return None
    width, height = image.size
    common = image.mode == "RGB" and image.info.get("adobe_transform") != _ADOBE_RGB
    if not common or width * height > max_pixels:
        return None
    return data, JpegHeader(*upright(width, height, turn), turn)


def decode_jpegs(files: Sequence[Encoded], headers: Sequence[JpegHeader], device: torch.device) -> Iterator[RGB | None]:
    """Decode on a device: with nvJPEG on CUDA.

    Args:
        files: bytes in the host's memory, as ``read_jpeg`` gives them.
        headers: of these files.
        device: where the pixels are to be; CUDA or the CPU.

    Yields:
        For each the upright pixels, or None where the device's decoder refused it.
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
    """Decode a JPEG of a few pixels.

    Raises:
        UserError: it cannot be done on this device, or with this torchvision.
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
    """In one call, or one by one where there is one among them that fails: it takes all others with it."""
    try:
        images = _torchvision(files, device)
    except RuntimeError:
        if len(files) == 1:
            yield None
            return
        for file, header in zip(files, headers, strict=True):
            yield from _decode_together([file], [header], device)
        return
    for image, header in zip(images, headers, strict=True):
        turn = _TURNS.get(header.orientation)
        upright = image if turn is None else turn(image)
        yield upright if upright.shape == (3, header.height, header.width) else None


def _torchvision(files: Sequence[Encoded], device: torch.device) -> list[Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg

    with warnings.catch_warnings():
        # Deprecated since torchvision 0.29 for the sake of a package that few have yet.
        warnings.simplefilter("ignore")
        images: list[Tensor] = decode_jpeg(list(files), mode=ImageReadMode.RGB, device=device)
    return images
