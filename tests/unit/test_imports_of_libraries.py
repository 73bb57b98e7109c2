"""That what is left out of imports can still be had; evaluation/test_imports.py has what is left out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from manyview import imports


@pytest.mark.parametrize("line", ["from heavy import other", "import heavy.part", "import heavy; heavy.other"])
def test_a_library_that_reads_more_gets_it(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy/__init__.py").write_text("other = 1")
    (tmp_path / "heavy/part.py").write_text("")
    (tmp_path / "library.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports, "_COMPILER", "heavy")
    monkeypatch.delitem(sys.modules, "library", raising=False)
    monkeypatch.delitem(sys.modules, "heavy", raising=False)

    imports.import_lightly("library")

    assert sys.modules["library"]
    assert sys.modules["heavy"].other == 1
    assert sys.modules["heavy"].__file__


def test_a_function_that_is_left_out_of_compiled_code_still_is() -> None:
    traced = []

    @imports.disable
    def add_one(x: torch.Tensor) -> torch.Tensor:
        traced.append(torch.compiler.is_compiling())
        return x + 1

    compiled = torch.compile(lambda x: add_one(x * 2) * 3, backend="eager")

    assert add_one(torch.ones(1)).item() == 2
    assert compiled(torch.ones(1)).item() == 9
    assert traced == [False, False]
    assert add_one.__name__ == "add_one"
