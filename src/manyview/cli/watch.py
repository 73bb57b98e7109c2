"""``manyview watch``."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from manyview.cli.parts.command import command
from manyview.options.report import WatchedRun, WatchOptions


@command(WatchedRun, WatchOptions)
def watch(run: Path, **options: Unpack[WatchOptions]) -> None:
    """Show a run's report in a browser while it trains.

    The page is served on this machine alone and follows the run, also across a stop and --resume. Ctrl-C ends it; the
    run does not notice.

    Example: manyview watch runs/a
    """
    from manyview.report.live import watch as serve_run
    from manyview.terminal import SafeConsole

    def announce(url: str) -> None:
        console = SafeConsole()
        console.print(f"{run} is shown at {url} on this machine; Ctrl-C ends it.", highlight=False, soft_wrap=True)

    serve_run(run, **options, announce=announce)
