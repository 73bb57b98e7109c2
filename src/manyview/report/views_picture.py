"""A picture of the views that a run trains on, beside the images they come from."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes

from manyview.config import ViewsConfig, in_pairs
from manyview.errors import UserError
from manyview.report.sheet import INK, PALE, Sheet, outline
from manyview.report.shown import (
    Column,
    Positives,
    ShownImage,
    Views,
    colour,
    columns,
    explanation,
    settings,
    show,
    title,
)
from manyview.runs import atomic_write
from manyview.runs.files import make_folder

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
    positives: Positives | None = None,
) -> None:
    """Write a PNG that shows images and, beside each, the very views that a run makes of it.

    Args:
        images: Names and pixels (RGB) of the images, one or more.
        config: The run's views.
        seed: The run's seed.
        epoch: The epoch whose views are shown.
        indices: Index of each image in the run.
        out: The file to write; its folder is made if needed.
        usual: Views of the usual kind to set beside them, for comparison.
        positives: Indices of the views that are positives of each other, as the run's method has them; unset: pairs.

    Raises:
        UserError: If there is no image, or the file cannot be written.
    """
    shown = [
        show(name, image, config, usual, seed=seed, epoch=epoch, index=index)
        for (name, image), index in zip(images, indices, strict=True)
    ]
    make_folder(out.parent)
    atomic_write(out, views_picture(shown, config, usual, seed=seed, epoch=epoch, positives=positives))


def views_picture(
    photographs: Sequence[ShownImage],
    config: ViewsConfig,
    usual: ViewsConfig | None = None,
    *,
    seed: int,
    epoch: int,
    positives: Positives | None = None,
) -> bytes:
    """The picture as a PNG file.

    Each row holds an image with its blocks dashed and its crops outlined, then its views two by two, one above the
    other, framed in the color of their outlines. Below each view stands what was done to it. Views of the usual kind
    follow on the right, beside a small copy of the image with their crops.

    Args:
        photographs: What to show, one or more.
        config: The run's views.
        usual: Views of the usual kind, if the images were given any.
        seed: The run's seed.
        epoch: The epoch whose views are shown.
        positives: Indices of the views that are positives of each other, as the run's method has them; unset: pairs.

    Raises:
        UserError: If there is no image, or they are more than one picture can hold.
    """
    if not photographs:
        raise UserError("there is no image to draw views of: name at least one")
    its_columns = columns(config, positives)
    layout = _Layout.of(config, len(its_columns), usual is not None)
    lines = textwrap.wrap(explanation(config, usual, positives), min(_LETTERS, int(layout.width * 14)))
    lines.append(settings(config, seed, epoch, photographs))
    header = _MARGIN + _TITLE + len(lines) * _TEXT_LINE + _LEGEND
    sheet = Sheet(layout.width, header + len(photographs) * layout.row_height - _GAP + _MARGIN)
    pairs = all(len(views) == 2 for views in positives or in_pairs(config.layout))
    _draw_header(sheet, title(config), lines, _legend(any(column.outlined for column in its_columns), pairs))
    for row, photograph in enumerate(photographs):
        top = header + row * layout.row_height
        _draw_image(sheet, layout, top, photograph, its_columns)
        _draw_columns(sheet, layout, top, photograph.views, its_columns)
        if photograph.usual is not None:
            _draw_usual(sheet, layout, top, photograph, photograph.usual)
    return sheet.png()


@dataclass(frozen=True)
class _Layout:
    """Where things are, in inches.

    Attributes:
        columns: of views side by side.
        photo: width of the place for the image.
        views_left: left edge of the views.
        usual_left: left edge of usual cropping.
        width: of the picture.
        row_height: of an image with its views and the gap below.
    """

    columns: int
    photo: float
    views_left: float
    usual_left: float
    width: float
    row_height: float

    @classmethod
    def of(cls, config: ViewsConfig, count: int, with_usual: bool) -> _Layout:
        """All of up to four columns side by side, else a row of the grid where it is neither short nor long.

        Blocks and the whole image stand side by side while there is room for both.
        """
        columns, first = min(count, 4), config.layout[0]
        if 4 < count <= 6 and first.blocks and first.of_whole:
            columns = count
        elif count > 4 and first.blocks and 3 <= first.grid[1] <= 6:
            columns = first.grid[1]
        lines = -(-count // columns)
        photo = _PHOTO if lines == 1 else _LARGE_PHOTO
        views_left = _MARGIN + photo + _GUTTER
        views_right = views_left + columns * (_CELL + _GAP) - _GAP
        usual_left = views_right + _GUTTER
        right = usual_left + _COPY + _GAP + _CELL if with_usual else views_right
        return cls(columns, photo, views_left, usual_left, right + _MARGIN, lines * (_PAIR + _GAP))


def _legend(blocks: bool, pairs: bool) -> list[tuple[str, float, str]]:
    """Styles of lines, how thick they are, and what they mean."""
    together = "one pair" if pairs else "one set of positives"
    crops = ("-", 1.6, f"crop, and frame of its view; one color, {together}")
    return [("--", 1.2, "block, drawn a little larger"), crops] if blocks else [crops]


def _draw_header(sheet: Sheet, title: str, lines: Sequence[str], legend: Sequence[tuple[str, float, str]]) -> None:
    """Title, explanation and legend."""
    sheet.text(_MARGIN, _MARGIN, title, 17.0, weight="bold")
    top = _MARGIN + _TITLE
    for line in lines:
        sheet.text(_MARGIN, top, line, 9.0, PALE)
        top += _TEXT_LINE
    left = _MARGIN
    for style, thickness, text in legend:
        sheet.line((left, top + 0.16), (left + 0.35, top + 0.16), style, thickness)
        sheet.text(left + 0.42, top + 0.08, text, 9.0)
        left += 2.7


def _draw_image(sheet: Sheet, layout: _Layout, top: float, photograph: ShownImage, columns: Sequence[Column]) -> None:
    """The image, as large as its place allows, with its blocks dashed and its crops outlined."""
    sheet.text(_MARGIN, top, textwrap.shorten(photograph.name, _NAME_LETTERS, placeholder=" ..."), 9.0, weight="bold")
    parameters = photograph.views.parameters
    room = layout.row_height - _GAP - _NAME - _CAPTION
    pixels_an_inch = max(photograph.width / layout.photo, photograph.height / room)
    axes = _place(sheet, _MARGIN, top + _NAME, photograph, pixels_an_inch)
    for number, column in enumerate(column for column in columns if column.outlined):
        outset = (number % 8 + 0.5) * _OUTSET * pixels_an_inch
        outline(axes, parameters[column.views[0]].block, colour(column.positives), 1.2, _DASHED, outset)
    for column in columns:
        for view in column.views:
            outline(axes, parameters[view].crop, colour(column.positives), 1.6)


def _place(sheet: Sheet, left: float, top: float, photograph: ShownImage, pixels_an_inch: float) -> Axes:
    """The image at a place, in axes that have the unit of its own pixels."""
    width, height = photograph.width, photograph.height
    axes = sheet.panel(left, top, width / pixels_an_inch, height / pixels_an_inch)
    axes.imshow(photograph.picture, extent=(0, width, height, 0), aspect="auto")
    return axes


def _draw_columns(sheet: Sheet, layout: _Layout, top: float, views: Views, columns: Sequence[Column]) -> None:
    """A run's views, two in a column."""
    for number, column in enumerate(columns):
        line, place = divmod(number, layout.columns)
        left = layout.views_left + place * (_CELL + _GAP)
        column_top = top + line * (_PAIR + _GAP)
        frame = colour(column.positives)
        sheet.text(left, column_top, column.name, 8.5, frame, weight="bold")
        _draw_column(sheet, left, column_top + _NAME, views, column.views, frame)


