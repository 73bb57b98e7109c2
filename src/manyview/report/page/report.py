"""``report``, which is both the command and the Python call."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Unpack

from manyview.errors import UserError, require
from manyview.options.base import StrPath, defaults, verb
from manyview.options.report import ReportOptions, WatchOptions
from manyview.report.page.curves import Group, charts, to_data
from manyview.report.page.markup import Html, note
from manyview.report.page.page import render
from manyview.report.page.reading.evaluations import made_from, search, unused
from manyview.report.page.reading.run import read_run, run_names
from manyview.report.page.sections.curves import curves
from manyview.report.page.sections.details import commands, files, settings
from manyview.report.page.sections.evaluations import classes, detection, evaluations
from manyview.report.page.sections.overview import overview
from manyview.report.page.sections.pictures import dense, detections, neighbors, views
from manyview.report.page.sections.section import Material, Section
from manyview.runs import atomic_write
from manyview.runs.files import make_folder
from manyview.runs.outputs import require_own
from manyview.runs.progress import Progress, no_progress

MOST_RUNS, MOST_IMAGES = 8, 12
Kept = Mapping[str, Html]
_NONE_KEPT: Kept = MappingProxyType({})


@verb(ReportOptions)
def write_report(
    runs: StrPath | Sequence[StrPath], *, progress: Progress = no_progress, **options: Unpack[ReportOptions]
) -> Path:
    """Write a report on runs as one HTML file that needs no network.

    It shows what was trained on what, the views, the curves with a diagnosis in words, the evaluations of the weights
    with their baselines, classes, few labels, dense features, neighbors and detections, skipped files, settings and the
    commands that repeat it; several runs are drawn over each other. Evaluations are found beside the runs and in them
    by the weights that they record. What is missing or damaged is a sentence on the page.

    Args:
        runs: folder of a run, or several.
        progress: called as work goes on.
        **options: as ``ReportOptions`` declares them.

    Returns:
        the file.

    Raises:
        UserError: a folder holds no run, an option is out of range, or the file cannot be written or is not a report.
    """
    paths = _paths(runs)
    out = Path(options["out"])
    check_out(out)
    material = gather(paths, options)
    groups = charts(material.runs)
    sections = all_sections(material, groups, own_command(paths, out, options), progress)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = render(material, sections, to_data(material.runs, groups), f"Written by manyview report on {now}.")
    make_folder(out.parent)
    atomic_write(out, page)
    return out


def check_out(out: Path) -> None:
    """Refuse a file that is no page, or that another command wrote.

    Raises:
        UserError: as above.
    """
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name the file to write in it, as in {out / 'report.html'}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {out} must end in .html")
    require_own("report", [out])


def gather(paths: Sequence[Path], options: ReportOptions | WatchOptions, *, begun: bool = False) -> Material:
    """Read runs and the results that measured them.

    Args:
        paths: folders of the runs.
        options: which results, images and pictures; without an entry for dense features, they are left out.
        begun: also accept runs that have not been recorded yet.

    Raises:
        UserError: a folder holds no run or no result, there are too many runs, or an option is out of range.
    """
    count, images = options["photographs"], options["images"]
    require(0 <= count <= MOST_IMAGES, f"--photos must be from 0 to {MOST_IMAGES}, not {count}")
    require(0 < len(paths) <= MOST_RUNS, f"a report shows from one to {MOST_RUNS} runs, not {len(paths)}")
    repeated = next(
        (path for n, path in enumerate(paths) if path.resolve() in [each.resolve() for each in paths[:n]]), None
    )
    require(repeated is None, f"{repeated} is named twice: name each run once")
    runs = tuple(read_run(path, name, begun=begun) for path, name in zip(paths, run_names(list(paths)), strict=True))
    found = search(paths, map(Path, options["evaluations"]))
    where = Path(images) if images is not None else None
    if where is not None and not where.exists():
        raise UserError(f"--images {where} does not exist: name the folder of the images, or leave it out")
    results = tuple(tuple(made_from(run, found)) for run in runs)
    faults = found.faults + unused(found, chain.from_iterable(results))
    return Material(runs, results, faults, where, count, bool(options.get("dense_features")))


def all_sections(
    material: Material, groups: Sequence[Group], own: str, progress: Progress = no_progress, kept: Kept = _NONE_KEPT
) -> list[Section]:
    """The sections of a page, in order.

    Args:
        material: what they are made of.
        groups: charts of the runs.
        own: the command that writes the page.
        progress: called as dense features are drawn.
        kept: content by key that was made before and is not made again.
    """
    sections: list[tuple[str, str, str, Callable[[], Html | None]]] = [
        ("overview", "Overview", "What was trained", lambda: overview(material)),
        ("evaluations", "Evaluations", "What the weights are worth", lambda: evaluations(material)),
        ("classes", "Classes", "Class by class", lambda: classes(material)),
        ("curves", "Curves", "How it went", lambda: curves(material, groups)),
        ("views", "Views", "What it was shown", lambda: views(material)),
        ("dense", "Features", "What the features see", lambda: dense(material, progress)),
        ("neighbors", "Neighbors", "What it finds alike", lambda: neighbors(material)),
        ("detection", "Detection", "In a detector", lambda: detection(material, detections(material))),
        ("settings", "Settings", "Settings", lambda: settings(material)),
        ("files", "Files", "Files and environment", lambda: files(material)),
        ("commands", "Commands", "Commands that repeat it", lambda: commands(material, own)),
    ]
    made = [(key, title, kept.get(key) or _made(make), short) for key, short, title, make in sections]
    return [Section(key, title, content, short) for key, title, content, short in made if content is not None]


def _made(make: Callable[[], Html | None]) -> Html | None:
    """Content of a section; of files that hold something else than was ever written into them, a sentence instead."""
    try:
        return make()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, ZeroDivisionError):
        return note("This part cannot be shown, as a file that it is made from is damaged.")


def _paths(runs: StrPath | Sequence[StrPath]) -> list[Path]:
    return [Path(runs)] if isinstance(runs, str) or not isinstance(runs, Sequence) else [Path(run) for run in runs]


def own_command(paths: Sequence[Path], out: StrPath, options: ReportOptions | WatchOptions) -> str:
    """The command line that writes a page.

    Args:
        paths: folders of the runs.
        out: the page.
        options: of which those that are not the defaults are named.
    """
    words = ["manyview", "report", *map(str, paths), "--out", str(out)]
    for path in options["evaluations"]:
        words += ["--evaluations", str(path)]
    if options["images"] is not None:
        words += ["--images", str(options["images"])]
    if options["photographs"] != defaults(ReportOptions)["photographs"]:
        words += ["--photos", str(options["photographs"])]
    if options.get("dense_features") is False:
        words.append("--no-dense-features")
    return shlex.join(words)
