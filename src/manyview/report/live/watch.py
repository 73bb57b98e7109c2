"""``watch``, which is both the command and the Python call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Unpack

from manyview.options.base import StrPath, verb
from manyview.options.report import WatchOptions
from manyview.report.live.server import LiveServer
from manyview.report.live.state import LiveRun
from manyview.report.page.report import gather, own_command


def _ignore(url: str) -> None:
    """Announce nothing."""


@verb(WatchOptions)
def watch(run: StrPath, *, announce: Callable[[str], None] = _ignore, **options: Unpack[WatchOptions]) -> None:
    """Serve a run's report on this machine alone, kept up to date, until it is interrupted.

    Nothing is written, and no file can be asked for: the page, its data and its sections are all there is.

    Args:
        run: the run's folder, which may still be without its first line.
        announce: called once with the page's address.
        **options: as ``WatchOptions`` declares them.

    Raises:
        UserError: the folder holds no run, an option is out of range, or the port is in use.
    """
    with serve(run, **options) as server:
        try:
            announce(server.url)
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return


@verb(WatchOptions)
def serve(run: StrPath, **options: Unpack[WatchOptions]) -> LiveServer:
    """A server of a run's page, which does not serve yet; a context manager that closes it.

    Args:
        run: the run's folder.
        **options: as ``WatchOptions`` declares them.

    Raises:
        UserError: as for ``watch``.
    """
    paths = [Path(run)]
    live = LiveRun(lambda: gather(paths, options, begun=True), own_command(paths, "report.html", options))
    live.snapshot()  # what is wrong with the folder is reported before a port is taken
    return LiveServer(live, options["port"])
