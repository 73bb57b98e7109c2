"""Messages for users: one line of printable characters and of bounded length, whatever damaged files put into them."""

from __future__ import annotations

import pickle

import pytest

from manyview.errors import UserError, first_few, one_line
from manyview.images import UnreadableImage
from manyview.labels.problems import Problem, refusal


@pytest.mark.parametrize("text", ["a.jpg is missing: add it", "é/Ωmega/写真.png", "'a', \"b\" \\ c", ""])
def test_what_can_be_printed_stays(text: str) -> None:
    assert one_line(text) == str(UserError(text)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("several\nlines\r\nhere\n", "several lines here"),
        ("a\u2028b\vc", "a b c"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\0b\tc", r"a\x00b\tc"),
        ("\udcff.jpg", r"\udcff.jpg"),
        ("right\u202eleft", r"right\u202eleft"),
    ],
)
def test_what_cannot_be_printed_is_escaped(text: str, shown: str) -> None:
    assert one_line(text) == shown
    assert str(UserError(text)) == shown
    assert UnreadableImage(text).reason.isprintable()
    assert str(pickle.loads(pickle.dumps(UserError(text)))) == shown


def test_long_texts_lose_their_middle() -> None:
    text = "the file a.csv " + "x" * 10**6 + " must be another: correct it"
    for shown in (one_line(text, 300), str(UserError(text)), UnreadableImage(text).reason):
        assert len(shown) < 3100
        assert shown.startswith("the file a.csv xxx")
        assert shown.endswith("xxx must be another: correct it")
        assert " ... " in shown
    assert len(one_line("\0" * 10**6, 100)) < 500


def test_long_names_leave_the_rest_of_a_message_whole() -> None:
    names = ["x" * 10**6, "y\n" * 10**5, "z", "more"]
    assert len(first_few(names)) < 1500
    assert first_few(names).endswith(", z, ...")
    error = refusal(
        [Problem(f"line 2 names {name}, which is missing", "add it") for name in names], "l.csv", can_skip=True
    )
    assert str(error).startswith("l.csv has 4 problems (line 2 names xxx")
    assert "line 2 names z, which is missing; ...): add it; --label-problems skip" in str(error)


def test_a_sentence_is_one_line() -> None:
    assert Problem("line 3 names a\n.jpg", "").line == "line 3 names a .jpg"
