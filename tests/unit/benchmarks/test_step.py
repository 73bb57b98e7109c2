"""The benchmark of a step: where its time counts, and that a run of it holds together."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from benchmarks.detection import loop as detection_loop
from benchmarks.training import starting, step


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_time_counts_for_the_innermost_part() -> None:
    shares = step.Shares()
    inner = shares.of("inner", lambda: burn(0.03))

    def both() -> None:
        inner()
        burn(0.01)

    shares.of("outer", both)()
    inner()

    assert shares.spent["inner"] == pytest.approx(0.06, abs=0.02)
    assert shares.spent["outer"] == pytest.approx(0.01, abs=0.009)


def test_parts_of_a_step_make_up_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- step -->\n<!-- end of step -->\n")
    words = ["--recipes", "simsiam", "--backbone", "timm/test_resnet", "--view-size", "32", "--batch-size", "4"]

    step.main([*words, "--count", "8", "--steps", "3", "--out", str(tmp_path / "step.json"), "--page", str(page)])

    found = json.loads((tmp_path / "step.json").read_text())["recipes"]["simsiam"]
    assert sum(found["core_seconds"].values()) == pytest.approx(found["core_seconds_of_a_step"])
    assert found["core_seconds"]["forward"] > 0 < found["core_seconds"]["backward"]
    assert 0 < found["outside"] < 1
    assert "`simsiam`" in page.read_text()
    assert page.read_text().splitlines()[1] in capsys.readouterr().out


def test_ratios_of_the_loops_are_those_of_each_pair_of_blocks() -> None:
    options = detection_loop.parse(["--images", "i", "--train", "t", "--iterations", "2", "--batch-size", "3"])
    blocks = {
        "manyview": [{"seconds": 2.0, "core_seconds": 3.0}, {"seconds": 4.0, "core_seconds": 3.0}],
        "reference": [{"seconds": 6.0, "core_seconds": 3.0}, {"seconds": 4.0, "core_seconds": 6.0}],
    }

    found = detection_loop.summary(blocks, options)

    assert found["times_as_fast"] == {"median": 2, "lowest": 1, "highest": 3}
    assert found["times_as_fast_by_core_time"]["median"] == 1.5
    assert found["images_per_second"]["manyview"]["median"] == pytest.approx((3 + 1.5) / 2)
    text = detection_loop.markdown({**detection_loop.settings(options), **found, "goal": 1.2, "machine": {"cores": 2}})
    assert "2.00 (1.00 to 3.00) times as fast by the clock" in text


def test_starts_are_listed_beside_the_import_and_their_goals() -> None:
    clock = {"median": 1.0, "lowest": 0.5, "highest": 2.0}
    times = {"core_seconds": {"median": 0.25, "lowest": 0.125, "highest": 0.5}, "seconds": clock}
    found = {"seconds": {"median": 0.1}, "times_the_import": times}
    starts = {"manyview --help": found, starting.BEGINS: found}

    text = starting.markdown(
        {"starts": starts, "goals": starting.GOALS, "images": 5000, "machine": {"cores": 2}, "load": 0.2}
    )

    assert "| `manyview --help` | 0.25 (0.125 to 0.5) | 1 (0.5 to 2) | 0.50 |" in text
    assert f"| {starting.BEGINS} | 0.25 (0.125 to 0.5) | 1 (0.5 to 2) |  |" in text
