"""The live page: fixed routes for this machine alone, and a run that begins, goes on, stops and is resumed."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from manyview.errors import UserError
from manyview.report.live import watch
from manyview.report.live.server import LiveServer
from manyview.report.live.watch import serve
from manyview.report.page.reading import run as reading_run
from manyview.runs import RunFolder
from tests.helpers.pages import Page, check_page
from tests.helpers.reports import write_linear, write_log, write_run
from tests.helpers.tiny import photos

__all__ = ["photos"]


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(write_run(tmp_path / "run", photos, steps=10))


@pytest.fixture
def server(run: RunFolder) -> Iterator[LiveServer]:
    with serve(run.path, port=0, photographs=1) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: LiveServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=240)  # type: ignore[arg-type]
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return found


def state(server: LiveServer) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(ask(server, "/data.json")[1])
    return content


def test_the_page_is_the_reports_and_polls(server: LiveServer) -> None:
    status, html, headers = ask(server, "/?x=1")
    page = Page(html)
    check_page(page)
    assert status == 200
    assert page.all("body", **{"data-live": ""})
    assert "connect-src 'self'" in headers["content-security-policy"]
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert len(page.all("img")) == 10
    data = state(server)
    assert data["data"] == page.data
    assert data["data"]["sections"].keys() == {found["id"] for found in page.all("section")}
    for key in data["data"]["sections"]:
        assert ask(server, f"/section/{key}")[1] in html
    assert ask(server, "/", "HEAD")[:2] == (200, "")


@pytest.mark.parametrize(
    "path",
    [
        "/config.json",
        "/run/config.json",
        "/../config.json",
        "/section/../config.json",
        "/section/%2e%2e/config.json",
        "/section/",
        "/data.json/..",
        "/etc/passwd",
        "/assets/page.js",
    ],
)
def test_nothing_else_can_be_asked_for(server: LiveServer, path: str) -> None:
    assert ask(server, path)[:2] == (404, "There is no such page.\n")


def test_other_names_and_methods_are_refused(server: LiveServer) -> None:
    port = server.server_address[1]
    assert server.server_address[0] == "127.0.0.1"
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil.example:{port}", ""):
        for path in ("/", "/data.json", "/section/overview"):
            status, body, _ = ask(server, path, Host=host)
            assert status == 403
            assert body == f"This page is only for http://127.0.0.1:{port}/\n"
    assert ask(server, "/data.json", Host=f"localhost:{port}")[0] == 200
    assert ask(server, "/data.json", "POST")[0] == 501


@pytest.fixture
def _always_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyview.report.live.state._FRESH_SECONDS", 0.0)


@pytest.mark.usefixtures("_always_new")
def test_the_page_follows_the_run(server: LiveServer, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = state(server)
    monkeypatch.setattr("manyview.report.page.report.views", lambda _: pytest.fail("the views are drawn again"))
    assert (first["state"], first["data"]["charts"][0]["series"][0]["x"]) == ("stopped", [5, 10])
    run.lock()
    try:
        assert state(server)["state"] == "working"
        write_log(run, range(11, 26))
        later = state(server)
        assert later["data"]["charts"][0]["series"][0]["x"] == [5, 10, 15, 20, 25]
        assert "25 of 40 steps" in later["status"]
        assert later["data"]["sections"]["views"] == first["data"]["sections"]["views"]
        assert later["data"]["sections"]["overview"] != first["data"]["sections"]["overview"]
        assert later["data"]["sections"]["curves"] == first["data"]["sections"]["curves"], (
            "the same charts, redrawn from the data"
        )
    finally:
        run.unlock()
    run.drop_metrics_after(20)  # as a resumed run does
    write_log(run, range(21, 41))
    done = state(server)
    assert (done["state"], done["data"]["charts"][0]["series"][0]["x"][-1]) == ("finished", 40)
    write_linear(run.path / "linear", run.weights, ["a", "b"])
    assert state(server)["data"]["sections"]["evaluations"] != done["data"]["sections"]["evaluations"]


@pytest.mark.usefixtures("_always_new")
def test_a_folder_that_goes_is_said_and_the_page_stays(server: LiveServer, run: RunFolder) -> None:
    page = ask(server, "/")[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading_run, "read_lines", mock.Mock(side_effect=PermissionError(13, "Permission denied")))
        refused = state(server)
    assert (refused["state"], "Permission denied" in refused["status"]) == ("stale", True)
    shutil.move(run.path, run.path.with_name("moved"))
    lost = state(server)
    assert lost["state"] == "stale"
    assert "does not exist" in lost["status"]
    assert ask(server, "/")[1] == page


def test_a_run_without_its_first_line_is_starting(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "new")
    run.create()
    try:
        with serve(run.path, port=0, photographs=1) as server:
            snapshot = server.run.snapshot()
    finally:
        run.unlock()
    assert snapshot.data["state"] == "starting"
    check_page(Page(snapshot.page))
    assert "There are no curves yet" in snapshot.page


def test_mistakes_are_one_sentence(run: RunFolder, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"^port {port} is in use, .* --port {port + 1}"):
            watch(run.path, port=port, photographs=0)
    with pytest.raises(UserError, match="from 0 to 65535, not 65536"):
        watch(run.path, port=65536, photographs=0)
    with pytest.raises(UserError, match="does not exist: name the folder of a run"):
        watch(tmp_path / "none", port=0)


def test_ctrl_c_ends_it(run: RunFolder) -> None:
    said: list[str] = []

    def interrupt(url: str) -> None:
        """Press Ctrl-C once the page has been served."""
        connection = http.client.HTTPConnection(url.split("/")[2], timeout=240)
        connection.request("GET", "/data.json")
        said.append(url * (connection.getresponse().status == 200))
        connection.close()
        os.kill(os.getpid(), signal.SIGINT)

    watch(run.path, port=0, photographs=0, announce=lambda url: threading.Thread(target=interrupt, args=(url,)).start())
    [url] = said
    assert url.startswith("http://127.0.0.1:")
    with socket.socket() as free:  # the port is given back
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", int(url.rsplit(":", 1)[1].strip("/"))))
