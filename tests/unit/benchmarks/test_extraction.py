from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.evaluation import extraction


# From Python 3.12 on, a loader's processes that are forked beside threads are warned of.
@pytest.mark.filterwarnings("ignore")
def test_extraction_is_held_against_the_bare_network(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- extraction -->\n<!-- end of extraction -->\n")
    sizes = ["--size", "32", "--batch-size", "4", "--count", "6", "--rounds", "3"]
    out = ["--out", str(tmp_path / "out.json"), "--page", str(page)]
    extraction.main(["--backbone", "timm/resnet10t", *sizes, *out])

    result = json.loads((tmp_path / "out.json").read_text())
    assert result["command"].startswith("python -m benchmarks.evaluation.extraction --backbone timm/resnet10t")
    assert result["photographs"] == "synthetic scenes, no photos, JPEG of 640 x 480"
    assert list(result["precisions"]) == ["bf16", "float32"]
    for found in result["precisions"].values():
        ratios = sorted(one["bare"]["seconds"] / one["extracted"]["seconds"] for one in found["rounds"])
        assert [found["pace_kept"][key] for key in ("lowest", "median", "highest")] == pytest.approx(ratios)
        rates = sorted(6 / one["extracted"]["seconds"] for one in found["rounds"])
        assert found["photographs_per_second"]["extracted"]["median"] == pytest.approx(rates[1])
        # Reading JPEGs costs core time in the loader's processes, which the bare pass has none of.
        assert all(one["extracted"]["loading_core_seconds"] > 0 for one in found["rounds"])
        assert all(one["bare"]["loading_core_seconds"] == 0 for one in found["rounds"])
        assert 0 < found["loading_share_of_core_time"] < 1
    lines = page.read_text().splitlines()
    assert lines[1].startswith("timm/resnet10t at 32 pixels on ")
    assert [line.split(" | ")[0] for line in lines[5:7]] == ["| bf16", "| float32"]


def test_core_time_counts_this_process_and_those_that_it_started() -> None:
    def work() -> None:
        subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass

    found = extraction.timed(work)
    assert found["loading_core_seconds"] > 0.01
    assert found["core_seconds"] >= found["loading_core_seconds"] + 0.05
    assert extraction.timed(lambda: time.sleep(0.05))["core_seconds"] < 0.05 <= found["seconds"]
