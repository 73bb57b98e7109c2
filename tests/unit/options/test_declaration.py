"""What follows in Python from a declaration of options: signature, defaults, docstring, record, what checkers say."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict, Unpack

import pytest
from mypy import api

from manyview.options.base import REQUIRED, Option, StrPath, among, declared, recorded, select, verb


class Shared(TypedDict, total=False):
    images: Required[Annotated[StrPath, Option(REQUIRED, "Folder of images.", recorded=True)]]
    device: Annotated[str, Option("auto", "Where it computes.")]


class Options(Shared, total=False):
    sizes: Annotated[tuple[int, ...], Option((32, 64), "Sides.", "sides of the inputs, at least 8.", recorded=True)]
    network: Annotated[Any, Option(None, "RGB or other architecture.")]


@verb(Options)
def evaluate(weights: str, *, progress: object = None, **options: Unpack[Options]) -> dict[str, Any]:
    """Evaluate weights.

    Args:
        weights: run folder.
        progress: called as work goes on.
        **options: as declared,
            each by its name.

    Returns:
        what it was called with.
    """
    return {"weights": weights, "progress": progress, **options}


def test_defaults_are_filled_in() -> None:
    assert evaluate("run", images="photos", sizes=(8,)) == {
        "weights": "run",
        "progress": None,
        "images": "photos",
        "device": "auto",
        "sizes": (8,),
        "network": None,
    }
    assert evaluate(weights="run", images="photos", progress=1)["progress"] == 1


def test_the_signature_shows_each_option() -> None:
    parameters = inspect.signature(evaluate).parameters
    assert list(parameters) == ["weights", "images", "device", "sizes", "network", "progress"]
    assert parameters["images"].default is inspect.Parameter.empty
    assert (parameters["sizes"].default, parameters["sizes"].annotation) == ((32, 64), tuple[int, ...])
    assert parameters["device"].kind is inspect.Parameter.KEYWORD_ONLY


def test_the_docstring_says_what_each_option_is() -> None:
    assert inspect.getdoc(evaluate) == (
        "Evaluate weights.\n\nArgs:\n    weights: run folder.\n    progress: called as work goes on.\n"
        "    images: folder of images.\n    device: where it computes.\n    sizes: sides of the inputs, at least 8.\n"
        "    network: RGB or other architecture.\n\nReturns:\n    what it was called with."
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": "a", "size": 3}, "evaluate() got an unexpected keyword argument 'size'; did you mean 'sizes'?"),
        ({"images": "a", "zzz": 3}, "evaluate() got an unexpected keyword argument 'zzz'"),
        ({}, "evaluate() missing required keyword-only argument: 'images'"),
    ],
)
def test_names_are_checked_as_python_does(given: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        evaluate("run", **given)
    assert str(caught.value) == message


def test_the_record_has_what_is_marked_as_plain_data() -> None:
    assert recorded(Options, {"images": Path("a"), "device": "cpu", "sizes": (8, 16), "network": None}) == {
        "images": "a",
        "sizes": [8, 16],
    }


def test_options_of_a_group_and_for_settings() -> None:
    @dataclass
    class Settings:
        device: str
        sizes: tuple[int, ...]
        more: int

    options = {"images": "a", "device": "cpu", "sizes": (8,), "network": None}
    assert select(Settings, options, more=3) == Settings("cpu", (8,), 3)
    assert select(Settings, options, more=3, device="cuda").device == "cuda"
    assert among(Shared, options) == {"images": "a", "device": "cpu"}


def test_the_first_declaration_of_a_name_counts() -> None:
    class Other(TypedDict, total=False):
        device: Annotated[str, Option("cpu", "Elsewhere.")]

    found = declared(Other, Options)
    assert list(found) == ["device", "images", "sizes", "network"]
    assert (found["device"].option.default, found["device"].type) == ("cpu", str)


def test_type_checkers_know_the_options(tmp_path: Path) -> None:
    file = tmp_path / "calls.py"
    file.write_text(
        "from typing import Unpack\n"
        "from manyview.options.base import verb\n"
        "from manyview.options.labeled import KnnOptions\n"
        "@verb(KnnOptions)\n"
        "def knn(weights: str, **options: Unpack[KnnOptions]) -> int:\n"
        "    return options['neighbours']\n"
        "knn('run', images='photos', train_labels='a.csv', val_labels='b.csv', neighbours=3, difficult='positive')\n"
        "knn('run', images='photos', train_labels='a.csv', val_labels='b.csv', neighbour=3)\n"
        "knn('run', images='photos', train_labels='a.csv', val_labels='b.csv', difficult='maybe')\n"
        "knn('run', images='photos', val_labels='b.csv')\n"
    )
    settings = tmp_path / "mypy.ini"
    settings.write_text(
        # The package's stub leads to all of it, and on to PyTorch, which takes a minute to check.
        "[mypy]\nstrict = true\nfollow_imports = skip\n[mypy-manyview.options.*]\nfollow_imports = normal\n"
    )
    out, _, status = api.run([str(file), "--config-file", str(settings), "--cache-dir", str(tmp_path / "cache")])
    lines = [line.split(": ", 1) for line in out.splitlines() if ": error: " in line]
    assert status == 1
    assert [place.rsplit(":", 1)[1] for place, _ in lines] == ["8", "9", "10"], out
    assert 'Unexpected keyword argument "neighbour"' in lines[0][1]
    assert "incompatible type" in lines[1][1]
    assert 'Missing named argument "train_labels"' in lines[2][1]
