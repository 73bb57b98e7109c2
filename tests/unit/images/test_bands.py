from __future__ import annotations

import io
import os
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from manyview import images
from manyview.images import UnreadableImage, decode_image
from manyview.images.bands import decode_bands, full_scale, open_bands, same_depth
from tests.helpers.image_files import png

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (18, 25, 5), dtype=np.uint16)
SHALLOW = (DEEP >> 8).astype(np.uint8)


def tiff(values: np.ndarray, *, order: str = "<", planar: bool = False, rows: int = 7, deflate: bool = False) -> bytes:
    """A TIFF of strips written from its specification (TIFF 6.0)."""
    height, width, bands = values.shape
    stored = values.astype(values.dtype.newbyteorder(order))
    planes = [stored[..., band] for band in range(bands)] if planar else [stored]
    strips = [plane[top : top + rows].tobytes() for plane in planes for top in range(0, height, rows)]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 42)
    offsets = np.cumsum([8, *map(len, strips)])
    entries: dict[int, tuple[int, list[int]]] = {  # tag to type (3 short, 4 long) and values
        256: (3, [width]),
        257: (3, [height]),
        258: (3, [8 * values.itemsize] * bands),
        259: (3, [8 if deflate else 1]),
        262: (3, [1]),
        273: (4, offsets[:-1].tolist()),
        277: (3, [bands]),
        278: (3, [rows]),
        279: (4, [len(strip) for strip in strips]),
        284: (3, [2 if planar else 1]),
        338: (3, [0] * (bands - 1)),
    }
    entries = {tag: entry for tag, entry in entries.items() if entry[1]}
    place = int(offsets[-1])
    table, beyond = b"", b""
    after = place + 2 + 12 * len(entries) + 4
    for tag, (kind, numbers) in entries.items():
        data = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(data) > 4:
            data, beyond = struct.pack(f"{order}I", after + len(beyond)), beyond + data
        table += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + data.ljust(4, b"\0")
    ifd = struct.pack(f"{order}H", len(entries)) + table + bytes(4) + beyond
    return head + struct.pack(f"{order}I", place) + b"".join(strips) + ifd


def written(values: np.ndarray, **options: Any) -> bytes:
    """A TIFF written by tifffile."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def npy(values: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, **options)
    return stream.getvalue()


def picture(values: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def reason(source: bytes | Path, bands: int = 5, **options: Any) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode_bands(source, bands, **options)
    return caught.value.reason


def assert_same(decoded: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.dtype == expected.dtype
    assert decoded.flags.writeable


@pytest.mark.parametrize("values", [DEEP, SHALLOW], ids=["16 bits", "8 bits"])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_by_its_specification(values: np.ndarray, order: str, planar: bool, deflate: bool) -> None:
    encoded = tiff(values, order=order, planar=planar, deflate=deflate)

    assert_same(decode_bands(encoded, 5), values)


PLANES = np.ascontiguousarray(DEEP.transpose(2, 0, 1))
WRITTEN: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "tiles": (DEEP, {"photometric": "minisblack", "planarconfig": "contig", "tile": (16, 16)}),
    "tiles of planes": (PLANES, {"photometric": "minisblack", "planarconfig": "separate", "tile": (16, 16)}),
    "difference": (
        DEEP,
        {"photometric": "minisblack", "planarconfig": "contig", "compression": "zlib", "predictor": 2},
    ),
    "PackBits": (PLANES, {"photometric": "minisblack", "planarconfig": "separate", "compression": None}),
    "RGB and two more": (DEEP, {"photometric": "rgb", "planarconfig": "contig"}),
    "BigTIFF": (DEEP, {"photometric": "minisblack", "planarconfig": "contig", "bigtiff": True}),
    "a page for each band": (PLANES, {"photometric": "minisblack", "metadata": None}),
    "a page for each row": (DEEP, {}),
    "one page for all": (PLANES, {"truncate": True}),
    "ImageJ": (PLANES, {"imagej": True, "metadata": {"axes": "CYX"}}),
    "OME": (PLANES, {"ome": True, "metadata": {"axes": "CYX"}}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_tiff_as_others_write_it(name: str) -> None:
    values, options = WRITTEN[name]

    assert_same(decode_bands(written(values, **options), 5), DEEP)


def test_of_several_pages_with_all_bands_the_first_counts() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for values in (DEEP, DEEP[::2, ::2]):
            writer.write(values, photometric="minisblack", planarconfig="contig", metadata=None)

    assert_same(decode_bands(stream.getvalue(), 5), DEEP)


def test_white_is_zero_is_inverted() -> None:
    values = DEEP[..., :1]

    assert_same(decode_bands(written(values[..., 0], photometric="miniswhite"), 1), 65535 - values)


@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_is_applied_as_pillow_does(turn: int) -> None:
    encoded = written(SHALLOW[..., :3], photometric="rgb", planarconfig="contig", extratags=[(274, 3, 1, turn, True)])
    expected = np.asarray(Image.open(io.BytesIO(encoded)))

    opened = open_bands(encoded, 3)

    assert_same(opened.decode(), expected)
    assert (opened.height, opened.width) == expected.shape[:2]


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg"])
def test_pillow_reads_what_it_suffices_for(compression: str) -> None:
    encoded = picture(SHALLOW[..., :3], "TIFF", compression=compression)

    assert_same(decode_bands(encoded, 3), np.asarray(Image.open(io.BytesIO(encoded))))


def patched(encoded: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with another single number under a tag."""
    place = encoded.index(struct.pack("<HHI", tag, 3, 1))
    return encoded[: place + 8] + struct.pack("<H", value) + encoded[place + 10 :]


