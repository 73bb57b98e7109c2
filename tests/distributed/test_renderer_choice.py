"""Two processes measure different costs, and render in one way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manyview.training import loop
from manyview.training import renderer as choice
from manyview.training.renderer import Costs, measure_costs
from tests.helpers.processes import free_ports, in_processes, launched
from tests.helpers.tiny import train_tiny, write_images


def work(rank: int, folder: str, port: int, first_says: str) -> None:
    """A tiny run, whose first process finds that one renderer is faster, and the second the other."""
    found: dict[str, Any] = {}

    def measure(*arguments: Any) -> Costs:
        costs = measure_costs(*arguments)  # in step with the other process, whose step needs this one's
        assert costs is not None
        found["images"] = costs.images
        faster = (first_says == "device") == (rank == 0)
        return replace(costs, render=9.0 if faster else 0.0, crop=0.0, augment=0.1, step=0.5, workers=1)

    class Spy(loop.DeviceViews):
        def __init__(self, batches: Any, files: Any, config: Any, device: Any) -> None:
            super().__init__(batches, files, config, device)
            found["renderer"] = config.training.renderer

    choice._SHARE_THE_CORES = ()
    choice.measure_costs = measure
    loop.DeviceViews = Spy  # type: ignore[misc]
    with launched(rank, 2, port):
        train_tiny(Path(folder) / "images", Path(folder) / "run")
        (Path(folder) / f"{rank}.json").write_text(json.dumps(found))


@pytest.mark.parametrize("first_says", ["cpu", "device"])
def test_the_first_process_decides(tmp_path: Path, first_says: str) -> None:
    write_images(tmp_path / "images")
    in_processes(work, str(tmp_path), *free_ports(1), first_says)
    processes = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert processes == [{"images": 2, "renderer": first_says}] * 2
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["renderer"] == first_says
