"""The limits that keep the package readable: files, folders, functions, import cycles."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks import structure
from tests.conftest import SLOW

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def sources() -> list[structure.Source]:
    return structure.read_sources(ROOT)


def test_files_can_be_read_in_one_sitting(sources: list[structure.Source]) -> None:
    assert {source.path: source.lines for source in sources if source.lines > structure.LARGE} == {}


def test_folders_can_be_taken_in_at_a_glance(sources: list[structure.Source]) -> None:
    files = Counter(source.folder for source in sources)
    assert {folder: count for folder, count in files.items() if count > structure.WIDE} == {}


def test_functions_take_few_parameters(sources: list[structure.Source]) -> None:
    functions = [(source.path, node.name, structure.parameters(node)) for source, node in structure.functions(sources)]
    assert [found for found in functions if found[2] > structure.PARAMETERS] == []


def test_imports_make_no_circle(sources: list[structure.Source]) -> None:
    assert structure.cycles(structure.import_graph(sources)) == []


def test_what_is_marked_slow_exists() -> None:
    assert [path for path in SLOW if not (ROOT / "tests" / path).exists()] == []
