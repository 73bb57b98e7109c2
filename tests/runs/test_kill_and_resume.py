"""A run that was killed, at whatever moment, and resumed ends with the very bytes of one that was not."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.helpers.processes import in_processes
from tests.runs.driver import drive

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork and /proc")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("kills")
    in_processes(drive, folder, processes=1, seconds=280)
    return json.loads((folder / "results.json").read_text())


def all_equal(same: dict[str, bool]) -> bool:
    assert [name for name, equal in same.items() if not equal] == []
    return len(same) == 6


def test_no_piece_of_a_run_failed(results: dict[str, Any]) -> None:
    assert results["failures"] == []


def test_saving_every_step_and_two_workers_change_nothing(results: dict[str, Any]) -> None:
    assert all_equal(results["reference"]["timed"])


def test_random_kills_change_nothing(results: dict[str, Any]) -> None:
    kills = results["random_kills"]

    assert len(kills["kills_after_step"]) >= 10
    assert set(kills["workers"]) == {0, 1, 2}
    assert len(set(kills["kills_after_step"])) >= 3
    assert any(step % 4 for step in kills["kills_after_step"])  # amid an epoch
    assert all(all_equal(same) for same in kills["same"])


@pytest.mark.parametrize("name", ["adamw", "lars"])
def test_kills_change_nothing_with_any_optimizer(results: dict[str, Any], name: str) -> None:
    found = results["optimizers"][name]

    assert 10 <= found["killed_at"] < 24
    assert all_equal(found["same"])


def test_kills_while_saving_change_nothing(results: dict[str, Any]) -> None:
    deaths = results["kills_while_saving"]["deaths"]

    assert deaths["amid the run"][:3] == ["in backbone.safetensors", "in step-*.safetensors", "in step-*.json"]
    for moments in (deaths["amid the run"][3:], deaths["at the last step"]):
        renamed = [moment.split(" ")[1] for moment in moments if moment.startswith("replace")]
        assert [name.startswith(".step") for name in renamed] == [False, True, True]
        assert [".json" in name for name in renamed] == [False, False, True]
        assert moments.index("replace " + renamed[-1]) < len(moments) - 1  # and once the checkpoint stands
    assert deaths["amid the run"][-1] == "end of save"
    assert any(moment.startswith("unlink step") for moment in deaths["amid the run"])
    assert all_equal(results["kills_while_saving"]["same"])


def test_signals_save_and_end_the_run(results: dict[str, Any]) -> None:
    signals = results["signals"]

    assert signals["statuses"] == [143, 130]
    for step, words in zip(signals["steps"], signals["words"], strict=True):
        assert f"Stopped and saved after step {step}; continue with --resume." in words
        assert "Traceback" not in words
    assert 0 < signals["steps"][0] < signals["steps"][1] < 24
    assert f"Resumed after step {signals['steps'][0]} of 24." in signals["words"][1]
    assert all_equal(signals["same"])


def test_second_process_is_refused_until_the_first_is_dead(results: dict[str, Any]) -> None:
    two = results["two_processes"]

    assert two["refused"] == 7
    assert "another process is working in" in two["words"]
    assert two["orphans"] == 0  # its workers have ended with the killed process
    assert two["resumed"] == 0
    assert all_equal(two["same"])
