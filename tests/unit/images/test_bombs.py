"""Small files that would take gigabytes or hours are refused, or cost no more than their pixels."""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyview.images import UnreadableImage, decode_image
from manyview.images.bands import decode_bands
from tests.helpers.image_files import PNG, chunk, exif, png_header, png_rows
from tests.helpers.memory import extra_memory, reads_peak_memory

MIB = 2**20
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)


def zeros(megabytes: int) -> bytes:
    """So many MiB of zeros, compressed more than a hundredfold."""
    deflater, block = zlib.compressobj(1), bytes(MIB)
    return b"".join(deflater.compress(block) for _ in range(megabytes)) + deflater.flush()


def encode(format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, format, **options)
    return stream.getvalue()


def with_size(
    data: bytes, mark: bytes, offset: int, layout: str, width: int, height: int, *, last: bool = False
) -> bytes:
    """A file whose header states another size, found behind a mark."""
    start = (data.rindex(mark) if last else data.index(mark)) + offset
    size = struct.pack(layout, width, height)
    return data[:start] + size + data[start + len(size) :]


def tiff(bits: int, samples: int, compression: int, data: bytes, side: int = 4) -> bytes:
    """A TIFF of one strip."""
    values = {256: side, 257: side, 258: bits, 259: compression, 262: 1, 273: 8, 277: samples, 278: side}
    values |= {279: len(data), 339: 1}
    tags = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in values.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(values)) + tags + bytes(4)


def many_scans(count: int) -> bytes:
    data = encode("JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * count + data[-2:]


JPEG, HEADER = encode("JPEG"), png_header(PIXELS)
ROWS = png_rows(PIXELS)
SEGMENT = b"\xff\xe1\xff\xff" + b"Exif\0\0" + bytes(65535 - 8)


def bombs() -> Iterator[tuple[str, bytes, str]]:
    """Names, contents, and how reasons begin; "" for files whose pixels are sound."""
    yield (
        "png.png",
        PNG + png_header(PIXELS, (16000, 16000)) + chunk(b"IDAT", zeros(732 // 6)),
        "too large: 16000 x 16000",
    )
    yield "jpeg.jpg", with_size(JPEG, b"\xff\xc0", 5, ">HH", 60000, 60000), "too large: 60000 x 60000"
    cmyk = io.BytesIO()
    Image.new("CMYK", (24, 16)).save(cmyk, "JPEG")
    yield "cmyk.jpg", with_size(cmyk.getvalue(), b"\xff\xc0", 5, ">HH", 60000, 50000), "too large: 50000 x 60000"
    yield "bmp.bmp", with_size(encode("BMP"), b"BM", 18, "<ii", 60000, 60000), "too large: 60000 x 60000"
    gif = encode("GIF")
    yield "screen.gif", with_size(gif, b"GIF", 6, "<HH", 60000, 60000), "too large: 60000 x 60000"
    yield "frame.gif", with_size(gif, b",\0\0\0\0", 5, "<HH", 65535, 65535), "too large"
    webp = encode("WEBP")
    yield "webp.webp", with_size(webp, b"\x9d\x01\x2a", 3, "<HH", 16383, 16383), "too large"
    tiffs = encode("TIFF").replace(struct.pack("<HHII", 256, 4, 1, 24), struct.pack("<HHII", 256, 4, 1, 60000))
    yield "tiff.tif", tiffs.replace(struct.pack("<HHII", 257, 4, 1, 16), struct.pack("<HHII", 257, 4, 1, 60000)), "too"
    pixels = chunk(b"IDAT", zlib.compress(ROWS))
    end = chunk(b"IEND", b"")
    for name, text in {
        "profile": chunk(b"iCCP", b"a\0\0" + zeros(80)),
        "text": chunk(b"zTXt", b"Comment\0\0" + zeros(80)),
        "exif": chunk(b"zTXt", b"Raw profile type exif\0\0" + zeros(80)),
        "xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros(80)),
        "many": chunk(b"zTXt", b"Raw profile type exif\0\0" + zeros(16)) * 30,
        "count": chunk(b"eXIf", exif(6).replace(struct.pack("<HI", 3, 1), struct.pack("<HI", 3, 2**31))),
    }.items():
        yield f"{name}.png", PNG + HEADER + text + pixels + end, ""
    endless = zlib.compressobj()
    data = endless.compress(ROWS) + b"".join(endless.compress(bytes(MIB)) for _ in range(100)) + endless.flush()
    yield "rows.png", PNG + png_header(PIXELS * 0) + chunk(b"IDAT", data) + end, ""
    yield "segments.jpg", JPEG[:2] + SEGMENT * 200 + JPEG[2:], ""
    yield "scans.jpg", many_scans(3000), "damaged file (3,0"
    for name, code, strip in (("deflate", 8, zeros(100)), ("lzma", 34925, lzma.compress(bytes(100 * MIB), preset=0))):
        yield f"{name}.tif", tiff(16, 2, code, strip), "bands other than RGB"


_READ = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
begin = dict(line.split("\t") for line in Path(sys.argv[2]).read_text().splitlines())
rgb = decode_image
for reader in (rgb, lambda path: decode_bands(path, 3), lambda path: decode_bands(path, 2)):
    for path in sorted(Path(sys.argv[1]).iterdir()):
        try:
            reader(path)
            outcome = ""
        except UnreadableImage as error:
            outcome = error.reason
        if reader is rgb:
            assert outcome.startswith(begin[path.name]) if begin[path.name] else outcome == "", (path.name, outcome)
        grown = peak() - before
        assert grown < 48 * 2**20 + 3 * path.stat().st_size, f"{path.name}: {grown:,} bytes"
"""


@reads_peak_memory
def test_no_small_file_takes_much_memory(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    reasons = {}
    for name, data, reasons[name] in bombs():
        (tmp_path / "images" / name).write_bytes(data)
    (tmp_path / "reasons").write_text("\n".join("\t".join(each) for each in reasons.items()))
    prepare = (
        "from pathlib import Path\n"
        "from manyview.images import UnreadableImage, decode_image\n"
        "from manyview.images.bands import decode_bands\n"
        "import tifffile, PIL.AvifImagePlugin"
    )
    extra_memory(prepare, _READ, tmp_path / "images", tmp_path / "reasons", forked=False)


@pytest.mark.parametrize("start", [b"", JPEG], ids=["unknown", "like a JPEG"])
def test_a_file_of_many_gigabytes_is_not_read(start: bytes, tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.write(start)
        file.truncate(2**40)  # takes no room on the disk
    reason = f"too large: {2**40:,} bytes" if start else "not an image of a known format"
    for read in (decode_image, lambda path: decode_bands(path, 3)):
        with pytest.raises(UnreadableImage) as caught:
            read(tmp_path / "a.jpg")
        assert caught.value.reason == reason


def test_a_sound_jpeg_may_have_many_scans_and_much_metadata() -> None:
    whole = decode_image(JPEG)
    within = JPEG[:2] + b"\xff\xe2\xff\xff" + b"\xff\xda" * 32766 + b"\0" + JPEG[2:]  # as of a thumbnail
    np.testing.assert_array_equal(decode_image(within), whole)
    turned = JPEG[:2] + b"\xff\xe1\0\x22Exif\0\0" + exif(3) + SEGMENT * 30 + JPEG[2:]
    np.testing.assert_array_equal(decode_image(turned), whole[::-1, ::-1])
    np.testing.assert_array_equal(decode_bands(turned, 3), whole[::-1, ::-1])
    assert decode_image(many_scans(300)).shape == PIXELS.shape
