"""``report``, which is both the command and the Python call."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Unpack

from manyview.errors import UserError, require
from manyview.options.base import StrPath, verb
from manyview.options.report import ReportOptions
from manyview.report.page.curves import charts, to_data
from manyview.report.page.markup import note
from manyview.report.page.page import render
from manyview.report.page.reading.evaluations import made_from, search
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
    count = options["photographs"]
    require(0 <= count <= MOST_IMAGES, f"--photos must be from 0 to {MOST_IMAGES}, not {count}")
    material = gather(
        paths, options["evaluations"], images=options["images"], count=count, dense=options["dense_features"]
    )
    own = _command(paths, options)
    sections = all_sections(material, own, progress)
    groups = charts(material.runs)
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


def gather(
    paths: Sequence[Path],
    evaluations: Iterable[StrPath] = (),
    *,
    images: StrPath | None = None,
    count: int = 3,
    dense: bool = True,
    begun: bool = False,
) -> Material:
    """Read runs and the results that measured them.

    Args:
        paths: folders of the runs.
        evaluations: folders of results that do not lie beside them.
        images: folder of the images, if not the runs' own.
        count: images to draw.
        dense: whether dense features are drawn.
        begun: also accept runs that have not been recorded yet.

    Raises:
        UserError: a folder holds no run or no result, or there are too many runs.
    """
    require(0 < len(paths) <= MOST_RUNS, f"a report shows from one to {MOST_RUNS} runs, not {len(paths)}")
    repeated = next(
        (path for n, path in enumerate(paths) if path.resolve() in [each.resolve() for each in paths[:n]]), None
    )
    require(repeated is None, f"{repeated} is named twice: name each run once")
    runs = tuple(read_run(path, name, begun=begun) for path, name in zip(paths, run_names(list(paths)), strict=True))
    found = search(paths, map(Path, evaluations))
    where = Path(images) if images is not None else None
    if where is not None and not where.exists():
        raise UserError(f"--images {where} does not exist: name the folder of the images, or leave it out")
    results = tuple(tuple(made_from(run, found)) for run in runs)
    return Material(runs, results, found.faults, where, count, dense)


def all_sections(
    material: Material, own: str, progress: Callable[[int, int, str], None] = no_progress
) -> list[Section]:
    """The sections of a page, in order."""
    groups = charts(material.runs)
    makers: dict[str, Callable[[], Section | None]] = {
        "What was trained": lambda: overview(material),
        "What the weights are worth": lambda: evaluations(material),
        "Class by class": lambda: classes(material),
        "How it went": lambda: curves(material, groups),
        "What it was shown": lambda: views(material),
        "What the features see": lambda: dense(material, progress),
        "What it finds alike": lambda: neighbors(material),
        "In a detector": lambda: detection(material, detections(material)),
        "Settings": lambda: settings(material),
        "Files and environment": lambda: files(material),
        "Commands that repeat it": lambda: commands(material, own),
    }
    made = [_made(title, make) for title, make in makers.items()]
    return [section for section in made if section is not None]


def _made(title: str, make: Callable[[], Section | None]) -> Section | None:
    """A section; of files that hold something else than was ever written into them, a sentence in its stead."""
    try:
        return make()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, ZeroDivisionError):
        key = title.lower().replace(" ", "-")
        return Section(key, title, note("This part cannot be shown, as a file that it is made from is damaged."), title)


def _paths(runs: StrPath | Sequence[StrPath]) -> list[Path]:
    return [Path(runs)] if isinstance(runs, str) or not isinstance(runs, Sequence) else [Path(run) for run in runs]


def _command(paths: Sequence[Path], options: Any) -> str:
    """The command line that writes this page."""
    words = ["manyview", "report", *map(str, paths), "--out", str(options["out"])]
    for path in options["evaluations"]:
        words += ["--evaluations", str(path)]
    if options["images"] is not None:
        words += ["--images", str(options["images"])]
    return shlex.join(words)
