"""A picture of the views that a run trains on, beside the photographs they come from."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes

from manyview.config import BlockViewsConfig, ViewsConfig
from manyview.errors import UserError
from manyview.report.sheet import INK, PALE, Sheet, outline
from manyview.report.shown import (
    ShownPhotograph,
    Views,
    colour,
    explanation,
    pair_name,
    settings,
    show,
    title,
)
from manyview.runs import atomic_write
from manyview.runs.output import make_folder

# Measures in inches.
_MARGIN, _GAP = 0.3, 0.14
_CELL, _NAME, _CAPTION = 1.4, 0.29, 0.3  # a view, the line above it, the lines below it
_PAIR = _NAME + 2 * (_CELL + _CAPTION)
_PHOTO, _LARGE_PHOTO, _COPY, _GUTTER = 3.8, 5.7, 1.9, 0.36  # widths; the large one beside several lines of pairs
_TITLE, _TEXT_LINE, _LEGEND = 0.42, 0.22, 0.6
_LETTERS, _NAME_LETTERS, _CAPTION_LETTERS = 165, 52, 30  # in a line: explanation, name, below a view
_OUTSET = 0.03  # by which a block's outline is larger for each block before it, so that none hides another
_DASHED = (0, (4, 2))


def draw_views(
    images: Sequence[tuple[str, UInt8[np.ndarray, "_ _ 3"]]],
    config: ViewsConfig,
    *,
    seed: int,
    epoch: int,
    indices: Sequence[int],
    out: Path,
    usual: ViewsConfig | None = None,
) -> None:
    """Write a PNG that shows photographs and, beside each, the very views that a run makes of it.

    Args:
        images: Names and pixels (RGB) of the photographs, one or more.
        config: The run's views.
        seed: The run's seed.
        epoch: The epoch whose views are shown.
        indices: Index of each photograph in the run.
        out: The file to write; its folder is made if needed.
        usual: Views of the usual kind to set beside them, for comparison.

    Raises:
        UserError: If there is no photograph, or the file cannot be written.
    """
    shown = [
        show(name, image, config, usual, seed=seed, epoch=epoch, index=index)
        for (name, image), index in zip(images, indices, strict=True)
    ]
    make_folder(out.parent)
    atomic_write(out, views_picture(shown, config, usual, seed=seed, epoch=epoch))


def views_picture(
    photographs: Sequence[ShownPhotograph],
    config: ViewsConfig,
    usual: ViewsConfig | None = None,
    *,
    seed: int,
    epoch: int,
) -> bytes:
    """The picture as a PNG file.

    Each row holds a photograph with its blocks dashed and its crops outlined, then its views in pairs, one above the
    other, framed in the colour of their outlines. Below each view stands what was done to it. Views of the usual kind
    follow on the right, beside a small copy of the photograph with their crops.

    Args:
        photographs: What to show, one or more.
        config: The run's views.
        usual: Views of the usual kind, if the photographs were given any.
        seed: The run's seed.
        epoch: The epoch whose views are shown.

    Raises:
        UserError: If there is no photograph, or they are more than one picture can hold.
    """
    if not photographs:
        raise UserError("there is no photograph to draw views of: name at least one")
    layout = _Layout.of(config, usual is not None)
    lines = textwrap.wrap(explanation(config, usual), min(_LETTERS, int(layout.width * 14)))
    lines.append(settings(config, seed, epoch, photographs))
    header = _MARGIN + _TITLE + len(lines) * _TEXT_LINE + _LEGEND
    sheet = Sheet(layout.width, header + len(photographs) * layout.row_height - _GAP + _MARGIN)
    _draw_header(sheet, config, lines)
    for row, photograph in enumerate(photographs):
        top = header + row * layout.row_height
        _draw_photograph(sheet, layout, top, photograph, blocks=isinstance(config, BlockViewsConfig))
        _draw_pairs(sheet, layout, top, photograph.views, config)
        if photograph.usual is not None:
            _draw_usual(sheet, layout, top, photograph, photograph.usual)
    return sheet.png()


@dataclass(frozen=True)
class _Layout:
    """Where things are, in inches.

    Attributes:
        columns: pairs side by side.
        photo: width of the place for the photograph.
        pairs_left: left edge of the pairs.
        usual_left: left edge of usual cropping.
        width: of the picture.
        row_height: of a photograph with its views and the gap below.
    """

    columns: int
    photo: float
    pairs_left: float
    usual_left: float
    width: float
    row_height: float

    @classmethod
    def of(cls, config: ViewsConfig, with_usual: bool) -> _Layout:
        """All of up to four pairs side by side, else a row of the grid where it is neither short nor long."""
        columns = min(config.pairs, 4)
        if config.pairs > 4 and isinstance(config, BlockViewsConfig) and 3 <= config.grid[1] <= 6:
            columns = config.grid[1]
        lines = -(-config.pairs // columns)
        photo = _PHOTO if lines == 1 else _LARGE_PHOTO
        pairs_left = _MARGIN + photo + _GUTTER
        pairs_right = pairs_left + columns * (_CELL + _GAP) - _GAP
        usual_left = pairs_right + _GUTTER
        right = usual_left + _COPY + _GAP + _CELL if with_usual else pairs_right
        return cls(columns, photo, pairs_left, usual_left, right + _MARGIN, lines * (_PAIR + _GAP))


def _draw_header(sheet: Sheet, config: ViewsConfig, lines: Sequence[str]) -> None:
    """Title, explanation and legend."""
    sheet.text(_MARGIN, _MARGIN, title(config), 17.0, weight="bold")
    top = _MARGIN + _TITLE
    for line in lines:
        sheet.text(_MARGIN, top, line, 9.0, PALE)
        top += _TEXT_LINE
    left = _MARGIN
    legend = [("-", 1.6, "crop, and frame of its view; one colour, one pair")]
    if isinstance(config, BlockViewsConfig):
        legend.insert(0, ("--", 1.2, "block, drawn a little larger"))
    for style, thickness, text in legend:
        sheet.line((left, top + 0.16), (left + 0.35, top + 0.16), style, thickness)
        sheet.text(left + 0.42, top + 0.08, text, 9.0)
        left += 2.7


def _draw_photograph(sheet: Sheet, layout: _Layout, top: float, photograph: ShownPhotograph, blocks: bool) -> None:
    """The photograph, as large as its place allows, with its blocks dashed and its crops outlined."""
    sheet.text(_MARGIN, top, textwrap.shorten(photograph.name, _NAME_LETTERS, placeholder=" ..."), 9.0, weight="bold")
    parameters = photograph.views.parameters
    room = layout.row_height - _GAP - _NAME - _CAPTION
    pixels_an_inch = max(photograph.width / layout.photo, photograph.height / room)
    axes = _place(sheet, _MARGIN, top + _NAME, photograph, pixels_an_inch)
    if blocks:
        for pair, view in enumerate(parameters[::2]):
            outset = (pair % 8 + 0.5) * _OUTSET * pixels_an_inch
            outline(axes, view.block, colour(pair), 1.2, _DASHED, outset)
    for number, view in enumerate(parameters):
        outline(axes, view.crop, colour(number // 2), 1.6)


def _place(sheet: Sheet, left: float, top: float, photograph: ShownPhotograph, pixels_an_inch: float) -> Axes:
    """The photograph at a place, in axes that have the unit of its own pixels."""
    width, height = photograph.width, photograph.height
    axes = sheet.panel(left, top, width / pixels_an_inch, height / pixels_an_inch)
    axes.imshow(photograph.picture, extent=(0, width, height, 0), aspect="auto")
    return axes


def _draw_pairs(sheet: Sheet, layout: _Layout, top: float, views: Views, config: ViewsConfig) -> None:
    """A run's views, a column for each pair."""
    for pair in range(config.pairs):
        line, column = divmod(pair, layout.columns)
        left = layout.pairs_left + column * (_CELL + _GAP)
        pair_top = top + line * (_PAIR + _GAP)
        sheet.text(left, pair_top, pair_name(config, pair), 8.5, colour(pair), weight="bold")
        _draw_pair(sheet, left, pair_top + _NAME, views, pair, colour(pair))


