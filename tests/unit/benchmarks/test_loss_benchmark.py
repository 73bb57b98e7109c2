"""The comparison of losses on vectors so few that its figures mean nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.loss import __main__ as bench
from benchmarks.loss import contestants
from benchmarks.loss.child import serve
from benchmarks.loss.contestants import CONTESTANTS, DENSE, STREAMED, TEMPERATURE, VIEWS, Contestant
from benchmarks.loss.show import draw, markdown
from manyview.losses import image_aware
from references import contrastive

# What other libraries warn of is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")
DIM, SIZES = 6, (16, 32)


@contextmanager
def in_a_thread(contestant: Contestant, count: int, dim: int, device: str) -> Iterator[Connection]:
    """As ``running``, without a process, which would import everything anew."""
    here, there = Pipe()
    thread = Thread(target=serve, args=(there, contestant.name, count, dim, device), daemon=True)
    thread.start()
    yield here
    here.send(None)
    thread.join()


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("loss")
    (folder / "page.md").write_text("before\n<!-- loss -->\n<!-- end of loss -->\nafter\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "running", in_a_thread)
        given = ["--sizes", *map(str, SIZES), "--dim", str(DIM), "--rounds", "2", "--keep-free", "0"]
        bench.main([*given, "--out", str(folder / "out.json"), "--page", str(folder / "page.md")])
    return {**json.loads((folder / "out.json").read_text()), "page": (folder / "page.md").read_text()}


def test_all_compute_the_same_loss(result: dict[str, Any]) -> None:
    assert {STREAMED, DENSE} <= result["sizes"]["16"]["losses"].keys()
    for count in SIZES:
        z = torch.randn(count, DIM, generator=torch.Generator().manual_seed(0)).double().numpy()
        for each in CONTESTANTS:
            if each.is_installed:
                ids = torch.arange(count).numpy() // (2 if each.pairs else VIEWS)
                expected = contrastive.image_aware_terms(z, ids, TEMPERATURE, "out").mean()
                assert result["sizes"][str(count)]["losses"][each.name]["loss"] == pytest.approx(expected, rel=1e-4)


def test_ratios_follow_from_the_seconds_of_the_rounds(result: dict[str, Any]) -> None:
    for size in result["sizes"].values():
        seconds = {name: about["seconds"] for name, about in size["losses"].items()}
        assert {len(values) for values in seconds.values()} == {2}
        for name, about in size["losses"].items():
            ratios = [theirs / ours for theirs, ours in zip(seconds[name], seconds[STREAMED], strict=True)]
            assert (about["times_as_long"]["lowest"], about["times_as_long"]["highest"]) == (min(ratios), max(ratios))
    assert result["page"].startswith(f"before\n<!-- loss -->\nVectors of {DIM} dimensions, {VIEWS} of an image")


def test_contestants_in_threads_leave_the_limit_of_the_whole_matrix_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, usual = [], image_aware.DENSE

    def slow(*_: object) -> torch.Tensor:
        before = image_aware.DENSE
        time.sleep(0.02)
        seen.append((before, image_aware.DENSE))
        return torch.zeros(())

    monkeypatch.setattr(contestants, "image_aware_loss", slow)
    losses = [contestants.ours(dense)(16, torch.device("cpu")) for dense in (True, False)] * 2
    with ThreadPoolExecutor(len(losses)) as threads:
        list(threads.map(lambda loss: loss(torch.zeros(16, DIM)), losses))
    assert sorted(seen) == [(0, 0), (0, 0), (16, 16), (16, 16)]
    assert usual == image_aware.DENSE


def test_what_would_not_fit_is_left_out(result: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    smaller = {"32": {"losses": {DENSE: {"extra_bytes": 1e9}, STREAMED: {"extra_bytes": 1e12}}}}
    options = SimpleNamespace(device="cpu", keep_free=2)
    monkeypatch.setattr(bench, "available", lambda device: 7e9)
    assert bench.fits(DENSE, 64, smaller, options)  # 4 of the 5 GB that may be taken
    assert not bench.fits(DENSE, 128, smaller, options)
    assert not bench.fits("lightly", 64, smaller, options)  # which was left out before
    assert bench.fits("lightly", 64, {}, options)
    assert bench.fits(STREAMED, 64, smaller, options)


def test_tables_and_plot_have_gaps_where_a_loss_was_left_out(result: dict[str, Any], tmp_path: Path) -> None:
    losses = result["sizes"]["32"]["losses"]
    gaps = {**result["sizes"], "32": {**result["sizes"]["32"], "losses": {STREAMED: losses[STREAMED]}}}
    rows = [line for line in markdown({**result, "sizes": gaps}).splitlines() if line.startswith(f"| {DENSE} |")]
    assert [row.endswith("|  |") for row in rows] == [True, True]
    draw({**result, "sizes": gaps}, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 10_000


def test_sizes_are_whole_images(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.parse(["--sizes", "100"])
    assert "multiples of 8" in capsys.readouterr().err
