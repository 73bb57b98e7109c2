"""Two processes measure different costs, and render in one way."""

from __future__ import annotations

import json
import os
import socket
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch.multiprocessing.spawn import start_processes

from manyview import distributed
from manyview.training import loop
from manyview.training import renderer as choice
from manyview.training.renderer import Costs, measure_costs
from tests.helpers.tiny import train_tiny, write_images


def work(rank: int, folder: str, ports: dict[str, int]) -> None:
    """Tiny runs, whose first process finds that one renderer is faster, and the second the other."""
    warnings.simplefilter("error")
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    os.environ |= {name: str(value) for name, value in ranks.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "tests"}
    found: dict[str, Any] = {}

    def measure(first_says: str, *arguments: Any) -> Costs:
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
    loop.DeviceViews = Spy  # type: ignore[misc]
    for first_says, port in ports.items():
        os.environ["MASTER_PORT"] = str(port)
        choice.measure_costs = partial(measure, first_says)
        try:
            train_tiny(Path(folder) / "images", Path(folder) / first_says)
        finally:
            distributed.leave()
        (Path(folder) / f"{first_says}-{rank}.json").write_text(json.dumps(found))
        found.clear()


def test_the_first_process_decides(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    with socket.socket() as free, socket.socket() as free_too:
        ports = {}
        for first_says, bound in (("cpu", free), ("device", free_too)):
            bound.bind(("127.0.0.1", 0))
            ports[first_says] = bound.getsockname()[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        start_processes(work, args=(str(tmp_path), ports), nprocs=2, start_method="spawn")
    for first_says in ports:
        processes = [json.loads((tmp_path / f"{first_says}-{rank}.json").read_text()) for rank in range(2)]
        assert processes == [{"images": 2, "renderer": first_says}] * 2
        config = json.loads((tmp_path / first_says / "config.json").read_text())
        assert config["training"]["renderer"] == first_says