@pytest.mark.parametrize("values", [DEEP, SHALLOW, DEEP[..., :3]], ids=["16 bits", "8 bits", "3 of 16 bits"])
@pytest.mark.skipif(find_spec("imagecodecs") is not None, reason="with imagecodecs, it can")
def test_compression_that_cannot_be_read_is_named(values: np.ndarray) -> None:
    encoded = patched(tiff(values), 259, 5)

    assert reason(encoded, values.shape[2]) == "TIFF compression LZW, which needs the package imagecodecs"


LAYOUTS = {
    "bands last": DEEP,
    "bands first": PLANES,
    "columns first": np.asfortranarray(DEEP),
    "big-endian": DEEP.astype(">u2"),
    "a row": DEEP[:1],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_numpy_array(name: str) -> None:
    values = LAYOUTS[name]
    expected = DEEP[:1] if name == "a row" else DEEP

    assert_same(decode_bands(npy(values), 5), expected)


def test_numpy_array_of_8_bits() -> None:
    assert_same(decode_bands(npy(SHALLOW), 5), SHALLOW)


@pytest.mark.parametrize("shape", [(18, 25), (18, 25, 1), (1, 18, 25)])
def test_numpy_array_of_one_band(shape: tuple[int, ...]) -> None:
    assert_same(decode_bands(npy(DEEP[..., 0].reshape(shape)), 1), DEEP[..., :1])


def test_floating_point_shares_become_16_bits() -> None:
    values = DEEP / 65535
    for kind in (np.float64, np.float32):
        assert_same(decode_bands(npy(values.astype(kind)), 5), DEEP)
    assert_same(decode_bands(npy(np.full((2, 3, 5), 0.5, np.float16)), 5), np.full((2, 3, 5), 32768, np.uint16))


def test_black_and_white_become_0_and_255() -> None:
    assert_same(decode_bands(npy(DEEP > 9000), 5), np.where(DEEP > 9000, 255, 0).astype(np.uint8))


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (picture(SHALLOW[..., 0], "PNG"), SHALLOW[..., :1]),
        (picture(DEEP[..., 0], "PNG"), DEEP[..., :1]),
        (picture(DEEP[..., 0], "TIFF"), DEEP[..., :1]),
        (picture(np.ascontiguousarray(SHALLOW[..., :2]), "PNG"), SHALLOW[..., :2]),
        (picture(SHALLOW[..., :3], "PNG"), SHALLOW[..., :3]),
        (picture(SHALLOW[..., :3], "BMP"), SHALLOW[..., :3]),
        (picture(SHALLOW[..., :4], "PNG"), SHALLOW[..., :4]),
        (png(DEEP[..., :3]), DEEP[..., :3]),
        (png(DEEP[..., :4]), DEEP[..., :4]),
    ],
    ids=["gray", "gray 16", "gray TIFF 16", "gray, alpha", "RGB", "BMP", "RGBA", "RGB 16", "RGBA 16"],
)
def test_pictures_with_just_so_many_bands(encoded: bytes, expected: np.ndarray) -> None:
    assert_same(decode_bands(encoded, expected.shape[2]), expected)
    assert reason(encoded, 5)


