"""A figure with images and text, placed in inches."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from manyview.drawing import names_as_written
from manyview.errors import UserError
from manyview.views import Box

INK, PALE = "#222222", "#6b6b6b"
_DPI, _POINTS = 150, 72  # pixels and points an inch
_LONGEST = 2**16 - 1  # pixels, of either side of what matplotlib can draw

LineStyle = str | tuple[int, tuple[int, int]]


class Sheet:
    """A white figure, with positions in inches from its top left corner.

    Args:
        width: in inches.
        height: in inches.
        instead: advice where it would be too large.

    Raises:
        UserError: it would be too large to draw.
    """

    def __init__(self, width: float, height: float, instead: str) -> None:
        longest, side = (width, "wide") if width > height else (height, "high")
        if longest * _DPI > _LONGEST:
            raise UserError(
                f"the picture would be {longest * _DPI:,.0f} pixels {side}, and at most {_LONGEST:,} can be drawn: "
                f"{instead}"
            )
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")

    def panel(self, left: float, top: float, width: float, height: float) -> Axes:
        """Bare axes at a position."""
        bounds = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(bounds)
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    def text(self, left: float, top: float, text: str, size: float, color: str = INK, weight: str = "normal") -> None:
        """Text whose first line begins at a position; dollar signs are not parsed as formulas."""
        for number, line in enumerate(text.split("\n")):
            # By its baseline: the top of a line depends on whether it holds tall letters.
            baseline = top + (0.8 + 1.15 * number) * size / _POINTS
            x, y = left / self.width, 1 - baseline / self.height
            self.figure.text(x, y, line, size=size, color=color, weight=weight, va="baseline", parse_math=False)

    def line(
        self, start: tuple[float, float], end: tuple[float, float], style: str, thickness: float, color: str = INK
    ) -> None:
        """A straight line."""
        x = (start[0] / self.width, end[0] / self.width)
        y = (1 - start[1] / self.height, 1 - end[1] / self.height)
        self.figure.add_artist(Line2D(x, y, color=color, linestyle=style, linewidth=thickness))

    def png(self) -> bytes:
        """The figure as a PNG file."""
        out = io.BytesIO()
        with names_as_written():
            self.figure.savefig(out, format="png")
        return out.getvalue()


def outline(axes: Axes, box: Box, color: str, thickness: float, style: LineStyle = "-", outset: float = 0.0) -> None:
    """Draw a box's outline over a wider white one, which keeps it visible on any background.

    Args:
        axes: in the box's units.
        box: the box.
        color: of the outline.
        thickness: in points.
        style: of the line, as in matplotlib.
        outset: distance of the outline from the box on each side.
    """
    left, top, right, bottom = box
    corner, across, down = (left - outset, top - outset), right - left + 2 * outset, bottom - top + 2 * outset
    for edge, width, its_style in (("white", thickness + 0.8, "-"), (color, thickness, style)):
        rectangle = Rectangle(corner, across, down, fill=False, edgecolor=edge, clip_on=False)
        rectangle.set(linewidth=width, linestyle=its_style)
        axes.add_patch(rectangle)
