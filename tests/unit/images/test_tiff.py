"""TIFF: the same pixels from every combination of bits, planes, compression, tiles, byte order and alpha."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from manyview.images import UnreadableImage, decode_image, open_image
from manyview.images.bands import decode_bands
from manyview.images.files import find_images

RNG = np.random.default_rng(0)
WIDTH, HEIGHT = 45, 37
COMPRESSIONS = ("none", "deflate", "packbits", "lzw")
CODES = {"none": 1, "lzw": 5, "deflate": 8, "packbits": 32773}


def reason(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode_image(data)
    return caught.value.reason


def compress(data: bytes, how: str) -> bytes:
    """By the definition of each method, without searching for a good result."""
    if how == "deflate":
        return zlib.compress(data)
    if how == "packbits":  # runs of bytes as they are
        parts = [data[start : start + 128] for start in range(0, len(data), 128)]
        return b"".join(bytes([len(part) - 1]) + part for part in parts)
    if how == "lzw":  # 9 bits for every byte, and an empty table again before 10 bits would be needed
        codes = [code for start in range(0, len(data), 250) for code in (256, *data[start : start + 250])]
        bits = "".join(f"{code:09b}" for code in [*codes, 257])
        return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    return data


def packed(part: np.ndarray, bits: int, order: str) -> bytes:
    """Rows of samples, (rows, columns, samples), each beginning with a new byte."""
    if bits in (8, 16, 32):
        return part.astype(part.dtype.newbyteorder(order)).tobytes()
    digits = ("".join(f"{int(value):0{bits}b}" for value in row.ravel()) for row in part)
    whole = (row.ljust(-(-len(row) // 8) * 8, "0") for row in digits)
    return b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in whole)


def tiff(
    values: np.ndarray,
    bits: int,
    photometric: int,
    *,
    order: str = "<",
    how: str = "none",
    tile: int = 0,
    planes: bool = False,
    extra: tuple[int, ...] = (),
    sample: int = 1,
    **tags: Any,
) -> bytes:
    """A TIFF written from its specification, of values (height, width, samples); strips of 16 rows, or square tiles."""
    height, width, samples = values.shape
    parts = [values[..., index : index + 1] for index in range(samples)] if planes else [values]
    pieces = []
    for part in parts:
        if tile:
            full = np.zeros((-(-height // tile) * tile, -(-width // tile) * tile, part.shape[2]), part.dtype)
            full[:height, :width] = part
            blocks = itertools.product(range(0, height, tile), range(0, width, tile))
            pieces += [full[top : top + tile, left : left + tile] for top, left in blocks]
        else:
            pieces += [part[top : top + 16] for top in range(0, height, 16)]
    encoded = [compress(packed(piece, bits, order), how) for piece in pieces]
    entries: dict[int, tuple[str, list[int]]] = {256: ("H", [width]), 257: ("H", [height])}
    entries |= {258: ("H", [bits] * samples), 259: ("H", [CODES[how]]), 262: ("H", [photometric])}
    entries |= {277: ("H", [samples]), 284: ("H", [2 if planes else 1]), 339: ("H", [sample] * samples)}
    if extra:
        entries[338] = ("H", list(extra))
    at, starts, body = 8, [], b""
    for piece in encoded:
        starts.append(at + len(body))
        body += piece + bytes(len(piece) % 2)
    counts = [len(piece) for piece in encoded]
    if tile:
        entries |= {322: ("H", [tile]), 323: ("H", [tile]), 324: ("I", starts), 325: ("I", counts)}
    else:
        entries |= {273: ("I", starts), 278: ("H", [16]), 279: ("I", counts)}
    entries |= {int(tag[1:]): ("H", list(numbers)) for tag, numbers in tags.items()}
    directory = b""
    for tag, (letter, numbers) in sorted(entries.items()):
        data = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        if len(data) > 4:
            data, body = struct.pack(f"{order}I", at + len(body)), body + data
        directory += struct.pack(f"{order}HHI", tag, 3 if letter == "H" else 4, len(numbers)) + data.ljust(4, b"\0")
    body += bytes(len(body) % 2)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, at + len(body))
    return head + body + struct.pack(f"{order}H", len(entries)) + directory + bytes(4)


# Photometric interpretation, samples, extra samples, and the RGB colors (before alpha) of shares from 0 to 1.
MODELS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "gray": (1, 1, ()),
    "white is zero": (0, 1, ()),
    "gray, alpha": (1, 2, (2,)),
    "RGB": (2, 3, ()),
    "RGB, alpha": (2, 4, (2,)),
    "RGB times alpha": (2, 4, (1,)),
    "RGB and another": (2, 4, (0,)),
    "CMYK": (5, 4, ()),
}


def expected(values: np.ndarray, bits: int, model: str) -> np.ndarray:
    """From the definitions, in floating point."""
    shares = values / (2.0**bits - 1) if values.dtype.kind != "f" else values.astype(np.float64)
    if model == "CMYK":
        return 255 * (1 - shares[..., :3]) * (1 - shares[..., 3:])
    if model in ("gray", "white is zero"):
        return 255 * np.repeat(1 - shares if model == "white is zero" else shares, 3, axis=2)
    if model == "gray, alpha":
        return 255 * np.repeat(shares[..., :1] * shares[..., 1:] + 1 - shares[..., 1:], 3, axis=2)
    color, alpha = shares[..., :3], shares[..., 3:]
    if model == "RGB, alpha":
        return 255 * (color * alpha + 1 - alpha)
    return 255 * (color + 1 - alpha if model == "RGB times alpha" else color)


def shapes(bits: int, model: str) -> np.ndarray:
    samples = MODELS[model][1]
    if bits == 32:
        values = RNG.random((HEIGHT, WIDTH, samples), dtype=np.float32)
    else:
        values = RNG.integers(0, 2**bits, (HEIGHT, WIDTH, samples)).astype(np.uint16 if bits > 8 else np.uint8)
    if model == "RGB times alpha":
        values[..., :3] = np.minimum(values[..., :3], values[..., 3:])
    return values


LAYOUTS: list[tuple[str, str, int, bool]] = list(itertools.product("<>", COMPRESSIONS, (0, 16, 64), (False, True)))


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("model", MODELS)
def test_every_layout_gives_the_same_pixels(model: str, bits: int) -> None:
    photometric, _, extra = MODELS[model]
    values = shapes(bits, model)
    wanted, found = expected(values, bits, model), []
    # Of 16 bits in color the high byte counts, which is up to a level less, of both factors of a product.
    tolerance = {"gray, alpha": 1.51, "RGB, alpha": 2.01, "CMYK": 2.01, "RGB times alpha": 3.01}.get(model, 1.01)
    for order, how, tile, planes in LAYOUTS:
        data = tiff(values, bits, photometric, order=order, how=how, tile=tile, planes=planes, extra=extra,
                    sample=3 if bits == 32 else 1)  # fmt: skip
        if unread(model, bits, how, planes, order):
            assert ("data.bands" if model == "CMYK" else "imagecodecs") in reason(data)
            continue
        decoded = decode_image(data)
        found.append(decoded)
        assert np.abs(decoded - wanted).max() <= tolerance, (order, how, tile, planes)
        assert decoded.flags.writeable
        assert open_image(data).decode(2).shape == (-(-HEIGHT // 2), -(-WIDTH // 2), 3)
    assert all(np.array_equal(decoded, found[0]) for decoded in found)


def unread(model: str, bits: int, how: str, planes: bool, order: str) -> bool:
    """Layouts that are refused: of what only tifffile reads LZW, and CMYK in floating point."""
    only_tifffile = bits == 32 and model not in ("gray", "white is zero")
    only_tifffile |= model == "gray, alpha" and (bits != 8 or planes)
    only_tifffile |= model == "white is zero" and bits == 16 and order == ">"
    return (only_tifffile and how == "lzw") or (model == "CMYK" and bits == 32)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("model", ["gray", "white is zero", "RGB", "RGB, alpha"])
def test_tifffile_reads_the_same_values(model: str, bits: int) -> None:
    """The writer above, and bands, against an independent reader."""
    photometric, samples, extra = MODELS[model]
    values = shapes(bits, model)
    for order, how, tile, planes in LAYOUTS:
        if how == "lzw":  # which it reads with another package
            continue
        data = tiff(values, bits, photometric, order=order, how=how, tile=tile, planes=planes, extra=extra)
        found = tifffile.imread(io.BytesIO(data))
        stored = values[..., 0] if samples == 1 else values.transpose(2, 0, 1) if planes else values
        np.testing.assert_array_equal(found, stored)
        top = 2**bits - 1
        np.testing.assert_array_equal(decode_bands(data, samples), top - values if photometric == 0 else values)


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
@pytest.mark.parametrize("how", COMPRESSIONS)
def test_few_and_odd_bits_whatever_the_planes_are_called(bits: int, how: str) -> None:
    """For one sample, planes say nothing."""
    values = shapes(bits, "gray")
    for photometric, planes, tile in itertools.product((0, 1), (False, True), (0, 16)):
        if bits == 12 and photometric == 0:  # which no reader here takes
            continue
        data = tiff(values, bits, photometric, how=how, planes=planes, tile=tile)
        wanted = expected(values, bits, "gray" if photometric else "white is zero")
        assert np.abs(decode_image(data) - wanted).max() <= 0.51, (photometric, planes, tile)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("how", ["none", "deflate", "lzw"])
def test_signed_values(how: str, order: str) -> None:
    for kind, bits in ((np.int16, 16), (np.int32, 32)):
        values = RNG.integers(0, 2**15, (HEIGHT, WIDTH, 1)).astype(kind)
        wanted = np.repeat(np.round(values / 257), 3, axis=2)
        np.testing.assert_array_equal(decode_image(tiff(values, bits, 1, how=how, order=order, sample=2)), wanted)
        negative = values.copy()
        negative[3, 4] = -5
        assert "-5" in reason(tiff(negative, bits, 1, how=how, order=order, sample=2))
    small = RNG.integers(-128, 128, (HEIGHT, WIDTH, 1)).astype(np.int8)
    assert "signed" in reason(tiff(small, 8, 1, how=how, order=order, sample=2))
    assert "signed" in reason(tiff(small.repeat(3, 2), 8, 2, how="none", order=order, sample=2))


@pytest.mark.parametrize("planes", [False, True])
def test_palettes(planes: bool) -> None:
    indices = RNG.integers(0, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)
    colors = RNG.integers(0, 256, (3, 256))
    for how, scale in itertools.product(COMPRESSIONS, (1, 257)):  # old programs wrote 8 bits where 16 are asked
        data = tiff(indices, 8, 3, how=how, planes=planes, t320=(colors * scale).ravel().tolist())
        np.testing.assert_array_equal(decode_image(data), colors.T[indices[..., 0]])
        np.testing.assert_array_equal(decode_bands(data, 3), colors.T[indices[..., 0]])


@pytest.mark.parametrize("planes", [False, True])
def test_ycbcr_without_compression(planes: bool) -> None:
    """Full-size colors; by default they are stored at half the size, in blocks."""
    rgb = np.stack(np.broadcast_arrays(*np.ix_(range(0, 222, 6), range(0, 225, 5)), 90), -1).astype(np.uint8)
    values = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    data = tiff(values, 8, 6, planes=planes, t530=(1, 1))
    assert np.abs(decode_image(data).astype(int) - rgb).max() <= 4


def test_halved_ycbcr_without_compression() -> None:
    """Blocks of 2 x 2 brightnesses with one Cb and one Cr, as the specification orders them."""
    rgb = np.stack(np.broadcast_arrays(*np.ix_(range(0, 128, 4), range(0, 128, 2)), 90), -1).astype(np.uint8)
    ycbcr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    rows, columns = rgb.shape[0] // 2, rgb.shape[1] // 2
    bright = ycbcr[..., 0].reshape(rows, 2, columns, 2).transpose(0, 2, 1, 3).reshape(rows, columns, 4)
    blocks = np.concatenate([bright, ycbcr[::2, ::2, 1:]], axis=2)
    data = bytearray(tiff(blocks.reshape(32, 1, -1), 8, 1))
    start = 8
    entries = {256: 64, 257: 32, 259: 1, 262: 6, 277: 3, 278: 32, 284: 1}
    body = blocks.tobytes()
    at = start + len(body)
    directory = {tag: struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries.items()}
    directory[258] = struct.pack("<HHII", 258, 3, 3, at)
    directory[273], directory[279] = (
        struct.pack("<HHII", 273, 4, 1, start),
        struct.pack("<HHII", 279, 4, 1, len(body)),
    )
    directory[530] = struct.pack("<HHIHH", 530, 3, 2, 2, 2)
    data = struct.pack("<2sHI", b"II", 42, at + 6) + body + struct.pack("<3H", 8, 8, 8)
    data += struct.pack("<H", len(directory)) + b"".join(directory[tag] for tag in sorted(directory)) + bytes(4)
    assert np.abs(decode_image(data).astype(int) - rgb).max() <= 8


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_cut_off_files_of_every_reader_are_refused(bits: int, planes: bool) -> None:
    for model, how in itertools.product(("gray, alpha", "RGB"), COMPRESSIONS):
        photometric, _, extra = MODELS[model]
        values = shapes(bits, model)
        data = tiff(values, bits, photometric, how=how, planes=planes, extra=extra, sample=3 if bits == 32 else 1)
        swapped = data[:4] + struct.pack("<I", 8) + moved(data)
        if how != "lzw":
            np.testing.assert_array_equal(decode_image(swapped), decode_image(data))
        for share in (0.5, 0.9, 0.99):
            assert reason(swapped[: int(share * len(swapped))])


def moved(data: bytes) -> bytes:
    """The contents of a little-endian TIFF after its head, with the directory first, so that a cut loses pixels."""
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    length = 2 + 12 * count + 4
    entries = bytearray(data[directory : directory + length])
    body = bytearray(data[8:directory])
    for entry in range(2, 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from("<HHI", entries, entry)
        if number * (2 if kind == 3 else 4) > 4:
            (where,) = struct.unpack_from("<I", entries, entry + 8)
            if tag in (273, 324):
                starts = struct.unpack_from(f"<{number}I", body, where - 8)
                struct.pack_into(f"<{number}I", body, where - 8, *(start + length for start in starts))
            struct.pack_into("<I", entries, entry + 8, where + length)
        elif tag in (273, 324):
            (where,) = struct.unpack_from("<I", entries, entry + 8)
            struct.pack_into("<I", entries, entry + 8, where + length)
    return bytes(entries + body)


def test_gray_with_alpha_in_planes_needs_a_reader() -> None:
    """Pillow loses the alpha; tifffile reads LZW only with another package."""
    data = tiff(shapes(8, "gray, alpha"), 8, 1, how="lzw", planes=True, extra=(2,))
    assert "imagecodecs" in reason(data)


def test_the_pixel_limit_holds_for_every_reader() -> None:
    for bits, model, planes in ((16, "gray, alpha", False), (16, "RGB", True), (32, "RGB", False)):
        photometric, _, extra = MODELS[model]
        data = tiff(shapes(bits, model), bits, photometric, planes=planes, extra=extra, sample=3 if bits == 32 else 1)
        with pytest.raises(UnreadableImage, match="too large: 45 x 37 pixels"):
            decode_image(data, max_pixels=WIDTH * HEIGHT - 1)


def test_pillow_is_left_as_it_was() -> None:
    decode_image(tiff(shapes(16, "RGB"), 16, 2, planes=True))
    assert TiffImagePlugin.READ_LIBTIFF is False


def test_other_bands_say_what_to_set() -> None:
    values = RNG.integers(0, 65536, (HEIGHT, WIDTH, 5), dtype=np.uint16)
    for photometric, extra in ((1, (0,) * 4), (2, (0, 0))):
        assert "data.bands" in reason(tiff(values, 16, photometric, extra=extra))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("type_", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("samples", [1, 3, 4])
def test_big_tiffs_of_either_byte_order(order: str, type_: str, samples: int, tmp_path: Path) -> None:
    values = RNG.integers(0, 256, (HEIGHT, WIDTH, samples)).astype(np.float64)
    stored = (
        (values / 255).astype(type_)
        if type_ == "float32"
        else (values * (257 if type_ == "uint16" else 1)).astype(type_)
    )
    stream = io.BytesIO()
    options = {"photometric": "rgb" if samples > 1 else "minisblack", "metadata": None}
    extra = {"extrasamples": ["unassalpha"]} if samples == 4 else {}
    tifffile.imwrite(stream, np.squeeze(stored), bigtiff=True, byteorder=order, **options, **extra)
    (tmp_path / "named without ending").write_bytes(stream.getvalue())
    assert len(find_images(tmp_path)) == 1
    alpha = values[..., 3:] / 255 if samples == 4 else 1.0
    color = np.broadcast_to(values[..., :3] * alpha + 255 * (1 - alpha), (HEIGHT, WIDTH, 3))
    assert np.abs(decode_image(stream.getvalue()) - color).max() <= 1


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("how", ["none", "deflate", "packbits"])
def test_tiles_much_larger_than_their_image_take_no_memory(bits: int, how: str) -> None:
    """A damaged height of a tile, for which each reader would take gigabytes."""
    values = shapes(bits, "RGB")
    data = tiff(values, bits, 2, how=how, tile=16, sample=3 if bits == 32 else 1)
    entry = struct.pack("<HHIH", 323, 3, 1, 16)
    assert data.count(entry) == 1
    data = data.replace(entry, struct.pack("<HHIH", 323, 4, 1, 0))  # a LONG, whose high half follows
    at = data.index(struct.pack("<HHIH", 323, 4, 1, 0)) + 8
    data = data[:at] + struct.pack("<I", 16 * 10**6) + data[at + 4 :]
    assert reason(data) == "damaged file (tiles of 16 x 16000000 pixels)"
    with pytest.raises(UnreadableImage, match="tiles of 16 x 16000000"):
        decode_bands(data, 3)


def test_tiles_larger_than_their_image_are_sound() -> None:
    values = shapes(8, "RGB")
    assert np.array_equal(decode_image(tiff(values, 8, 2, tile=1024)), values)


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("side", [256, 257])
@pytest.mark.parametrize("planes", [False, True])
def test_a_side_of_0_is_said_before_decoding(bits: int, side: int, planes: bool) -> None:
    data = tiff(shapes(bits, "RGB"), bits, 2, planes=planes, sample=3 if bits == 32 else 1)
    entry = struct.pack("<HHIH", side, 3, 1, {256: WIDTH, 257: HEIGHT}[side])
    assert data.count(entry) == 1
    with pytest.raises(UnreadableImage, match="no pixels" if bits == 32 else "damaged file"):
        open_image(data.replace(entry, struct.pack("<HHIH", side, 3, 1, 0)))