def test_palette_is_three_bands() -> None:
    image = Image.fromarray(SHALLOW[..., :3]).convert("P")

    assert_same(decode_bands(picture(image, "PNG"), 3), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        (b"", "empty file"),
        (b"hello, world", "not an image of a known format"),
        (npy(DEEP.astype(np.int16)), "values of type int16, whose white is unknown"),
        (npy(DEEP.astype(np.uint32)), "values of type uint32, whose white is unknown"),
        (npy(DEEP.astype(np.int64)), "values of type int64, whose white is unknown"),
        (npy(DEEP.astype(complex)), "values of type complex128, whose white is unknown"),
        (npy(np.linspace(0, 1.02, 30).reshape(2, 3, 5)), "floating-point values from 0 to 1.02, not within 0 to 1"),
        (npy(np.linspace(-0.5, 1, 30).reshape(2, 3, 5)), "floating-point values from -0.5 to 1, not within 0 to 1"),
        (npy(np.full((2, 3, 5), np.nan)), "floating-point values from nan to nan, not within 0 to 1"),
        (npy(np.zeros((4, 3), [("a", "u1")])), "values of type void8, whose white is unknown"),
        (npy(DEEP[..., :4]), "shape 18 x 25 x 4, which has no axis of 5 bands"),
        (npy(DEEP[..., 0]), "shape 18 x 25, which has no axis of 5 bands"),
        (npy(DEEP[:, :5, :].transpose(1, 0, 2)), "shape 5 x 18 x 5, in which either end may be the 5 bands"),
        (npy(DEEP[:0]), "no pixels"),
        (tiff(DEEP[..., :4]), "shape 18 x 25 x 4, which has no axis of 5 bands"),
        (written(DEEP.astype(np.int16), photometric="minisblack", planarconfig="contig"),
         "values of type int16, whose white is unknown"),
        (picture(SHALLOW[..., :3], "JPEG"), "3 bands instead of 5"),
        (picture(Image.new("CMYK", (8, 6)), "JPEG"), "the color model CMYK, whose channels are no bands"),
        (picture(Image.new("LAB", (8, 6)), "TIFF"), "the color model LAB, whose channels are no bands"),
    ],
)  # fmt: skip
def test_what_is_no_such_image_says_why(encoded: bytes, words: str) -> None:
    assert reason(encoded) == words


def test_without_a_number_of_bands_a_tiff_of_several_says_what_to_set() -> None:
    with pytest.raises(UnreadableImage) as caught:
        decode_image(tiff(DEEP))
    assert caught.value.reason == "bands other than RGB, for which data.bands must say how many"


class Exploding:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    encoded = npy(np.array([Exploding(tmp_path / "exploded")], dtype=object), allow_pickle=True)

    assert reason(encoded) == "pickled objects, which could execute code"
    assert not (tmp_path / "exploded").exists()


WHOLE = {
    "TIFF": tiff(DEEP),
    "planes": tiff(DEEP, planar=True),
    "Deflate": tiff(DEEP, deflate=True),
    "directory first": written(DEEP, photometric="minisblack", planarconfig="contig"),
    "pages": written(PLANES, photometric="minisblack", metadata=None),
    "one page for all": written(PLANES, truncate=True),
    ".npy": npy(DEEP),
}


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_was_cut_off_is_refused(name: str, share: float) -> None:
    cut = WHOLE[name][: int(len(WHOLE[name]) * share)]

    found = reason(cut)

    # Where the directory itself is cut, it is found damaged; pages at the end may be missing without a trace.
    allowed = ["truncated file", "damaged file (corrupted IFD structure)", "damaged file (missing data offset)"]
    assert found in allowed or (name == "pages" and "has no axis of 5 bands" in found), found