def _draw_usual(sheet: Sheet, layout: _Layout, top: float, photograph: ShownPhotograph, views: Views) -> None:
    """The pair that usual cropping gives, beside a copy of the photograph with its two crops."""
    left = layout.usual_left
    sheet.line((left - _GUTTER / 2, top), (left - _GUTTER / 2, top + _PAIR - 0.1), "-", 0.8, "#c8c8c8")
    sheet.text(left, top, "usual cropping, for comparison", 8.5, weight="bold")
    pixels_an_inch = max(photograph.width / _COPY, photograph.height / (_PAIR - _NAME - _CAPTION))
    axes = _place(sheet, left, top + _NAME, photograph, pixels_an_inch)
    for view in views.parameters[:2]:
        outline(axes, view.crop, INK, 1.2)
    below = top + _NAME + photograph.height / pixels_an_inch + 0.05
    sheet.text(left, below, "two crops of the whole photograph", 6.5, PALE)
    _draw_pair(sheet, left + _COPY + _GAP, top + _NAME, views, 0, INK)


def _draw_pair(sheet: Sheet, left: float, top: float, views: Views, pair: int, frame: str) -> None:
    """The two views of a pair, one above the other, each above what was done to it."""
    for member in range(2):
        view, view_top = 2 * pair + member, top + member * (_CELL + _CAPTION)
        axes = sheet.panel(left, view_top, _CELL, _CELL)
        axes.imshow(views.pixels[view], aspect="auto")
        for spine in axes.spines.values():
            spine.set(color=frame, linewidth=2.2)
        words = textwrap.fill(views.captions[view], _CAPTION_LETTERS)
        sheet.text(left, view_top + _CELL + 0.05, words, 6.5, PALE)
