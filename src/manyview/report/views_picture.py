"""A picture of the views that a run trains on, beside the photographs they come from."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from manyview.config import BlockViewsConfig, ViewsConfig
from manyview.errors import UserError
from manyview.views import Box, ViewParameters, render_view, sample_views

# Okabe and Ito's colours, which stay apart for colour-blind readers too.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
_BLOCKS = ("top left block", "top right block", "bottom left block", "bottom right block")
_INK, _PALE = "#222222", "#6b6b6b"

# Measures in inches.
_DPI = 150
_MARGIN, _GAP = 0.3, 0.14
_CELL, _NAME, _CAPTION = 1.3, 0.29, 0.17  # a view, the line above it, the line below it
_PAIR = _NAME + 2 * (_CELL + _CAPTION)
_PHOTO, _GUTTER = 3.8, 0.3
_PAIRS_A_LINE = 4
_TITLE, _TEXT_LINE = 0.42, 0.22
_OUTSET = 0.03  # by which a block's outline is larger for each block before it, so that none hides another


def draw_views(
    images: Sequence[tuple[str, UInt8[np.ndarray, "_ _ 3"]]],
    config: ViewsConfig,
    *,
    seed: int,
    epoch: int,
    indices: Sequence[int],
    out: Path,
) -> None:
    """Write a PNG that shows photographs and, beside each, the very views that a run makes of it.

    Each row holds a photograph with its blocks dashed and its crops outlined, then its views in pairs, one above the
    other, framed in the colour of their outlines. Below each view stands what was done to it.

    Args:
        images: Names and pixels (RGB) of the photographs, one or more.
        config: The run's views.
        seed: The run's seed.
        epoch: The epoch whose views are shown.
        indices: Index of each photograph in the run.
        out: The file to write; its folder is made if needed.

    Raises:
        UserError: If there is no photograph, or the file cannot be written.
    """
    if not images:
        raise UserError("there is no photograph to draw views of: name at least one")
    columns = min(config.pairs, _PAIRS_A_LINE)
    row_height = -(-config.pairs // columns) * (_PAIR + _GAP)
    width = 2 * _MARGIN + _PHOTO + _GUTTER + columns * (_CELL + _GAP) - _GAP
    lines = _explanation(config, seed, epoch, width)
    header = _MARGIN + _TITLE + len(lines) * _TEXT_LINE + 0.55
    sheet = _Sheet(width, header + len(images) * row_height + _MARGIN)
    _draw_header(sheet, config, lines)
    for row, ((name, image), index) in enumerate(zip(images, indices, strict=True)):
        height, image_width, _ = image.shape
        views = sample_views(config, image_width, height, seed=seed, epoch=epoch, image=index)
        _draw_row(sheet, header + row * row_height, name, image, views, config)
    sheet.save(out)


class _Sheet:
    """A figure measured in inches from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")

    def panel(self, left: float, top: float, width: float, height: float) -> Axes:
        """Bare axes at a place."""
        place = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place)
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    def text(self, left: float, top: float, text: str, size: float, colour: str = _INK, weight: str = "normal") -> None:
        """A line of text whose top left corner is at a place; names may hold dollar signs, which are no formulas."""
        self.figure.text(
            left / self.width,
            1 - top / self.height,
            text,
            size=size,
            color=colour,
            weight=weight,
            va="top",
            parse_math=False,
        )

    def line(self, left: float, top: float, length: float, style: str, thickness: float) -> None:
        """A horizontal line for the legend."""
        x, y = left / self.width, 1 - top / self.height
        ends = (x, x + length / self.width)
        self.figure.add_artist(Line2D(ends, (y, y), color=_INK, linestyle=style, linewidth=thickness))

    def save(self, out: Path) -> None:
        """Write the PNG."""
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script the font lacks
                self.figure.savefig(out, format="png")
        except OSError as error:
            raise UserError(f"cannot write the picture {out}: {error.strerror or error}") from None


def _explanation(config: ViewsConfig, seed: int, epoch: int, width: float) -> list[str]:
    """What the picture shows, in words, and the settings behind it."""
    low, high = (f"{share:.3g}" for share in (100 * config.scale[0], 100 * config.scale[1]))
    if isinstance(config, BlockViewsConfig):
        side = f"{100 * (0.5 + config.overlap):.3g}"
        words = (
            f"Each photograph gives four blocks, one at each corner, {side} % of its width and height (overlap "
            f"{config.overlap:g}). Of each block two random crops are taken, {low} to {high} % of its area, and "
            "altered at random: the two views of a pair, which training pulls together."
        )
    else:
        words = (
            f"Of each photograph random crops are taken, {low} to {high} % of its area, and altered at random. "
            "Two of them at a time are the views of a pair, which training pulls together."
        )
    settings = f"Views of {config.size} x {config.size} pixels, seed {seed}, epoch {epoch}."
    return [*textwrap.wrap(words, int(width * 14)), settings]


