"""Names and other texts of files, on a terminal and in Markdown: shown as they are, never obeyed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Span, Text

from manyview.text import printable

_MARKDOWN = "\\|*_`<["  # characters that Markdown takes for more than text


def in_markdown(text: str) -> str:
    """A text as one line of Markdown, such as a cell of a table."""
    text = printable(" ".join(text.split()))
    for special in _MARKDOWN:
        text = text.replace(special, f"\\{special}")
    return text


class SafeConsole(Console):
    """A console of rich that shows texts as they are: neither markup such as "[red]" and ":car:", nor commands.

    A file's name, a class or a record may hold a terminal's escape sequences, or characters that turn the direction of
    writing. Texts are made printable before they are laid out, and whatever else is drawn once more before it is
    written. Bytes of names that are no UTF-8 would otherwise end in an error.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Text of a string."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Lay out what is shown."""
        if isinstance(renderable, Text):
            renderable = _printable_text(renderable)
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


def _printable_text(text: Text) -> Text:
    """A text of rich with its styles, all of whose characters are printable."""
    if printable(text.plain) == text.plain:
        return text
    pieces = [printable(character) for character in text.plain]
    starts = list(accumulate(map(len, pieces), initial=0))
    last = len(pieces)
    spans = [Span(starts[min(span.start, last)], starts[min(span.end, last)], span.style) for span in text.spans]
    kept = {name: getattr(text, name) for name in ("style", "justify", "overflow", "no_wrap", "end")}
    return Text("".join(pieces), spans=spans, **kept)
