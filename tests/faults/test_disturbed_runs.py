"""A few faults of each sort end equal; and the campaign notices what does not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.faults.__main__ import main
from tests.faults.campaign import Campaign, Outcome, summary
from tests.faults.types import TYPES
from tests.faults.workloads import Data, Workload
from tests.helpers.processes import in_processes

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork and /proc")


def disturb(_: int, out: Path) -> None:
    """The command, in a process that has imported what runs do, so that those it forks begin without threads."""
    words = ["--seed", "5", "--count", "6", "--stride", "4", "--only", "pretrain", "--out", str(out)]
    with patch.object(sys, "argv", ["faults", *words]):
        assert main() == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six faults, every fourth type."""
    out = tmp_path_factory.mktemp("faults")
    in_processes(disturb, out, processes=1, seconds=280)
    return out


def test_disturbed_runs_end_equal(made: Path) -> None:
    report = json.loads((made / "faults.json").read_text())
    assert len(report["faults"]) == 6
    assert len({fault["type"] for fault in report["faults"]}) == 6
    assert report["counts"]["all"].get("equal", 0) >= 5
    assert sum(report["counts"]["all"].values()) == 6


def test_what_differs_is_noticed(made: Path) -> None:
    workload = Workload("pretrain", Data(made / "work" / "data"))
    out = made / "work" / "undisturbed-pretrain"
    expected = workload.result(out)
    for name in ("backbone.safetensors", "skipped.csv"):
        before = (out / name).read_bytes()
        (out / name).write_bytes(before[:-1] + b"!")
        found = workload.result(out)
        assert [key for key in expected if found[key] != expected[key]] == [name]
        (out / name).write_bytes(before)
    assert workload.result(out) == expected


def test_faults_depend_on_seed_and_number_alone() -> None:
    def drawn(seed: int) -> list[Any]:
        campaign = Campaign.__new__(Campaign)
        campaign.seed, campaign.workloads = seed, dict.fromkeys(("pretrain", "linear", "detect", "pair"))  # type: ignore[assignment]
        chosen = [campaign.choose(number) for number in range(60)]
        return [(type_.name, draws.random()) for type_, draws in chosen]

    assert drawn(1) == drawn(1)
    assert [name for name, _ in drawn(1)] == [name for name, _ in drawn(2)]
    assert drawn(1) != drawn(2)
    assert {name for name, _ in drawn(1)} == {each.name for each in TYPES}


def test_ends_are_counted_by_type() -> None:
    ends = [("a", "equal"), ("a", "wrong"), ("b", "equal")]
    outcomes = [Outcome(0, name, "pretrain", end, "", [], 0.0) for name, end in ends]
    assert summary(outcomes) == {"a": {"equal": 1, "wrong": 1}, "all": {"equal": 2, "wrong": 1}, "b": {"equal": 1}}
