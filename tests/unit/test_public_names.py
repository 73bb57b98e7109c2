"""The names of ``import manyview``: loaded when they are used, and the same for type checkers."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import manyview

STUB = Path(manyview.__file__).with_suffix(".pyi")


def test_type_checkers_see_the_very_names_that_there_are() -> None:
    imports = [node for node in ast.walk(ast.parse(STUB.read_text())) if isinstance(node, ast.ImportFrom)]
    found = {alias.asname: (str(node.module), alias.name) for node in imports for alias in node.names}
    assert {"__version__", *found} == set(manyview.__all__)
    for name, (module, original) in found.items():
        seen = importlib.import_module(f"manyview.{name}") if module == "manyview" else None
        assert getattr(manyview, name) is (seen or getattr(importlib.import_module(module), original))
