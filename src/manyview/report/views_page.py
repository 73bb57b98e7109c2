"""The views as a self-contained HTML page, without network access or scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from manyview.config import ViewsConfig, in_pairs
from manyview.report.common_objects.tables_and_curve import notes, text_tables
from manyview.report.sheet import INK
from manyview.report.shown import (
    Column,
    Positives,
    ShownImage,
    Views,
    color_of,
    columns,
    explanation,
    one_color,
    settings,
    title,
)
from manyview.runs.outputs import html_mark
from manyview.views import Box

Encode = Callable[[UInt8[ndarray, "height width 3"]], str]
"""Makes a data URI of an image."""

_QUALITY = 90  # of the JPEGs
_OUTSET = 0.009  # of the image's larger side, as in the picture
_STYLE = """
body { margin: 2rem auto; max-width: 100rem; padding: 0 1.5rem; background: #fff; color: #222;
       font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1rem; margin: 2.2rem 0 .6rem; }
p { max-width: 60rem; margin: .4rem 0; } p.pale, figcaption.pale, li { color: #6b6b6b; }
.row { display: flex; flex-wrap: wrap; gap: 1rem 1.6rem; align-items: flex-start; }
.pairs { display: grid; gap: .8rem; }
figure { margin: 0; } figcaption { font-size: .8rem; line-height: 1.35; max-width: 8.4rem; min-height: 2.9em; }
figcaption.name { font-weight: 600; max-width: none; min-height: 0; white-space: nowrap; margin-bottom: .25rem; }
figure.view img { width: 8rem; height: 8rem; display: block; border: 3px solid; }
svg { display: block; max-width: 100%; overflow: visible; }
svg.large { width: 25rem; max-height: 23rem; } .many svg.large { width: 38rem; max-height: 40rem; }
svg.small { width: 11rem; max-height: 20rem; }
rect { fill: none; vector-effect: non-scaling-stroke; }
.usual { display: flex; gap: 1rem; border-left: 1px solid #c8c8c8; padding-left: 1.6rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .4rem 0 .8rem; }
th, td { padding: .15rem .7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { border-bottom: 1.5px solid #222; } tbody { border-bottom: 1px solid #c8c8c8; }
img.curve { max-width: 100%; }
"""


def views_page(
    images: Sequence[ShownImage],
    config: ViewsConfig,
    usual: ViewsConfig | None = None,
    *,
    seed: int,
    epoch: int,
    counted: tuple[dict[str, Any], bytes] | None = None,
    positives: Positives | None = None,
) -> str:
    """The page as HTML; its images are JPEGs within it.

    Args:
        images: images with their views.
        config: the run's views.
        usual: views of usual cropping, if the images have any.
        seed: the run's seed.
        epoch: the epoch of the views.
        counted: common objects as in ``metrics.json`` and their curve as a PNG, if they were counted.
        positives: sets of indices of views that are positives of each other in the run's method; unset: pairs.
    """
    its_columns = columns(config, positives)
    sets = positives or in_pairs(config.layout)
    legend = _legend(any(column.outlined for column in its_columns), one_color(config, positives))
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        html_mark("views"),
        f"<title>{escape(title(config))}</title><style>{_STYLE}{_highlights(len(sets))}</style></head><body>",
        f"<h1>{escape(title(config))}</h1>",
        f"<p>{escape(explanation(config, usual, positives))}</p>",
        f'<p class="pale">{escape(settings(config, seed, epoch, images))} {escape(legend)}</p>',
    ]
    for shown in images:
        lines += image_row(shown, its_columns, side_by_side(config, len(its_columns)))
    if counted is not None:
        lines += _count(*counted)
    return "\n".join([*lines, "</body></html>", ""])


def _legend(blocks: bool, what: str) -> str:
    dashed = "Dashed: the blocks, drawn a little larger. " if blocks else ""
    return f"{dashed}Solid: the crops. One color, one {what}; point at a {what} to see its own outlines alone."


def _highlights(sets: int) -> str:
    """CSS with which a set of positives under the pointer fades the outlines of the others."""
    return "".join(
        f".row:has(.pair-{pair}:hover) .large rect:not(.of-{pair}) {{ opacity: .12; }}\n" for pair in range(sets)
    )


def side_by_side(config: ViewsConfig, count: int) -> int:
    """Columns of views in a row: those of a row of the grid, or four."""
    first = config.layout[0]
    return min(first.grid[1] if first.blocks and first.grid != (2, 2) else 4, count)


def image_row(
    shown: ShownImage,
    columns: Sequence[Column],
    side_by_side: int,
    *,
    heading: str = "h2",
    encode: Encode | None = None,
) -> Iterator[str]:
    """An image and its views in a row that wraps on narrow screens.

    Args:
        shown: the image.
        columns: its views.
        side_by_side: columns in a row.
        heading: element of the image's name.
        encode: makes a data URI of pixels; unset: JPEGs.
    """
    encode = encode or _jpeg
    yield f"<{heading}>{escape(shown.name)}</{heading}>"
    yield f'<div class="row{" many" if len(columns) > 4 else ""}">'
    yield _outlined(shown, shown.views, columns, encode, large=True)
    yield f'<div class="pairs" style="grid-template-columns: repeat({side_by_side}, max-content)">'
    for column in columns:
        yield _column(shown.views, column, color_of(column.positives), encode)
    yield "</div>"
    if shown.usual is not None:
        yield '<div class="usual"><figure><figcaption class="name">usual cropping, for comparison</figcaption>'
        pair = Column("\u00a0", positives=0, views=(0, 1), outlined=False)
        yield _outlined(shown, shown.usual, [pair], encode, large=False)
        yield "</figure>"
        yield _column(shown.usual, pair, INK, encode)
        yield "</div>"
    yield "</div>"


def _outlined(shown: ShownImage, views: Views, columns: Sequence[Column], encode: Encode, *, large: bool) -> str:
    """SVG of the image with outlined blocks and crops, in units of its own pixels."""
    width, height = shown.width, shown.height
    outset = _OUTSET * max(width, height)
    blocks = [column for column in columns if column.outlined]
    margin = 8.5 * outset if blocks else outset
    shapes = []
    for number, column in enumerate(blocks):
        block, stroke = views.parameters[column.views[0]].block, color_of(column.positives)
        shapes.append(_outline(block, column.positives, stroke, 1.8, outset * (number % 8 + 0.5), dashed=True))
    for column in columns:
        stroke, thickness = (color_of(column.positives), 2.4) if large else (INK, 1.8)
        for view in column.views:
            shapes.append(_outline(views.parameters[view].crop, column.positives, stroke, thickness, 0.0))
    box = f"{-margin:g} {-margin:g} {width + 2 * margin:g} {height + 2 * margin:g}"
    return (
        f'<svg class="{"large" if large else "small"}" viewBox="{box}" preserveAspectRatio="xMinYMin" role="img" '
        f'aria-label="{escape(shown.name)} with its crops outlined">'
        f'<image href="{encode(shown.picture)}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
        f"{''.join(shapes)}</svg>"
    )


def _outline(box: Box, pair: int, stroke: str, thickness: float, outset: float, dashed: bool = False) -> str:
    """A box's outline over a wider white one."""
    left, top, right, bottom = box
    bounds = (
        f'class="of-{pair}" x="{left - outset:g}" y="{top - outset:g}" '
        f'width="{right - left + 2 * outset:g}" height="{bottom - top + 2 * outset:g}"'
    )
    dashes = ' stroke-dasharray="6 3"' if dashed else ""
    return (
        f'<rect {bounds} stroke="#fff" stroke-width="{thickness + 1.2:g}"/>'
        f'<rect {bounds} stroke="{stroke}" stroke-width="{thickness:g}"{dashes}/>'
    )


def _column(views: Views, column: Column, frame: str, encode: Encode) -> str:
    """One or two views, one above the other."""
    figures = "".join(
        f'<figure class="view"><img src="{encode(views.pixels[view])}" style="border-color: {frame}" '
        f'alt="view {view + 1}"><figcaption class="pale">{escape(views.captions[view])}</figcaption></figure>'
        for view in column.views
    )
    name = escape(column.name or "\u00a0")
    caption = f'<figcaption class="name" style="color: {frame}">{name}</figcaption>'
    return f'<figure class="pair-{column.positives}">{caption}{figures}</figure>'


def _count(count: dict[str, Any], curve: bytes) -> Iterator[str]:
    """The tables and the curve of common objects."""
    for table in text_tables(count):
        head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
        yield f"<h2>{escape(table.title)}</h2>\n<table><thead><tr>{head}</tr></thead>"
        for section in table.sections:
            rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in section)
            yield f"<tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody>"
        yield "</table>"
    encoded = base64.b64encode(curve).decode()
    yield f'<img class="curve" alt="common objects against overlap" src="data:image/png;base64,{encoded}">'
    yield from (f'<p class="pale">{escape(line)}</p>' for line in notes(count))


def _jpeg(pixels: UInt8[ndarray, "height width 3"]) -> str:
    """An image as a data URI."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="jpeg", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
