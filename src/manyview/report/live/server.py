"""A server for this machine alone: fixed routes, nothing from the file system, no requests by way of other names."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from manyview.errors import UserError
from manyview.report.live.state import LiveRun
from manyview.report.page.page import policy

ADDRESS = "127.0.0.1"
_SECTION = "/section/"
_BROKEN = (ConnectionError, TimeoutError)


class LiveServer(ThreadingHTTPServer):
    """Serves one run's page.

    Args:
        run: what is served.
        port: of this machine; 0 for any that is free.

    Raises:
        UserError: the port is in use, out of range, or not to be had.
    """

    daemon_threads = True
    # Where the port of a server that has just ended would be refused; but never that of another one that listens.
    allow_reuse_address = True

    def __init__(self, run: LiveRun, port: int) -> None:
        self.run = run
        if not 0 <= port <= 65535:
            raise UserError(f"--port must be from 0 to 65535, not {port}")
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UserError(
                    f"port {port} is in use, perhaps by another manyview watch: take another, as in --port {port + 1}, "
                    "or --port 0 for any that is free"
                ) from error
            raise UserError(f"port {port} cannot be opened ({error.strerror}): take another, above 1023") from error

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that goes away is no error."""
        import sys

        if not isinstance(sys.exc_info()[1], _BROKEN):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers for the fixed routes."""

    server: LiveServer
    server_version = "manyview"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not printed."""

    def _answer(self, *, with_body: bool) -> None:
        status, content_type, body = self._found()
        content = body.encode("utf-8", "backslashreplace")
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{content_type}; charset=utf-8",
            "Content-Length": str(len(content)),
            "Content-Security-Policy": f"{policy(True)}; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def _found(self) -> tuple[HTTPStatus, str, str]:
        """The answer to a request. The path is compared with fixed routes, and never reaches the file system."""
        if not self._from_here():
            # A page from elsewhere whose name was made to point to this machine would read what the run's owner sees.
            return HTTPStatus.FORBIDDEN, "text/plain", f"This page is only for {self.server.url}\n"
        path = self.path.split("?", 1)[0]
        makers: dict[str, Callable[[], tuple[str, str]]] = {
            "/": lambda: ("text/html", self.server.run.snapshot().page),
            "/data.json": lambda: ("application/json", json.dumps(self.server.run.snapshot().data, allow_nan=False)),
        }
        if path in makers:
            content_type, body = makers[path]()
            return HTTPStatus.OK, content_type, body
        if path.startswith(_SECTION):
            section = self.server.run.snapshot().sections.get(path.removeprefix(_SECTION))
            if section is not None:
                return HTTPStatus.OK, "text/html", section
        return HTTPStatus.NOT_FOUND, "text/plain", "There is no such page.\n"

    def _from_here(self) -> bool:
        port = self.server.server_address[1]
        return self.headers.get("Host", "") in (f"{ADDRESS}:{port}", f"localhost:{port}")
