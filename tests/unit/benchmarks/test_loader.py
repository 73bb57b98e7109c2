from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import processes
from benchmarks.training import loader
from benchmarks.training.steps import Steps, configure
from manyview.images.loading import worker_count
from manyview.training.data import TrainingBatch


# From Python 3.12 on, a loader's processes that are forked beside threads are warned of.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="core time is read from /proc")
def test_steps_on_loaded_batches_are_held_against_steps_on_a_ready_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = {"method.projection_dim": 64, "method.prediction_hidden_dim": 32}
    monkeypatch.setattr(loader, "configure", lambda images, settings: configure(images, settings | heads))
    halted, run = {"ready": [], "loaded": []}, Steps.run

    def watched(steps: Steps, batches: Iterator[TrainingBatch], count: int) -> tuple[float, float]:
        states = [
            Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] for process in steps.processes
        ]
        halted["loaded" if batches is steps.batches else "ready"].append(states.count("T"))
        return run(steps, batches, count)

    monkeypatch.setattr(Steps, "run", watched)
    page = tmp_path / "page.md"
    page.write_text("<!-- loader -->\n<!-- end of loader -->\n")
    sizes = ["--view-sizes", "32", "--batch-sizes", "2", "--count", "6", "--rounds", "3", "--steps", "2"]
    out = ["--out", str(tmp_path / "out.json"), "--page", str(page)]
    loader.main(["--backbone", "timm/test_resnet", *sizes, *out])
    found = json.loads((tmp_path / "out.json").read_text())["view_sizes"]["32"]
    assert found["workers"] == worker_count(None)
    assert found["views_per_step"] == 16
    ratios = sorted(block["ready"]["seconds"] / block["loaded"]["seconds"] for block in found["blocks"])
    assert [found["throughput_kept"][key] for key in ("lowest", "median", "highest")] == pytest.approx(ratios)
    loaded = [block["loaded"] for block in found["blocks"]]
    assert found["waiting"] == pytest.approx(
        sum(block["waiting"] for block in loaded) / sum(block["seconds"] for block in loaded)
    )
    assert 0 <= found["loading_share_of_core_time"] < 1
    assert halted == {"ready": [found["workers"]] * 3, "loaded": [0] * (1 + 3)}  # a first block is not measured
    assert f"{found['throughput_kept']['median']:.3f} (" in page.read_text()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="core time is read from /proc")
def test_halted_processes_take_no_core_time_and_go_on_afterwards() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        end = time.monotonic() + 20
        while processes.core_seconds([busy.pid]) < 0.1 and time.monotonic() < end:
            time.sleep(0.05)
        with loader.paused([busy.pid]):
            before = processes.core_seconds([busy.pid])
            time.sleep(0.3)
            halted = processes.core_seconds([busy.pid])
        while processes.core_seconds([busy.pid]) < halted + 0.1 and time.monotonic() < end:
            time.sleep(0.05)
        after = processes.core_seconds([busy.pid])
    finally:
        busy.kill()
        busy.wait()
    assert 0.1 <= before == halted
    assert after >= halted + 0.1


def test_core_time_is_the_system_s_own() -> None:
    """Of a process and of its children that have ended."""
    spent = sum(os.times()[:4])
    assert processes.core_seconds([os.getpid()]) == pytest.approx(spent, abs=0.2)
