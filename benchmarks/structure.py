"""How the package is built, in figures: files, folders, functions, names that occur twice, import cycles.

    python -m benchmarks.structure                               this checkout
    python -m benchmarks.structure --against ../old-checkout     the other one as "before", this one as "after"

The sources below src/manyview are parsed, never imported; needs nothing but Python's own library.
"""

from __future__ import annotations

import argparse
import ast
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "manyview"
SMALL, LARGE = 60, 500  # lines of a file
WIDE = 18  # files of a folder
PARAMETERS = 12
WIDEST = 5  # functions that are named
WORD = "photograph"
# The functions behind the commands, which may have as many parameters as the commands have options. The commands
# themselves are the functions in cli/ that are called as their files are.
VERBS = frozenset(
    {"pretrain", "linear_evaluation", "knn_evaluation", "low_label_evaluation", "nearest_neighbours", "embed"}
    | {"check_weights", "compare", "fine_tune", "predict", "export_backbone"}
)

Function = ast.FunctionDef | ast.AsyncFunctionDef
_OWN_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Source:
    """One file: its path from the package's folder on, its text, and the text's tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def module(self) -> str:
        parts = self.path.removesuffix(".py").split("/")
        return ".".join([PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)])

    def nodes(self, *types: type[ast.AST]) -> Iterator[Any]:
        return (node for node in ast.walk(self.tree) if isinstance(node, types))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.structure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path, nargs="?", default=ROOT, help="unset: this one")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="the one before")
    options = parser.parse_args(arguments)
    columns = {"now": measure(read_sources(options.checkout))}
    if options.against:
        columns = {"before": measure(read_sources(options.against)), "after": columns["now"]}
    print(table(columns))


def read_sources(checkout: Path) -> list[Source]:
    """All Python files of the package in a checkout, sorted by path.

    Raises:
        SystemExit: there are none.
    """
    root = checkout / "src" / PACKAGE
    texts = {path.relative_to(root).as_posix(): path.read_text() for path in sorted(root.rglob("*.py"))}
    if not texts:
        raise SystemExit(f"{root} holds no Python files")
    return [Source(path, text, ast.parse(text)) for path, text in texts.items()]


def measure(sources: Sequence[Source]) -> dict[str, str]:
    """Every figure by its name, as text for a table."""
    lengths = [_length(node) - _docstring_length(node) for _, node in functions(sources)]
    median, high = (percentile(lengths, share) for share in (50, 90))
    return {
        **_files(sources),
        **_parameters(sources),
        "function lines but docstrings, median / 90th percentile": f"{median} / {high}",
        "class names that occur twice": _named(twice(node.name for s in sources for node in s.nodes(ast.ClassDef))),
        "basenames that occur twice, but `__init__.py`": _named(twice(s.name for s in sources if _is_module(s))),
        "import cycles": _named([" - ".join(cycle) for cycle in cycles(import_graph(sources))]),
        f'"{WORD}" in the sources': f"{sum(source.text.lower().count(WORD) for source in sources):,}",
    }


def _files(sources: Sequence[Source]) -> dict[str, str]:
    small = sum(source.lines < SMALL for source in sources if _is_module(source))
    folders = Counter(source.folder for source in sources)
    widest = max(folders, key=lambda folder: (folders[folder], folder))
    largest = max(sources, key=lambda source: source.lines)
    evaluation = sum(source.lines for source in sources if source.path.startswith("evaluation/"))
    return {
        "`.py` files": str(len(sources)),
        f"files under {SMALL} lines, but `__init__.py`": f"{small} ({small / len(sources):.0%})",
        "widest folder": f"{folders[widest]} (`{widest or PACKAGE}/`)",
        f"folders of more than {WIDE} files": str(sum(count > WIDE for count in folders.values())),
        "largest file": f"{largest.lines} lines (`{largest.path}`)",
        f"files over {LARGE} lines": str(sum(source.lines > LARGE for source in sources)),
        "lines": f"{sum(source.lines for source in sources):,}",
        "lines of `evaluation/`": f"{evaluation:,}",
    }


def _parameters(sources: Sequence[Source]) -> dict[str, str]:
    found = [(parameters(node), node.name, source) for source, node in functions(sources)]
    found.sort(key=lambda item: (-item[0], item[2].path, item[1]))
    wide = [(name, source) for count, name, source in found if count > PARAMETERS]
    others = sum(not is_verb(name, source.path) for name, source in wide)
    named = [
        f"{count} `{source.path}:{name}`" + (" (verb)" if is_verb(name, source.path) else "")
        for count, name, source in found[:WIDEST]
    ]
    return {
        "widest functions, by parameters": ", ".join(named),
        f"functions of more than {PARAMETERS} parameters": str(len(wide)),
        "of these no public verbs": str(others),
    }


def functions(sources: Iterable[Source]) -> Iterator[tuple[Source, Function]]:
    for source in sources:
        for node in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
            yield source, node


def _length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _docstring_length(function: Function) -> int:
    return _length(function.body[0]) if ast.get_docstring(function, clean=False) is not None else 0


def parameters(function: Function) -> int:
    """How many parameters a function declares, ``*args`` and ``**kwargs`` one each; not ``self`` or ``cls``."""
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    bound = bool(names) and names[0] in ("self", "cls")
    return len(names) - bound + len(given.kwonlyargs) + (given.vararg is not None) + (given.kwarg is not None)


def is_verb(name: str, path: str) -> bool:
    """Whether a function is a command, or what it calls and users call in Python."""
    return path == f"cli/{name}.py" or (name in VERBS and not path.startswith("cli/"))


def percentile(numbers: Sequence[int], share: int) -> int:
    """The smallest of the numbers that at least so many percent of them do not exceed; 0 of none."""
    ordered = sorted(numbers)
    return ordered[max(math.ceil(len(ordered) * share / 100), 1) - 1] if ordered else 0


def twice(names: Iterable[str]) -> list[str]:
    """Names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def import_graph(sources: Sequence[Source]) -> dict[str, set[str]]:
    """For each module those of the package that it imports while it is itself imported.

    Imports inside functions and for type checkers alone are left out, and so are those of a package by its own modules
    that Python makes without a statement.
    """
    known = {source.module for source in sources}
    return {source.module: set(_imported(source, known)) - {source.module} for source in sources}


def _imported(source: Source, known: set[str]) -> Iterator[str]:
    package = source.module if source.name == "__init__.py" else source.module.rpartition(".")[0]
    for node in _executed(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")
            base = ".".join([*above[: len(above) + 1 - node.level], *filter(None, [node.module])])
            base = base if node.level else node.module or ""
            for alias in node.names:
                yield from [name for name in (f"{base}.{alias.name}", base) if name in known][:1]


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those in functions and under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _OWN_SCOPE):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _executed(child)


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which imports all others, directly or through others; sorted."""
    reach = {name: _reachable(graph, name) for name in graph}
    groups = {frozenset(other for other in reach[name] if name in reach[other]) for name in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    ahead = [start]
    while ahead:
        for name in graph[ahead.pop()] - found:
            found.add(name)
            ahead.append(name)
    return found


def table(columns: Mapping[str, Mapping[str, str]]) -> str:
    """Markdown, a row for each figure and a column for each checkout."""
    names = next(iter(columns.values()))
    rows = [["", *columns], ["---"] * (1 + len(columns))]
    rows += [[name, *(figures[name] for figures in columns.values())] for name in names]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _is_module(source: Source) -> bool:
    return source.name != "__init__.py"


def _named(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names)})" if names else "0"


if __name__ == "__main__":
    main()
