"""Of two processes one gets a signal, and both save and end alike; one is killed, and the other saves and says so."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from manyview.errors import LostProcessError
from tests.helpers.processes import free_ports, in_processes, launched
from tests.helpers.tiny import TinyNet, train_tiny, write_images

SETTINGS = {"training.accumulate": 2, "losses.image_aware.weight": 2.0}
SIZES: dict[str, Any] = {"batch_size": 4, "epochs": 4}  # of sixteen images: two steps an epoch


class Signalled(TinyNet):
    """Without random layers; gets a signal in the first batch of a step, counted from 1 at each start."""

    def __init__(self, step: int = 0, number: signal.Signals = signal.SIGKILL) -> None:
        super().__init__(dropout=0.0)
        self.at, self.number, self.passes = 4 * step - 3, number, 0  # two batches with two passes each

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            self.passes += 1
            if self.passes == self.at:
                os.kill(os.getpid(), self.number)
        return super().forward(x)


def work(rank: int, root: str, ports: list[int]) -> None:
    images, out, found = Path(root) / "images", Path(root) / "run", {}
    with launched(rank, 2, ports[0]):
        try:
            train_tiny(images, out, settings=SETTINGS, backbone=Signalled(3 * rank, signal.SIGUSR1), **SIZES)
        except SystemExit as end:
            found["status"] = end.code
    with launched(rank, 2, ports[1]):
        try:
            train_tiny(None, out, settings=SETTINGS, backbone=Signalled(4 * rank), resume="auto", **SIZES)
        except LostProcessError as error:
            found["lost"] = str(error)
        (Path(root) / f"{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two")
    write_images(root / "images")
    in_processes(work, str(root), free_ports(2), statuses=[0, -signal.SIGKILL])
    return root


def test_both_stop_as_the_one_is_asked_and_not_amid_a_step(root: Path) -> None:
    assert json.loads((root / "0.json").read_text())["status"] == 128 + signal.SIGUSR1


def test_the_other_saves_when_one_is_killed(root: Path) -> None:
    lost = json.loads((root / "0.json").read_text())["lost"]
    assert lost.startswith("another process of this run was lost (")
    assert "lack of memory: saved after step 5; start all of them again with --resume" in lost
    assert [path.stem for path in sorted((root / "run/checkpoints").glob("step-*.json"))][-1] == "step-000000005"


def test_the_run_goes_on_from_there_as_if_nothing_had_happened(root: Path) -> None:
    torch.set_num_threads(1)
    whole = train_tiny(root / "images", root / "whole", settings=SETTINGS, backbone=Signalled(), **SIZES)
    resumed = train_tiny(None, root / "run", settings=SETTINGS, backbone=Signalled(), resume=True, **SIZES)

    expected, found = load_file(whole.weights), load_file(resumed.weights)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    losses = [
        [record["loss"] for record in run.read_metrics() if record["kind"] == "epoch"] for run in (whole, resumed)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
