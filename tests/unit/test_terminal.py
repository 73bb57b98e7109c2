"""Texts on a terminal and in Markdown are shown, never obeyed."""

from __future__ import annotations

import io

import pytest
from rich.console import Group
from rich.table import Table
from rich.text import Text

from manyview.terminal import SafeConsole, in_markdown
from manyview.text import printable, shortened

HOSTILE = {
    "\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x9b2J": r"\x9b2J",
    "a\rb": r"a\rb",
    "a\x08b": r"a\x08b",
    "\u202egpj.exe": r"\u202egpj.exe",
    "\u2066a\u2069": r"\u2066a\u2069",
    "a\u2028b": r"a\u2028b",
    "\udcff\ud800": r"\udcff\ud800",
    "\0": r"\x00",
    "[red]a[/red]": "[red]a[/red]",
    ":car:": ":car:",
    "[link=https://example.org]a": "[link=https://example.org]a",
    "a\u00a0b é 漢 🚗": "a\u00a0b é 漢 🚗",
}


def drawn(*what: object, width: int = 60, terminal: bool = False) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")  # which refuses lone surrogates
    console = SafeConsole(file=stream, width=width, force_terminal=terminal, color_system=None)
    for each in what:
        console.print(each, highlight=False)
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_draws_a_text(text: str, terminal: bool) -> None:
    table = Table(f"x{text}")
    table.add_row(text)
    for what in (text, Text(text), Group(Text(text)), Group(text), table, Group(table, Text(text))):
        shown = drawn(what, terminal=terminal)
        assert HOSTILE[text] in shown or any(each in text for each in "\a\b\r")  # which rich removes from its own texts
        assert all(each.isprintable() or each in "\n\u00a0" for each in shown)
        assert printable(shown) == shown


def test_nothing_is_cut_and_tables_stay_straight() -> None:
    words = " ".join(f"\x1b[2J{number}" for number in range(40))
    for what in (words, Text(words)):
        assert "".join(drawn(what, width=40).split()) == printable(words).replace(" ", "")
    table = Table("name", "figure")
    for name in (*HOSTILE, "line\nbreak"):
        table.add_row(name, "1")
    assert len({len(line) for line in drawn(table).splitlines() if "🚗" not in line}) == 1


def test_styles_of_rich_stay() -> None:
    stream = io.StringIO()
    SafeConsole(file=stream, force_terminal=True, color_system="standard").print(Text("a\x1b", style="red"))
    assert stream.getvalue() == "\x1b[31ma\\x1b\x1b[0m\n"


def test_markdown() -> None:
    assert in_markdown("a|b*c_d`e<f>[g]\\") == r"a\|b\*c\_d\`e\<f>\[g]\\"
    assert in_markdown("a\nb\x1b\u202e\t c") == r"a b\\x1b\\u202e c"


@pytest.mark.parametrize(
    ("longest", "expected"),
    [(10, "0123456789"), (9, "0123…6789"), (8, "0123…789"), (2, "0…"), (1, "…")],
)
def test_a_long_text_loses_its_middle(longest: int, expected: str) -> None:
    assert shortened("0123456789", longest) == expected
    assert len(expected) == longest