def _draw_usual(sheet: Sheet, layout: _Layout, top: float, photograph: ShownImage, views: Views) -> None:
    """The pair that usual cropping gives, beside a copy of the image with its two crops."""
    left = layout.usual_left
    sheet.line((left - _GUTTER / 2, top), (left - _GUTTER / 2, top + _PAIR - 0.1), "-", 0.8, "#c8c8c8")
    sheet.text(left, top, "usual cropping, for comparison", 8.5, weight="bold")
    pixels_an_inch = max(photograph.width / _COPY, photograph.height / (_PAIR - _NAME - _CAPTION))
    axes = _place(sheet, left, top + _NAME, photograph, pixels_an_inch)
    for view in views.parameters[:2]:
        outline(axes, view.crop, INK, 1.2)
    below = top + _NAME + photograph.height / pixels_an_inch + 0.05
    sheet.text(left, below, "two crops of the whole image", 6.5, PALE)
    _draw_column(sheet, left + _COPY + _GAP, top + _NAME, views, (0, 1), INK)


def _draw_column(sheet: Sheet, left: float, top: float, views: Views, indices: Sequence[int], frame: str) -> None:
    """One or two views, one above the other, each above what was done to it."""
    for member, view in enumerate(indices):
        view_top = top + member * (_CELL + _CAPTION)
        axes = sheet.panel(left, view_top, _CELL, _CELL)
        axes.imshow(views.pixels[view], aspect="auto")
        for spine in axes.spines.values():
            spine.set(color=frame, linewidth=2.2)
        words = textwrap.fill(views.captions[view], _CAPTION_LETTERS)
        sheet.text(left, view_top + _CELL + 0.05, words, 6.5, PALE)
