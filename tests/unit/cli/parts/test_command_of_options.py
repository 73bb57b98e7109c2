"""Commands made of declared options: flags, arguments, defaults, and what the help says of choices."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Required, TypedDict

import pytest
import typer
from typer.testing import CliRunner

from manyview.cli.parts.command import command, flag, parsed_type
from manyview.export import FORMATS
from manyview.options.base import REQUIRED, Option, StrPath, declared
from manyview.options.pretrain import PretrainOptions
from manyview.options.unlabeled import ExportOptions
from manyview.recipes import RECIPES


class Options(TypedDict, total=False):
    images: Required[Annotated[StrPath, Option(REQUIRED, "Folder.", argument="photos")]]
    out: Required[Annotated[StrPath, Option(REQUIRED, "Where to.")]]
    list: Annotated[StrPath | None, Option(None, "Names.")]
    rate: Annotated[float | int, Option(0.5, "Rate.")]
    seeds: Annotated[Sequence[int], Option((0, 1), "Seeds.", flags=("--seed",), shown="0 and 1")]
    choice: Annotated[Literal["a", "b"], Option("a", "Choice.")]
    off: Annotated[bool, Option(False, "Off.")]
    on: Annotated[bool, Option(True, "On.")]
    count: Annotated[int, Option(1, "Count.", minimum=1)]


GIVEN = {"images": Path("x"), "out": Path("y"), "list": None, "rate": 0.5, "seeds": (0, 1), "choice": "a"}
GIVEN |= {"off": False, "on": True, "count": 1}


def call(*words: str, optional: bool = False) -> tuple[dict[str, Any], str]:
    """What a function is called with, and the command's output."""
    seen: dict[str, Any] = {}

    @command(Options, optional=optional)
    def run(*, extra: Annotated[bool, typer.Option("--extra")] = False, **options: Any) -> None:
        """Run.

        One paragraph,
        in two lines.
        """
        seen.update(options, extra=extra)

    app = typer.Typer()
    app.command()(run)
    return seen, CliRunner().invoke(app, list(words), env={"COLUMNS": "140", "NO_COLOR": "1"}).output


def test_defaults_reach_the_function() -> None:
    assert call("x", "--out", "y")[0] == GIVEN | {"extra": False}


def test_values_are_parsed() -> None:
    words = ["x", "--out", "y", "--list", "z", "--rate", "2", "--seed", "3", "--seed", "4", "--choice", "b", "--off"]
    seen, _ = call(*words, "--no-on", "--count", "7", "--extra")
    expected = {"list": Path("z"), "rate": 2.0, "seeds": (3, 4), "choice": "b", "off": True, "on": False, "count": 7}
    assert seen == GIVEN | expected | {"extra": True}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("x",), "Missing option '--out'"),
        (("--out", "y"), "Missing argument 'PHOTOS'"),
        (("x", "--out", "y", "--choice", "c"), "'c' is not one of 'a', 'b'"),
        (("x", "--out", "y", "--count", "0"), "Input should be greater than or equal to 1"),
        (("x", "--out", "y", "--no-off"), "No such option: --no-off"),
    ],
)
def test_mistakes_are_refused(words: tuple[str, ...], complaint: str) -> None:
    seen, output = call(*words)
    assert seen == {}
    assert complaint in output


def test_all_may_be_optional() -> None:
    assert call(optional=True)[0] == GIVEN | {"images": None, "out": None, "extra": False}


def test_the_help_has_the_order_of_the_declaration() -> None:
    _, output = call("--help")
    shown = ["--out", "--list", "--rate", "--seed", "--choice", "--off", "--on", "--count", "--extra"]
    places = [output.index(word) for word in shown]
    assert places == sorted(places)
    assert "[default: (0 and 1)]" in output


def test_the_help_wraps_paragraphs_to_the_terminal_and_names_arguments_as_messages_do() -> None:
    _, output = call("--help")
    assert "One paragraph, in two lines." in output
    assert "PHOTOS" in output
    assert "photos" not in output


@pytest.mark.parametrize(
    ("of_type", "parsed"),
    [
        (StrPath, Path),
        (StrPath | None, Path | None),
        (float | int | None, float | None),
        (Sequence[float | int], list[float] | None),
        (Sequence[StrPath], list[Path] | None),
        (Mapping[str, Any] | Iterable[str], list[str] | None),
        (Literal["a"] | None, Literal["a"] | None),
        (bool, bool),
    ],
)
def test_types_on_the_command_line(of_type: Any, parsed: Any) -> None:
    assert parsed_type(of_type) == parsed


def test_what_an_option_is_called() -> None:
    options = declared(Options)
    assert [flag(options[name]) for name in ("images", "out", "seeds")] == ["PHOTOS", "--out", "--seed"]
    assert flag(declared(PretrainOptions)["batch_size"]) == "--batch-size"


def test_help_names_all_formats_and_recipes() -> None:
    formats = declared(ExportOptions)["to"].option.help
    assert [name for name in FORMATS if name not in formats] == []
    recipes = declared(PretrainOptions)["recipe"].option.help
    assert [name for name in RECIPES if name not in recipes] == []
