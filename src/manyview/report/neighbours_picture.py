"""A picture of query images or blocks, each beside its nearest neighbors."""

from __future__ import annotations

import functools
import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from manyview.errors import UserError
from manyview.images import ImagePath, ImageRoot, UnreadableImage, open_image
from manyview.report.sheet import INK, PALE, Sheet, outline
from manyview.report.shown import BandDisplay, color_of
from manyview.runs import atomic_write
from manyview.runs.files import make_folder
from manyview.text import printable

# Measures in inches.
_MARGIN, _GAP, _GUTTER = 0.3, 0.12, 0.3
_CELL, _HIGH, _CAPTION = 1.5, 1.2, 0.34  # width and height of an image's cell, the two lines below it
_ROW = _HIGH + _CAPTION + 0.08
_BETWEEN = 0.16  # between queries of several rows
_TITLE, _TEXT_LINE, _HEADING = 0.42, 0.2, 0.26
_MOST_LINES = 12  # of explanation, which a narrow picture may need
_LETTERS = 24  # of a name below an image
_LONGEST = 480  # pixels of the larger side of an image as it is kept
_BLOCKS = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True)
class _LoadedImage:
    """A downscaled image, and its original size in pixels."""

    picture: UInt8[np.ndarray, "height width 3"]
    width: int
    height: int


def check_size(queries: int, k: int, blocks: bool) -> None:
    """Check before the search that its results can be drawn.

    Args:
        queries: query images.
        k: neighbors of each.
        blocks: whether each query has four rows.

    Raises:
        UserError: the picture would be too large.
    """
    _sheet(queries * (len(_BLOCKS) if blocks else 1), k, blocks, lines=_MOST_LINES)


def write_neighbours(images: ImageRoot, result: Mapping[str, Any], out: Path) -> Path:
    """Write the picture, and beside it the results as JSON.

    Args:
        images: folder of the images.
        result: as ``nearest_neighbours`` returns it.
        out: the picture (.png); its folder is made if needed.

    Returns:
        The JSON file: ``out`` with the ending ``.json``.

    Raises:
        UserError: an image cannot be read any more, the picture would be too large, or a file cannot be written.
    """
    beside = out.with_suffix(".json")
    make_folder(out.parent)
    atomic_write(out, neighbours_picture(images, result))
    atomic_write(beside, json.dumps(result, indent=2, allow_nan=False) + "\n")
    return beside


def neighbours_picture(images: ImageRoot, result: Mapping[str, Any]) -> bytes:
    """The picture as a PNG file.

    A row for each query, or for each block of a query: the image on the left, framed, or with its block outlined;
    then its neighbors, the nearest first, each with its cosine and its name. Blocks have the color of their row.

    Args:
        images: folder of the images.
        result: as ``nearest_neighbours`` returns it, or the content of the JSON file.

    Raises:
        UserError: an image cannot be read any more, or the picture would be too large.
    """
    protocol, rows = result["protocol"], result["results"]
    blocks = "box" in rows[0]
    most = max(len(row["neighbours"]) for row in rows)
    lines = textwrap.wrap(_explanation(protocol, blocks), int((_left(most) - 2 * _MARGIN) * 14))
    sheet = _sheet(len(rows), most, blocks, len(lines))
    _draw_header(sheet, lines, most, blocks)
    # Neighbors of one query's blocks are often blocks of the same images.
    load = functools.lru_cache(maxsize=8 * most)(
        lambda name: _load(images / name, protocol["bands"], protocol.get("bit_depth"))
    )
    for number, row in enumerate(rows):
        top = _top(number, blocks, len(lines))
        shade = color_of(_BLOCKS.index(row["block"])) if blocks else INK
        _draw(sheet, _MARGIN, top, load(row["image"]), row, shade)
        for rank, neighbor in enumerate(row["neighbours"]):
            _draw(sheet, _left(rank), top, load(neighbor["image"]), neighbor, shade)
    return sheet.png()


def _sheet(rows: int, k: int, blocks: bool, lines: int) -> Sheet:
    """A sheet for so many rows of ``k`` neighbors."""
    width, height = _left(k) - _GAP + _MARGIN, _top(rows - 1, blocks, lines) + _ROW + _MARGIN
    return Sheet(width, height, "take fewer queries or a smaller --k")