@pytest.mark.parametrize("name", WHOLE)
def test_damage_anywhere_never_escapes(name: str) -> None:
    """Whatever bytes change, the result is an image of five bands or an UnreadableImage."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        data = bytearray(WHOLE[name])
        for place in rng.integers(0, len(data), 4):
            data[place] = rng.integers(256)
        try:
            decoded = decode_bands(bytes(data), 5, max_pixels=10_000)
        except UnreadableImage:
            continue
        assert decoded.shape[2] == 5
        assert decoded.shape[0] * decoded.shape[1] <= 10_000


def enormous_tiff() -> bytes:
    data = patched(tiff(SHALLOW), 256, 60_000)
    return patched(data, 257, 60_000)


def enormous_npy() -> bytes:
    header = repr({"descr": "<u2", "fortran_order": False, "shape": (60_000, 60_000, 5)}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize("encoded", [enormous_tiff(), enormous_npy()], ids=["TIFF", ".npy"])
def test_too_large_is_refused_from_the_header(encoded: bytes) -> None:
    assert reason(encoded) == "too large: 60000 x 60000 pixels"


@pytest.mark.parametrize("encoded", [*WHOLE.values(), picture(SHALLOW[..., :3], "PNG")])
def test_the_limit_is_the_users(encoded: bytes) -> None:
    bands = 3 if encoded.startswith(b"\x89PNG") else 5

    assert reason(encoded, bands, max_pixels=449) == "too large: 25 x 18 pixels"
    assert decode_bands(encoded, bands, max_pixels=450).shape == (18, 25, bands)


def test_a_huge_array_is_not_read_to_be_refused(tmp_path: Path) -> None:
    file = tmp_path / "huge.npy"
    file.write_bytes(enormous_npy())
    with file.open("r+b") as stream:
        stream.truncate(200_000_000_000)  # sparse: it takes no room, but could not be read into memory

    assert reason(file) == "too large: 60000 x 60000 pixels"


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "link.tif").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.tif")
    names = {"folder": "a directory", "link": "dangling link", "pipe": "not a regular file", "none": "no such file"}
    for name, words in names.items():
        assert reason(tmp_path / f"{name}.tif") == words


def test_the_error_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy(DEEP)[:-1])
    with pytest.raises(UnreadableImage) as caught:
        decode_bands(tmp_path / "a.npy", 5)
    assert str(caught.value) == f"{tmp_path / 'a.npy'}: truncated file"


def test_a_file_is_read_like_its_bytes(tmp_path: Path) -> None:
    for name, encoded in WHOLE.items():
        (tmp_path / name).write_bytes(encoded)
        assert_same(decode_bands(tmp_path / name, 5), DEEP)


def test_an_opened_image_knows_its_size() -> None:
    opened = open_bands(npy(DEEP), 5)

    assert (opened.width, opened.height) == (25, 18)
    for shrink in (1, 4):
        assert_same(opened.decode(shrink), DEEP)


def test_of_mixed_depths_8_bits_are_scaled_up() -> None:
    shallow, deep = same_depth([SHALLOW, DEEP])

    assert_same(shallow, (SHALLOW / 255 * 65535).round().astype(np.uint16))
    assert deep is DEEP
    assert same_depth([SHALLOW, SHALLOW])[1] is SHALLOW
    assert same_depth([]) == []


def test_full_scale_is_white() -> None:
    assert (full_scale(SHALLOW.dtype), full_scale(DEEP.dtype)) == (255, 65535)


def test_the_former_name_of_open_image_stays() -> None:
    """Programs written with it still run."""
    assert images.open_photograph is images.open_image