def _draw_header(sheet: _Sheet, config: ViewsConfig, lines: Sequence[str]) -> None:
    """Title, explanation and legend."""
    blocks = isinstance(config, BlockViewsConfig)
    sheet.text(_MARGIN, _MARGIN, "Block-wise views" if blocks else "Views of the whole photograph", 17.0, weight="bold")
    top = _MARGIN + _TITLE
    for line in lines:
        sheet.text(_MARGIN, top, line, 9.0, _PALE)
        top += _TEXT_LINE
    left = _MARGIN
    legend = [("-", 1.6, "crop, and frame of its view; one colour, one pair")]
    if blocks:
        legend.insert(0, ("--", 1.2, "block, drawn a little larger"))
    for style, thickness, text in legend:
        sheet.line(left, top + 0.16, 0.35, style, thickness)
        sheet.text(left + 0.42, top + 0.08, text, 9.0)
        left += 2.7


def _draw_row(
    sheet: _Sheet,
    top: float,
    name: str,
    image: UInt8[np.ndarray, "height width 3"],
    views: Sequence[ViewParameters],
    config: ViewsConfig,
) -> None:
    """One photograph and its views."""
    sheet.text(_MARGIN, top, textwrap.shorten(name, 60, placeholder=" ..."), 9.0, weight="bold")
    _draw_photograph(sheet, top + _NAME, image, views, blocks=isinstance(config, BlockViewsConfig))
    for pair in range(config.pairs):
        line, column = divmod(pair, _PAIRS_A_LINE)
        left = _MARGIN + _PHOTO + _GUTTER + column * (_CELL + _GAP)
        pair_top = top + line * (_PAIR + _GAP)
        title = _BLOCKS[pair] if isinstance(config, BlockViewsConfig) else f"pair {pair + 1}"
        sheet.text(left, pair_top, title, 8.5, _colour(pair), weight="bold")
        for member, parameters in enumerate(views[2 * pair : 2 * pair + 2]):
            view_top = pair_top + _NAME + member * (_CELL + _CAPTION)
            _draw_view(sheet, left, view_top, render_view(image, parameters, config.size), _colour(pair))
            sheet.text(left, view_top + _CELL + 0.03, _deeds(parameters), 6.0, _PALE)


def _draw_photograph(
    sheet: _Sheet,
    top: float,
    image: UInt8[np.ndarray, "height width 3"],
    views: Sequence[ViewParameters],
    blocks: bool,
) -> None:
    """The photograph, as large as its place allows, with its blocks dashed and its crops outlined."""
    height, width, _ = image.shape
    room = _PAIR - _NAME - _CAPTION
    pixels_an_inch = max(width / _PHOTO, height / room)
    axes = sheet.panel(_MARGIN, top, width / pixels_an_inch, height / pixels_an_inch)
    axes.imshow(image, extent=(0, width, height, 0), aspect="auto")
    if blocks:
        for pair, parameters in enumerate(views[::2]):
            outset = (pair + 0.5) * _OUTSET * pixels_an_inch
            _outline(axes, parameters.block, _colour(pair), outset, linewidth=1.2, linestyle=(0, (4, 2)))
    for view, parameters in enumerate(views):
        _outline(axes, parameters.crop, _colour(view // 2), 0.0, linewidth=1.6, linestyle="-")


def _outline(
    axes: Axes, box: Box, colour: str, outset: float, linewidth: float, linestyle: str | tuple[int, tuple[int, int]]
) -> None:
    """A box's outline over a wider white one, which keeps it visible on any ground."""
    left, top, right, bottom = box
    corner, across, down = (left - outset, top - outset), right - left + 2 * outset, bottom - top + 2 * outset
    for edge, thickness, style in (("white", linewidth + 0.8, "-"), (colour, linewidth, linestyle)):
        outline = Rectangle(corner, across, down, fill=False, edgecolor=edge, clip_on=False)
        outline.set(linewidth=thickness, linestyle=style)
        axes.add_patch(outline)


def _draw_view(sheet: _Sheet, left: float, top: float, view: UInt8[np.ndarray, "size size 3"], colour: str) -> None:
    """A view in a frame of its pair's colour."""
    axes = sheet.panel(left, top, _CELL, _CELL)
    axes.imshow(view, aspect="auto")
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2.2)


def _colour(pair: int) -> str:
    return _COLOURS[pair % len(_COLOURS)]


def _deeds(parameters: ViewParameters) -> str:
    """What was done to a view, in a few words."""
    deeds = {
        "mirrored": parameters.flip,
        "recoloured": parameters.jitter is not None and not parameters.grayscale,
        "grey": parameters.grayscale,
        f"blur {parameters.blur_sigma or 0:.1f}": parameters.blur_sigma is not None,
        "solarised": parameters.solarize,
    }
    return ", ".join(name for name, done in deeds.items() if done) or "only cropped"
