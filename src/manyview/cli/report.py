"""``manyview report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from manyview.cli.parts.command import command
from manyview.options.report import ReportedRuns, ReportOptions


@command(ReportedRuns, ReportOptions)
def report(runs: Sequence[Path], **options: Unpack[ReportOptions]) -> None:
    """Write a report on runs: one HTML file, without network, to read, print and send.

    What was trained, how it went, what the weights are worth, and how to repeat it; several runs side by side.
    Evaluations are found beside the runs by the weights that they measured.

    Example: manyview report runs/a runs/b --out report.html
    """
    from manyview.cli.parts.progress import phases
    from manyview.report.page import write_report
    from manyview.terminal import SafeConsole

    with phases() as progress:
        out = write_report(runs, **options, progress=progress)
    size = out.stat().st_size / 1e6
    SafeConsole().print(f"Written: {out} ({size:.1f} MB)", highlight=False, markup=False, soft_wrap=True)
