"""Sound image files of every format that is read, made here."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pillow_heif
import tifffile
from PIL import Image, PngImagePlugin, features

from tests.helpers.image_files import png

HEIGHT, WIDTH = 35, 52
_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


def pixels(channels: int = 3, dtype: Any = np.uint8) -> np.ndarray:
    """A gradient with noise, (35, 52, channels); floating point within 0 to 1."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    noise = np.random.default_rng(0).integers(0, 40, (HEIGHT, WIDTH, channels))
    values = (rows * 3 + columns * 2)[..., None] + noise
    if np.dtype(dtype).kind == "f":
        return (values / 255).clip(0, 1).astype(dtype)
    return (values * np.iinfo(dtype).max // 255).clip(0, np.iinfo(dtype).max).astype(dtype)


def exif(orientation: int = 6) -> bytes:
    found = Image.Exif()
    found[0x0112] = orientation
    found[0x010E] = "a description"
    return found.tobytes()


def saved(format: str, mode: str = "RGB", **options: Any) -> bytes:
    stream, image = io.BytesIO(), Image.fromarray(pixels()).convert(mode)
    image.info.clear()  # a color profile, which states when it was made
    image.save(stream, format, **options)
    return stream.getvalue()


@functools.cache
def image_seeds() -> dict[str, bytes]:
    """Files by format and variant; the order is fixed."""
    return {**_jpegs(), **_pngs(), **_webps(), **_bmps(), **_gifs(), **_tiffs(), **_heifs(), **_arrays()}


def _jpegs() -> dict[str, bytes]:
    image = Image.fromarray(pixels())
    return {
        "jpeg": saved("JPEG"),
        "jpeg progressive": saved("JPEG", progressive=True, quality=90),
        "jpeg gray": saved("JPEG", "L"),
        "jpeg cmyk": saved("JPEG", "CMYK"),
        "jpeg rgb": saved("JPEG", keep_rgb=True),
        "jpeg restarts": saved("JPEG", restart_marker_blocks=2),
        "jpeg 4:4:4": saved("JPEG", subsampling=0),
        "jpeg exif": saved("JPEG", exif=exif()),
        "jpeg xmp": saved("JPEG", xmp=_XMP % 8),
        "jpeg exif xmp icc": saved("JPEG", exif=exif(3), xmp=_XMP % 8, icc_profile=bytes(3000), comment=b"x"),
        "jpeg progressive cmyk": saved("JPEG", "CMYK", progressive=True),
        "mpo": saved("MPO", save_all=True, append_images=[image.rotate(180)]),
    }


def _pngs() -> dict[str, bytes]:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", (_XMP % 6).decode())
    text.add_text("Comment", "x" * 300, zip=True)
    text.add_text("Title", "a title")
    deep = cv2.imencode(".png", pixels(3, np.uint16))[1].tobytes()
    return {
        "png": saved("PNG"),
        "png gray": saved("PNG", "L"),
        "png alpha": saved("PNG", "RGBA"),
        "png gray alpha": saved("PNG", "LA"),
        "png palette": saved("PNG", "P", transparency=3),
        "png bilevel": saved("PNG", "1"),
        "png 2 bits": saved("PNG", "P", bits=2),
        "png 16 bits": deep,
        "png 16 bits alpha": cv2.imencode(".png", pixels(4, np.uint16))[1].tobytes(),
        "png 16 bits gray": cv2.imencode(".png", pixels(1, np.uint16))[1].tobytes(),
        "png interlaced": png(pixels(), interlaced=True),
        "png interlaced gray": png(pixels(1), interlaced=True),
        "png interlaced 16 bits": png(pixels(4, np.uint16), interlaced=True),
        "png ancillary": saved("PNG", pnginfo=text, icc_profile=bytes(2000), exif=exif(), dpi=(72, 72)),
        "png transparent color": saved("PNG", transparency=(1, 2, 3)),
        "png animated": saved("PNG", save_all=True, append_images=[Image.fromarray(255 - pixels())]),
    }


def _webps() -> dict[str, bytes]:
    return {
        "webp": saved("WEBP", quality=80),
        "webp lossless": saved("WEBP", lossless=True),
        "webp alpha": saved("WEBP", "RGBA", quality=80),
        "webp metadata": saved("WEBP", exif=exif(), xmp=_XMP % 8, icc_profile=bytes(300)),
        "webp animated": saved("WEBP", save_all=True, append_images=[Image.fromarray(255 - pixels())]),
    }


def _bmps() -> dict[str, bytes]:
    rows = b"".join(bytes([WIDTH, 7 * row % 256, 0, 0]) for row in range(HEIGHT)) + b"\0\1"
    palette = b"".join(bytes([value, value, value, 0]) for value in range(256))
    start = 54 + len(palette)
    header = struct.pack("<2sIIIIiiHHIIiiII", b"BM", start + len(rows), 0, start, 40, WIDTH, HEIGHT, 1, 8, 1, *[0] * 5)
    core = struct.pack("<2sIIIIHHHH", b"BM", 26 + 3 * WIDTH * HEIGHT, 0, 26, 12, WIDTH, HEIGHT, 1, 24)
    return {
        "bmp": saved("BMP"),
        "bmp palette": saved("BMP", "P"),
        "bmp bilevel": saved("BMP", "1"),
        "bmp alpha": saved("BMP", "RGBA"),
        "bmp run lengths": header + palette + rows,
        "bmp of os/2": core + pixels().tobytes(),
    }


def _gifs() -> dict[str, bytes]:
    return {
        "gif": saved("GIF", "P"),
        "gif interlaced": saved("GIF", "P", interlace=1, comment=b"comment", transparency=2),
        "gif animated": saved("GIF", save_all=True, append_images=[Image.fromarray(255 - pixels())]),
    }


def written(values: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **{"metadata": None, **options})
    return stream.getvalue()


def few_bits(bits: int, order: str, compressed: bool) -> bytes:
    """A gray TIFF of 2, 4 or 12 bits, from its specification."""
    values = pixels(1, np.uint16)[..., 0] >> (16 - bits)
    rows = [np.unpackbits(row.astype(">u2")[:, None].view(np.uint8), axis=1)[:, -bits:] for row in values]
    body = b"".join(np.packbits(row.ravel()).tobytes() for row in rows)
    body = zlib.compress(body) if compressed else body
    tags = [(256, 3, WIDTH), (257, 3, HEIGHT), (258, 3, bits), (259, 3, 8 if compressed else 1), (262, 3, 1)]
    tags += [(273, 4, 8), (274, 3, 6), (277, 3, 1), (278, 3, HEIGHT), (279, 4, len(body))]
    entries = [
        struct.pack(f"{order}HHI", tag, letter, 1) + struct.pack(f"{order}{'HI'[letter - 3]}", value).ljust(4, b"\0")
        for tag, letter, value in tags
    ]
    body += bytes(len(body) % 2)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(body))
    return head + body + struct.pack(f"{order}H", len(tags)) + b"".join(entries) + bytes(4)


