"""Encoded photographs in, RGB pixels out, or one short reason why not."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from manyview.errors import UserError

# Pillow's readers by signature. Image.open is avoided for two reasons: it applies Pillow's process-wide pixel limit
# where ours must govern, and it would try some forty other formats on whatever a user calls .jpg.
_READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"GIF87a": GifImagePlugin.GifImageFile,
    b"GIF89a": GifImagePlugin.GifImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"II*\x00": TiffImagePlugin.TiffImageFile,
    b"MM\x00*": TiffImagePlugin.TiffImageFile,
    b"II+\x00": TiffImagePlugin.TiffImageFile,
    b"MM\x00+": TiffImagePlugin.TiffImageFile,
}
_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF tags, and a value of the second


class UnreadableImage(UserError):  # noqa: N818 - says what the image is, not that an error is one
    """A file that gives no photograph; ``reason`` says why in a few words, e.g. ``"truncated file"``."""

    def __init__(self, reason: str, where: str | None = None) -> None:
        super().__init__(reason, where)
        self.reason = reason
        self.where = where

    def __str__(self) -> str:
        return self.reason if self.where is None else f"{self.where}: {self.reason}"


def decode_image(source: bytes | Path, *, max_pixels: int = 200_000_000) -> UInt8[np.ndarray, "height width 3"]:
    """Decode a JPEG, PNG, WebP, BMP, TIFF or GIF (first frame or page) to upright 8-bit RGB.

    - EXIF orientation is applied; one that is damaged counts as upright. Colour profiles are not applied.
    - Transparent pixels are laid over white, as a viewer shows them: the colour under them is often rubbish.
    - CMYK is converted without a profile, in the inverted sense for JPEG, as Adobe and all others write it.
    - 16-bit and 12-bit grey is scaled to 8 bits and rounded (x / 257 for 16 bits). Of 16-bit colour Pillow keeps the
      upper byte, which is within one level of that.
    - Floating-point grey must lie within 0 to 1, or else within 0 to 255; 32-bit integers within 0 to 65535.

    Args:
        source: encoded bytes, or the file that holds them.
        max_pixels: a photograph with more pixels is refused from its header, before anything is decoded. In TIFF and
            WebP, Pillow also refuses more than twice its own ``Image.MAX_IMAGE_PIXELS`` (179 million together).

    Returns:
        A writable array of its own, values 0 to 255.

    Raises:
        UnreadableImage: there is no whole photograph in the source; ``.reason`` says why. A file that was cut off is
            refused even where a decoder could fill the rest with grey.
    """
    data, where = (source, None) if isinstance(source, bytes) else (_read_file(source), str(source))
    try:
        with _quiet():
            image = _open(data)
            width, height = image.size
            if width * height > max_pixels:
                raise UnreadableImage(f"too large: {width} x {height} pixels")
            image.load()
            return np.array(_to_rgb(_turn_upright(image)))
    except UnreadableImage as error:
        raise UnreadableImage(error.reason, where) from None
    except Image.DecompressionBombError:
        raise UnreadableImage("too large: above the limit of its format's reader", where) from None
    except MemoryError:
        raise UnreadableImage("too large: out of memory", where) from None
    except Exception as error:  # Pillow's readers raise nearly anything on damaged data
        raise UnreadableImage(_phrase(error), where) from error


def _read_file(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableImage("a directory", str(path))
        if not stat.S_ISREG(mode):  # a pipe or a device would block, or never end
            raise UnreadableImage("not a regular file", str(path))
        return path.read_bytes()
    except FileNotFoundError:
        raise UnreadableImage("dangling link" if path.is_symlink() else "no such file", str(path)) from None
    except PermissionError:
        raise UnreadableImage("no read permission", str(path)) from None
    except OSError as error:
        raise UnreadableImage(f"cannot be read ({error.strerror or error})", str(path)) from error


def _open(data: bytes) -> ImageFile.ImageFile:
    if not data:
        raise UnreadableImage("empty file")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if len(data) < 8 + int.from_bytes(data[4:8], "little"):  # its reader would give a shorter animation
            raise UnreadableImage("truncated file")
        return WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    for signature, reader in _READERS.items():
        if data.startswith(signature):
            return reader(io.BytesIO(data))
    raise UnreadableImage("not an image of a known format")


def _phrase(error: Exception) -> str:
    if "truncated" in str(error).lower():
        return "truncated file"
    cause: BaseException | None = error
    while cause is not None:  # readers wrap what they met when they read past the end
        if isinstance(cause, (EOFError, IndexError, struct.error)):
            return "truncated file"
        cause = cause.__cause__
    return f"damaged file ({error})" if str(error) else "damaged file"


def _turn_upright(image: Image.Image) -> Image.Image:
    try:
        method = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF beside sound pixels
        method = None
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "LAB":
        raise UnreadableImage("colours in LAB, which are not supported")
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = _grey_to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _grey_to_8_bits(image: Image.Image) -> Image.Image:
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        top = 1 if high <= 1 else 255
    else:
        top = 4095 if tags.get(_BITS_PER_SAMPLE) == (12,) else 65535
    if not (low >= 0 and high <= top):  # "not", so that NaN is refused too
        raise UnreadableImage(f"pixel values from {low:g} to {high:g}, whose white is unknown")
    shares = values / np.float32(top)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # which Pillow heeds for 8 bits only
        shares = 1 - shares
    return Image.fromarray((shares * 255 + 0.5).astype(np.uint8))


_quiet_lock = threading.Lock()
_quiet_users = 0
_quiet_filters = warnings.catch_warnings()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Pillow's remarks on odd metadata, with any number of threads inside at once."""
    global _quiet_users, _quiet_filters
    # catch_warnings alone is not safe among threads: the first in sets the filters, the last out puts them back.
    with _quiet_lock:
        if _quiet_users == 0:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.simplefilter("ignore")
        _quiet_users += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                _quiet_filters.__exit__(None, None, None)