def _left(rank: int) -> float:
    """Left edge of a neighbor, counted from 0."""
    return _MARGIN + _CELL + _GUTTER + rank * (_CELL + _GAP)


def _top(row: int, blocks: bool, lines: int) -> float:
    """Upper edge of a row, below ``lines`` lines of explanation; rows of one query are closer together."""
    between = row // len(_BLOCKS) * _BETWEEN if blocks else 0.0
    return _MARGIN + _TITLE + lines * _TEXT_LINE + _HEADING + row * _ROW + between


def _draw_header(sheet: Sheet, lines: list[str], most: int, blocks: bool) -> None:
    """Draw title, explanation and heads of the columns."""
    sheet.text(_MARGIN, _MARGIN, "Nearest blocks" if blocks else "Nearest images", 17.0, weight="bold")
    top = _MARGIN + _TITLE
    for line in lines:
        sheet.text(_MARGIN, top, line, 9.0, PALE)
        top += _TEXT_LINE
    sheet.text(_MARGIN, top + 0.06, "query", 9.0, weight="bold")
    for rank in range(most):
        sheet.text(_left(rank), top + 0.06, "nearest" if rank == 0 else str(rank + 1), 9.0, weight="bold")
    middle = _left(0) - _GUTTER / 2
    sheet.line((middle, top + 0.06), (middle, sheet.height - _MARGIN), "-", 0.8, "#c8c8c8")


def _explanation(protocol: Mapping[str, Any], blocks: bool) -> str:
    """Sentences on what is shown, and how it was found."""
    what = (
        "Each of the four blocks of a query, outlined, and the blocks of other images"
        if blocks
        else "Each query, and the other images"
    )
    images, weights = (printable(protocol[name], kept="") for name in ("images", "weights"))
    return (
        f"{what} whose features have the highest cosine with it, of {protocol['photographs']:,} images in {images}. "
        f"Features of {weights} ({protocol['backbone']}), {protocol['pool']} at {protocol['size']} pixels."
    )


def _draw(sheet: Sheet, left: float, top: float, loaded: _LoadedImage, entry: Mapping[str, Any], shade: str) -> None:
    """Draw an image with its block outlined, above its name and, for a neighbor, its cosine."""
    pixels_an_inch = max(loaded.width / _CELL, loaded.height / _HIGH)
    width, height = loaded.width / pixels_an_inch, loaded.height / pixels_an_inch
    axes = sheet.panel(left, top, width, height)
    axes.imshow(loaded.picture, extent=(0, loaded.width, loaded.height, 0), aspect="auto")
    chosen = "cosine" not in entry and "box" not in entry
    for spine in axes.spines.values():
        spine.set(color=shade if chosen else "#c8c8c8", linewidth=1.6 if chosen else 0.5, zorder=1)
    if "box" in entry:
        outline(axes, tuple(entry["box"]), shade, 1.6)
    words = [f"{entry['cosine']:.3f}"] if "cosine" in entry else []
    words += [entry["block"]] if "block" in entry else []
    below = top + _HIGH + 0.05
    if words:
        sheet.text(left, below, ", ".join(words), 7.5, shade)
        below += 0.14
    sheet.text(left, below, _short(printable(entry["image"], kept="")), 6.5, PALE)


def _load(path: ImagePath, bands: Any, bit_depth: int | None) -> _LoadedImage:
    """An image for display: 8-bit RGB, or the first band in gray, with stretched contrast."""
    try:
        pixels = open_image(path, bands, bit_depth=bit_depth).decode()
    except UnreadableImage as error:
        raise UserError(f"cannot draw {path} ({error.reason}): is it the folder whose features were used?") from error
    height, width = pixels.shape[:2]
    shown = pixels if bands == "rgb" else BandDisplay.of(pixels, None)(pixels)
    picture = Image.fromarray(np.ascontiguousarray(shown))
    picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    return _LoadedImage(np.array(picture), width, height)


def _short(name: str) -> str:
    """A name, shortened in the middle if too long, as mostly the ends of names differ."""
    return name if len(name) <= _LETTERS else f"{name[:6]}...{name[-(_LETTERS - 9) :]}"
