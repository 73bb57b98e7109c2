"""``manyview compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from manyview.cli.parts.command import command
from manyview.options.labeled import CompareOptions, Evaluations


@command(Evaluations, CompareOptions)
def compare(
    evaluations: Sequence[Path],
    groups: Sequence[str] | None,
    baseline: str | None,
    classes: str,
    out: Path | None,
) -> None:
    """Compare evaluations: mean and standard deviation over seeds, differences to a baseline, class by class.

    Evaluations that differ only in their seeds form a group; a folder of evaluations is one or several.

    Example: manyview compare runs/a-knn runs/b-knn --out runs/a-b

    With seeds: manyview compare --group "a=runs/a-seed*-knn" --group "b=runs/b-seed*-knn" --out runs/a-b
    """
    shown = _count(classes)
    by_name = dict(map(_group, groups or ()))
    _refuse_twice([text.partition("=")[0] for text in groups or ()])

    from manyview.evaluation.compare import compare as compare_evaluations
    from manyview.evaluation.compare import format_comparison
    from manyview.terminal import SafeConsole

    result = compare_evaluations(evaluations, groups=by_name, baseline=baseline, classes=shown, out=out)
    console = SafeConsole()
    console.print(format_comparison(result, shown))
    if out is not None:
        files = ", ".join(str(out / name) for name in ("comparison.md", "comparison.csv", "comparison.png"))
        console.print(f"Written to {out / 'metrics.json'}, {files}", highlight=False, markup=False, soft_wrap=True)


def _count(text: str) -> int | None:
    from manyview.errors import UserError

    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--classes is {text}: give a number from 1, or all")
    return int(text)


def _group(text: str) -> tuple[str, list[Path]]:
    """The name and the paths of a group, given as paths and patterns."""
    import glob

    from manyview.errors import UserError

    name, equals, paths = text.partition("=")
    pieces = [piece for piece in paths.split(",") if piece]
    if not (name and equals and pieces):
        raise UserError(f"--group {text}: give a name and its evaluations, as in --group a=runs/a-seed0,runs/a-seed1")
    found: list[Path] = []
    for piece in pieces:
        pattern = glob.has_magic(piece) and not Path(piece).exists()
        matches = sorted(glob.glob(piece)) if pattern else [piece]  # noqa: PTH207 - a pattern may be absolute
        if not matches:
            raise UserError(f"--group {text}: nothing is called {piece}")
        found += map(Path, matches)
    return name, found


def _refuse_twice(names: list[str]) -> None:
    from manyview.errors import UserError

    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--group {name} is given twice: name all its evaluations in one, separated by commas")