def _tiffs() -> dict[str, bytes]:
    by_pillow = {
        f"tiff {compression} {mode}": saved("TIFF", mode, compression=compression)
        for compression, mode in (
            *(("raw", "RGB"), ("tiff_lzw", "RGB"), ("tiff_adobe_deflate", "RGBA"), ("packbits", "L"), ("jpeg", "RGB")),
            *(("group3", "1"), ("group4", "1"), ("tiff_lzw", "P"), ("raw", "CMYK"), ("tiff_lzw", "LA"), ("raw", "1")),
            *(("raw", "YCbCr"), ("raw", "F"), ("tiff_lzw", "I"), ("raw", "LAB"), ("jpeg", "YCbCr")),
        )
    }
    planes = {f"tiff planes {name}": np.moveaxis(pixels(3, name), 2, 0) for name in ("uint8", "uint16", "float32")}
    rgb = {"photometric": "rgb"}
    bands = {"planarconfig": "separate", "photometric": "minisblack"}
    return {
        **by_pillow,
        **{name: written(values, planarconfig="separate", **rgb) for name, values in planes.items()},
        "tiff 16 bits": written(pixels(3, np.uint16), **rgb),
        "tiff 16 bits big": written(pixels(3, np.uint16), byteorder=">", **rgb),
        "tiff 16 bits alpha": written(pixels(4, np.uint16), extrasamples=["unassalpha"], **rgb),
        "tiff 16 bits gray": written(pixels(1, np.uint16)[..., 0], rowsperstrip=8),
        "tiff float": written(pixels(3, np.float32), **rgb),
        "tiff float gray": written(pixels(1, np.float64)[..., 0]),
        "tiff tiles": written(pixels(), tile=(16, 16), **rgb),
        "tiff tiles planes": written(np.moveaxis(pixels(3, np.uint16), 2, 0), tile=(16, 16), **bands),
        "tiff deflate": written(pixels(), compression="zlib", rowsperstrip=8, **rgb),
        "tiff deflate predictor": written(
            pixels(3, np.uint16), compression="zlib", predictor=True, tile=(16, 16), **rgb
        ),
        "tiff big": written(pixels(), bigtiff=True, **rgb),
        "tiff big 16 bits big": written(pixels(3, np.uint16), bigtiff=True, byteorder=">", **rgb),
        "tiff 5 bands": written(pixels(5, np.uint16), photometric="minisblack", planarconfig="contig"),
        "tiff 5 bands planes": written(np.moveaxis(pixels(5), 2, 0), **bands),
        "tiff 4 pages": written(np.moveaxis(pixels(4, np.uint16), 2, 0), photometric="minisblack"),
        "tiff white is zero": written(pixels(1)[..., 0], photometric="miniswhite"),
        "tiff description": written(np.moveaxis(pixels(3), 2, 0), imagej=True, metadata={}),
        **{
            f"tiff {bits} bits {o}": few_bits(bits, o, packed)
            for bits in (2, 4, 12)
            for o, packed in (("<", 0), (">", 1))
        },
        "tiff orientation": saved("TIFF", tiffinfo={274: 6, 700: _XMP % 3}),
    }


def _heifs() -> dict[str, bytes]:
    found = {}
    for name, values in (("heic", pixels()), ("heic alpha", pixels(4)), ("heic gray", pixels(1)[..., 0])):
        stream = io.BytesIO()
        pillow_heif.from_pillow(Image.fromarray(values)).save(stream, quality=80)
        found[name] = stream.getvalue()
    if features.check("avif"):
        found |= {"avif": saved("AVIF", exif=exif()), "avif alpha": saved("AVIF", "RGBA")}
    return found


def array(values: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, version)
    return stream.getvalue()


def _arrays() -> dict[str, bytes]:
    return {
        "npy": array(pixels()),
        "npy 16 bits first": array(np.moveaxis(pixels(5, np.uint16), 2, 0).copy()),
        "npy columns": array(np.asfortranarray(pixels(4))),
        "npy float": array(pixels(3, np.float32), (2, 0)),
        "npy big": array(pixels(3, np.uint16).astype(">u2")),
        "npy one": array(pixels(1)[..., 0] > 100),
    }
