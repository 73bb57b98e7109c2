"""HTML made of elements: whatever is not HTML already is text, shown as it is and never obeyed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from manyview.text import printable


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Html | None | Iterable[Any]
"""Text, HTML, nothing, or several of these: beartype cannot follow an alias that names itself."""

_VOID = frozenset({"br", "img", "input", "meta"})
_SHAPES = frozenset({"path", "rect", "line"})  # of SVG, which end in a slash where they hold nothing


def element(tag: str, *content: Content, **attributes: Any) -> Html:
    """An element.

    Args:
        tag: its name.
        *content: what it holds: HTML as it is, other strings as text; None is left out.
        **attributes: its attributes; ``class_`` stands for "class", other underscores for hyphens. True gives an
            attribute without value, None and False none.
    """
    text = "".join(map(_attribute, attributes.items()))
    if tag in _SHAPES:
        return Html(f"<{tag}{text}/>")
    return Html(f"<{tag}{text}>" if tag in _VOID else f"<{tag}{text}>{join(*content)}</{tag}>")


def join(*content: Content, separator: str = "") -> Html:
    """Content as HTML."""
    return Html(separator.join(_html(each) for each in content if each is not None))


def _html(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, Html):
        return str(content)
    return escape(printable(content)) if isinstance(content, str) else join(*content)


def _attribute(named: tuple[str, Any]) -> str:
    name, value = named
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(printable(str(value)))}"'


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes:
        content: what it shows.
        value: what it is sorted by, where that is not its text.
        class_: CSS class.
    """

    content: Content
    value: float | int | None = None
    class_: str | None = None


Row = list[Content | Cell]
"""Cells of a row of a table."""


def table(
    caption: Content,
    header: Sequence[Content],
    rows: Iterable[Sequence[Content | Cell]],
    *,
    sortable: bool = False,
    hidden_caption: bool = False,
    class_: str = "",
    text_columns: int = 1,
) -> Html:
    """A table that scrolls sideways where it is wider than the page.

    Args:
        caption: its title.
        header: titles of the columns.
        rows: their cells; the first of each row is its head.
        sortable: readers may sort it by any column.
        hidden_caption: the caption is read out, but not shown.
        class_: further CSS classes.
        text_columns: columns from the left that hold text; the others hold numbers, which end at the right.
    """
    heads = [
        element("th", each, scope="col", class_=None if number < text_columns else "number")
        for number, each in enumerate(header)
    ]
    body = [element("tr", _cells(row, text_columns)) for row in rows]
    classes = " ".join(filter(None, ["sortable" if sortable else "", class_]))
    inner = element(
        "table",
        element("caption", caption, class_="hidden" if hidden_caption else None),
        element("thead", element("tr", heads)),
        element("tbody", body),
        class_=classes or None,
    )
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=_text(caption))


def _cells(row: Sequence[Content | Cell], text_columns: int) -> list[Html]:
    cells = []
    for number, each in enumerate(row):
        cell = each if isinstance(each, Cell) else Cell(each)
        class_ = " ".join(filter(None, [cell.class_, None if number < text_columns else "number"])) or None
        if number == 0:
            cells.append(element("th", cell.content, scope="row", class_=class_, data_value=cell.value))
        else:
            cells.append(element("td", cell.content, class_=class_, data_value=cell.value))
    return cells


def _text(content: Content) -> str:
    return content if isinstance(content, str) and not isinstance(content, Html) else "table"


def paragraph(*content: Content, class_: str | None = None) -> Html:
    """A paragraph."""
    return element("p", *content, class_=class_)


def note(*content: Content) -> Html:
    """A sentence in place of what is not there."""
    return element("p", *content, class_="note")


def command(text: str) -> Html:
    """A command line with a button that copies it."""
    return element(
        "div",
        element("pre", element("code", text), tabindex="0"),
        element("button", "Copy", type="button", class_="copy", hidden=True, aria_label=f"Copy the command: {text}"),
        class_="command",
    )


def percent(fraction: float | int | None) -> str:
    """A fraction of 1 in percent, with one digit behind the point; a dash if undefined."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"
