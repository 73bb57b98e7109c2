from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks import structure
from benchmarks.structure import cycles, import_graph, is_verb, measure, parameters, percentile, read_sources

WIDE = ", ".join(f"a{i}" for i in range(13))
FILES = {
    "__init__.py": '"""Photographs."""\n',
    "cli/__init__.py": "",
    "cli/knn.py": f"def knn({WIDE}):\n    pass\n",
    "cli/progress.py": "class Batch:\n    def __init__(self, a, *b, c, **d):\n        pass\n",
    "evaluation/__init__.py": "from manyview.evaluation.knn import knn_evaluation\n",
    "evaluation/knn.py": f"def knn_evaluation(*, {WIDE}, a13):\n    '''Two\n    lines.'''\n    return 1\n",
    "evaluation/data.py": "class Batch:\n    photograph = 'photograph'\n" + "\n" * 498,
    "evaluation/inner/wide.py": f"def wide({WIDE}, a13, a14):\n    def inner(x):\n        return x\n    return inner\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "src/manyview" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def graph(tmp_path: Path, files: dict[str, str]) -> dict[str, set[str]]:
    return import_graph(read_sources(write(tmp_path, files)))


def test_every_figure_of_a_small_tree(tmp_path: Path) -> None:
    found = measure(read_sources(write(tmp_path, FILES)))
    assert found == {
        "`.py` files": "8",
        "files under 60 lines, but `__init__.py`": "4 (50%)",
        "widest folder": "3 (`evaluation/`)",
        "folders of more than 18 files": "0",
        "largest file": "500 lines (`evaluation/data.py`)",
        "files over 500 lines": "0",
        "lines": "515",
        "lines of `evaluation/`": "509",
        "widest functions, by parameters": "15 `evaluation/inner/wide.py:wide`, "
        "14 `evaluation/knn.py:knn_evaluation` (verb), 13 `cli/knn.py:knn` (verb), 4 `cli/progress.py:__init__`, "
        "1 `evaluation/inner/wide.py:inner`",
        "functions of more than 12 parameters": "3",
        "of these no public verbs": "1",
        "function lines but docstrings, median / 90th percentile": "2 / 4",
        "class names that occur twice": "1 (Batch)",
        "basenames that occur twice, but `__init__.py`": "1 (knn.py)",
        "import cycles": "0",
        '"photograph" in the sources': "3",
    }


@pytest.mark.parametrize(
    ("signature", "count"),
    [("", 0), ("self", 0), ("cls, a", 1), ("a, self", 2), ("a, /, b=1, *c, d, e=2, **f", 6), ("self, *, a", 1)],
)
def test_parameters_are_all_but_the_object_itself(signature: str, count: int) -> None:
    [function] = ast.parse(f"def f({signature}): ...").body
    assert isinstance(function, ast.FunctionDef)
    assert parameters(function) == count


def test_verbs_are_the_commands_and_what_they_call() -> None:
    assert is_verb("linear", "cli/linear.py")
    assert is_verb("linear_evaluation", "evaluation/linear/evaluate.py")
    assert not is_verb("helper", "cli/linear.py")
    assert not is_verb("linear", "evaluation/linear.py")


def test_a_cycle_is_found_whatever_the_form_of_its_imports(tmp_path: Path) -> None:
    found = graph(
        tmp_path,
        {
            "__init__.py": "",
            "a.py": "import manyview.b\n",
            "b.py": "from manyview import c\n",
            "c.py": "if True:\n    from .inner import d\n",
            "inner/__init__.py": "",
            "inner/d.py": "from ..a import thing\n",
            "e.py": "from manyview.a import thing\n",
        },
    )
    assert cycles(found) == [["manyview.a", "manyview.b", "manyview.c", "manyview.inner.d"]]


def test_a_package_and_its_module_can_be_a_cycle(tmp_path: Path) -> None:
    files = {
        "inner/__init__.py": "from .a import A\n",
        "inner/a.py": "from manyview.inner import b\n",
        "inner/b.py": "",
    }
    assert cycles(graph(tmp_path / "none", files)) == []
    files["inner/b.py"] = "from manyview.inner import A\n"
    assert cycles(graph(tmp_path / "one", files)) == [["manyview.inner", "manyview.inner.a", "manyview.inner.b"]]


def test_imports_that_do_not_run_at_once_make_no_cycle(tmp_path: Path) -> None:
    late = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import manyview.a\ndef f():\n    import manyview.a\n"
    )
    found = graph(tmp_path, {"a.py": "import manyview.b\nimport torch\n", "b.py": late})
    assert found == {"manyview.a": {"manyview.b"}, "manyview.b": set()}


@pytest.mark.parametrize(("share", "number"), [(50, 5), (90, 9), (91, 10), (1, 1)])
def test_percentiles_are_numbers_of_the_list(share: int, number: int) -> None:
    assert percentile(range(10, 0, -1), share) == number


def test_two_checkouts_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(tmp_path / "old", {"a.py": "x = 1\n", "b.py": ""})
    new = write(tmp_path / "new", {"a.py": "x = 1\n"})
    structure.main([str(new), "--against", str(old)])
    rows = capsys.readouterr().out.splitlines()
    assert rows[:3] == ["|  | before | after |", "| --- | --- | --- |", "| `.py` files | 2 | 1 |"]
    structure.main([str(new)])
    assert capsys.readouterr().out.startswith("|  | now |\n| --- | --- |\n| `.py` files | 1 |\n")


def test_a_folder_without_the_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no Python files"):
        read_sources(tmp_path)
