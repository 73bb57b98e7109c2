"""A picture of a run's views beside the images they are cropped from."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes

from manyview.config import ViewsConfig
from manyview.errors import UserError
from manyview.report.sheet import INK, PALE, Sheet, outline
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
    show,
    title,
)
from manyview.runs import atomic_write
from manyview.runs.files import make_folder
from manyview.text import shortened

# Measures in inches.
_MARGIN, _GAP = 0.3, 0.14
_CELL, _NAME, _CAPTION = 1.4, 0.29, 0.3  # a view, the line above it, the lines below it
_PAIR = _NAME + 2 * (_CELL + _CAPTION)
_IMAGE, _LARGE_IMAGE, _COPY, _GUTTER = 3.8, 5.7, 1.9, 0.36  # widths; the large one beside several lines of pairs
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
    """Write a PNG of images with the exact views that a run makes of them.

    Args:
        images: names and RGB pixels of the images, one or more.
        config: the run's views.
        seed: the run's seed.
        epoch: the epoch of the views.
        indices: index of each image in the run.
        out: the file to write; its folder is made if needed.
        usual: views of usual cropping, for comparison.
        positives: sets of indices of views that are positives of each other in the run's method; unset: pairs.

    Raises:
        UserError: there is no image, or the file cannot be written.
    """
    shown = [
        show(name, image, config, usual, seed=seed, epoch=epoch, index=index)
        for (name, image), index in zip(images, indices, strict=True)
    ]
    make_folder(out.parent)
    atomic_write(out, views_picture(shown, config, usual, seed=seed, epoch=epoch, positives=positives))


def views_picture(
    images: Sequence[ShownImage],
    config: ViewsConfig,
    usual: ViewsConfig | None = None,
    *,
    seed: int,
    epoch: int,
    positives: Positives | None = None,
) -> bytes:
    """The picture as a PNG file.

    Each row holds an image with its blocks dashed and its crops outlined, then its views two by two, one above the
    other, framed in the color of their outlines and captioned with their augmentations. Views of usual cropping follow
    on the right, beside a small copy of the image with their crops.

    Args:
        images: images with their views, one or more.
        config: the run's views.
        usual: views of usual cropping, if the images have any.
        seed: the run's seed.
        epoch: the epoch of the views.
        positives: sets of indices of views that are positives of each other in the run's method; unset: pairs.

    Raises:
        UserError: there is no image, or there are more than one picture can hold.
    """
    if not images:
        raise UserError("there is no image to draw views of: name at least one")
    its_columns = columns(config, positives)
    layout = _Layout.of(config, len(its_columns), usual is not None)
    lines = textwrap.wrap(explanation(config, usual, positives), min(_LETTERS, int(layout.width * 14)))
    lines.append(settings(config, seed, epoch, images))
    header = _MARGIN + _TITLE + len(lines) * _TEXT_LINE + _LEGEND
    height = header + len(images) * layout.row_height - _GAP + _MARGIN
    sheet = Sheet(layout.width, height, "draw fewer images, or a page (.html)")
    legend = _legend(any(column.outlined for column in its_columns), one_color(config, positives))
    _draw_header(sheet, title(config), lines, legend)
    for row, shown in enumerate(images):
        top = header + row * layout.row_height
        _draw_image(sheet, layout, top, shown, its_columns)
        _draw_columns(sheet, layout, top, shown.views, its_columns)
        if shown.usual is not None:
            _draw_usual(sheet, layout, top, shown, shown.usual)
    return sheet.png()


@dataclass(frozen=True)
class _Layout:
    """Positions and sizes in inches.

    Attributes:
        columns: of views side by side.
        image_width: largest width of the image.
        views_left: left edge of the views.
        usual_left: left edge of usual cropping.
        width: of the picture.
        row_height: of an image with its views and the gap below.
    """

    columns: int
    image_width: float
    views_left: float
    usual_left: float
    width: float
    row_height: float

    @classmethod
    def of(cls, config: ViewsConfig, count: int, with_usual: bool) -> _Layout:
        """Up to four columns side by side, else a row of the grid if it has three to six.

        Blocks and the whole image stand side by side if there are up to six columns.
        """
        columns, first = min(count, 4), config.layout[0]
        if 4 < count <= 6 and first.blocks and first.of_whole:
            columns = count
        elif count > 4 and first.blocks and 3 <= first.grid[1] <= 6:
            columns = first.grid[1]
        lines = -(-count // columns)
        image_width = _IMAGE if lines == 1 else _LARGE_IMAGE
        views_left = _MARGIN + image_width + _GUTTER
        views_right = views_left + columns * (_CELL + _GAP) - _GAP
        usual_left = views_right + _GUTTER
        right = usual_left + _COPY + _GAP + _CELL if with_usual else views_right
        return cls(columns, image_width, views_left, usual_left, right + _MARGIN, lines * (_PAIR + _GAP))


def _legend(blocks: bool, together: str) -> list[tuple[str, float, str]]:
    """Style, thickness and meaning of each line."""
    crops = ("-", 1.6, f"crop, and frame of its view; one color, one {together}")
    return [("--", 1.2, "block, drawn a little larger"), crops] if blocks else [crops]


def _draw_header(sheet: Sheet, title: str, lines: Sequence[str], legend: Sequence[tuple[str, float, str]]) -> None:
    """Draw title, explanation and legend."""
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


def _draw_image(sheet: Sheet, layout: _Layout, top: float, shown: ShownImage, columns: Sequence[Column]) -> None:
    """Draw the image, as large as fits, with its blocks dashed and its crops outlined."""
    sheet.text(_MARGIN, top, shortened(shown.name, _NAME_LETTERS), 9.0, weight="bold")
    parameters = shown.views.parameters
    room = layout.row_height - _GAP - _NAME - _CAPTION
    pixels_an_inch = max(shown.width / layout.image_width, shown.height / room)
    axes = _draw_pixels(sheet, _MARGIN, top + _NAME, shown, pixels_an_inch)
    for number, column in enumerate(column for column in columns if column.outlined):
        outset = (number % 8 + 0.5) * _OUTSET * pixels_an_inch
        outline(axes, parameters[column.views[0]].block, color_of(column.positives), 1.2, _DASHED, outset)
    for column in columns:
        for view in column.views:
            outline(axes, parameters[view].crop, color_of(column.positives), 1.6)


def _draw_pixels(sheet: Sheet, left: float, top: float, shown: ShownImage, pixels_an_inch: float) -> Axes:
    """Draw the image, in axes with units of its own pixels."""
    width, height = shown.width, shown.height
    axes = sheet.panel(left, top, width / pixels_an_inch, height / pixels_an_inch)
    axes.imshow(shown.picture, extent=(0, width, height, 0), aspect="auto")
    return axes


def _draw_columns(sheet: Sheet, layout: _Layout, top: float, views: Views, columns: Sequence[Column]) -> None:
    """Draw a run's views, two in a column."""
    for number, column in enumerate(columns):
        line, position = divmod(number, layout.columns)
        left = layout.views_left + position * (_CELL + _GAP)
        column_top = top + line * (_PAIR + _GAP)
        frame = color_of(column.positives)
        sheet.text(left, column_top, column.name, 8.5, frame, weight="bold")
        _draw_column(sheet, left, column_top + _NAME, views, column.views, frame)


def _draw_usual(sheet: Sheet, layout: _Layout, top: float, shown: ShownImage, views: Views) -> None:
    """Draw the pair of usual cropping, beside a copy of the image with its two crops."""
    left = layout.usual_left
    sheet.line((left - _GUTTER / 2, top), (left - _GUTTER / 2, top + _PAIR - 0.1), "-", 0.8, "#c8c8c8")
    sheet.text(left, top, "usual cropping, for comparison", 8.5, weight="bold")
    pixels_an_inch = max(shown.width / _COPY, shown.height / (_PAIR - _NAME - _CAPTION))
    axes = _draw_pixels(sheet, left, top + _NAME, shown, pixels_an_inch)
    for view in views.parameters[:2]:
        outline(axes, view.crop, INK, 1.2)
    below = top + _NAME + shown.height / pixels_an_inch + 0.05
    sheet.text(left, below, "two crops of the whole image", 6.5, PALE)
    _draw_column(sheet, left + _COPY + _GAP, top + _NAME, views, (0, 1), INK)


def _draw_column(sheet: Sheet, left: float, top: float, views: Views, indices: Sequence[int], frame: str) -> None:
    """Draw one or two views, one above the other, each above its augmentations."""
    for member, view in enumerate(indices):
        view_top = top + member * (_CELL + _CAPTION)
        axes = sheet.panel(left, view_top, _CELL, _CELL)
        axes.imshow(views.pixels[view], aspect="auto")
        for spine in axes.spines.values():
            spine.set(color=frame, linewidth=2.2)
        words = textwrap.fill(views.captions[view], _CAPTION_LETTERS)
        sheet.text(left, view_top + _CELL + 0.05, words, 6.5, PALE)
