"""Runs on two and four processes: stopped and resumed on another number, compared before the first step, refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from manyview import distributed
from manyview.errors import UserError
from manyview.runs import RunFolder
from manyview.training.plan import epoch_order
from tests.helpers.processes import free_ports, in_processes, launched
from tests.helpers.tiny import TinyNet, train_tiny, write_images

RUNS = {
    "simsiam": {"views.kind": "blocks", "losses.image_aware.weight": 2.0, "losses.image_aware.shards": 3},
    "moco": {
        "method.name": "moco",
        "method.queue": 64,
        "method.shuffled_parts": 4,
        "views.kind": "blocks",
        "training.accumulate": 2,
    },
}
SIZES = {"batch_size": 8, "epochs": 4}  # of sixteen images: two steps an epoch, or one of accumulated batches


class Stopping(TinyNet):
    """Without random layers; asks for a stop in some pass."""

    def __init__(self, at: int = 0) -> None:
        super().__init__(dropout=0.0)
        self.at, self.passes = at, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            self.passes += 1
            if self.passes == self.at:
                signal.raise_signal(signal.SIGINT)
        return super().forward(x)


class Broken(Stopping):
    """Whose features are not finite in the second step."""

    def forward(self, x: Tensor) -> Tensor:
        features = super().forward(x)
        return features * torch.nan if self.passes > 2 else features


def run(images: Path, out: Path, name: str, **named: Any) -> RunFolder:
    return train_tiny(images, out, **{"settings": RUNS[name], **SIZES, **named})


def refused(call: Any) -> str:
    """What a process says."""
    try:
        call()
    except UserError as error:
        return f"{'shared' if error.shared else 'own'}: {error}"
    return "nothing"


def disagree(rank: int, root: Path) -> Iterator[str]:
    """What this process says where the other one is to do something else."""
    images = root / "images"
    for number, named in enumerate(({"seed": rank}, {"settings": {"losses.image_aware.weight": 2.0 + rank}})):
        yield refused(partial(train_tiny, images, root / f"no-{number}", **named))
    yield refused(lambda: train_tiny(root / ("images" if rank else "others"), root / "no-2"))
    yield refused(lambda: train_tiny(root / ("images" if rank else "fewer"), root / "no-3"))
    yield refused(lambda: train_tiny(root / ("images" if rank else "nowhere"), root / "no-4"))
    torch.manual_seed(rank)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3))
    yield refused(lambda: train_tiny(images, root / "no-5", backbone=module))

    yield refused(
        lambda: train_tiny(
            images, root / "simsiam", backbone=Stopping(), resume=bool(rank), settings=RUNS["simsiam"], **SIZES
        )
    )
    yield refused(lambda: train_tiny(images, root / "nonfinite", backbone=Broken()))


def work(rank: int, folder: str, ports: tuple[int, int]) -> None:
    root = Path(folder)
    if rank < 2:
        with launched(rank, 2, ports[0]):
            for name in RUNS:
                with pytest.raises(KeyboardInterrupt):
                    run(root / "images", root / name, name, backbone=Stopping(at=5))
            (root / f"{rank}.json").write_text(json.dumps(list(disagree(rank, root))))
            os.environ.pop("OMP_NUM_THREADS", None)  # under srun nothing sets it
            run(root / "images", root / "threads", "simsiam", settings={**RUNS["simsiam"], "training.threads": 3})
    if rank == 0:
        for name in RUNS:
            shutil.copytree(root / name, root / f"{name}-1")
            shutil.copytree(root / name, root / f"{name}-4")
    with launched(rank, 4, ports[1]):
        distributed.agree(lambda: rank == 0, lambda _: {})  # the copies are there
        for name in RUNS:
            run(root / "images", root / f"{name}-4", name, backbone=Stopping(), resume=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left, and then four."""
    root = tmp_path_factory.mktemp("runs")
    write_images(root / "images")
    write_images(root / "fewer", 15)
    shutil.copytree(root / "images", root / "others")
    changed = root / "others" / "07.jpg"
    content = bytearray(changed.read_bytes())
    content[-3] ^= 1
    changed.write_bytes(content)
    in_processes(work, str(root), tuple(free_ports(2)), processes=4)
    return root


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("name", RUNS)
def test_a_run_stopped_on_two_goes_on_on_another_number(
    name: str, processes: int, root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = run(root / "images", tmp_path / "whole", name, backbone=Stopping())
    stopped = [json.loads(line) for line in (root / name / "metrics.jsonl").read_text().splitlines()]
    assert 0 < stopped[-1]["step"] < 4
    if processes == 1:
        resumed = run(root / "images", root / f"{name}-1", name, backbone=Stopping(), resume=True, quiet=False)
        assert "was started on 2 processes and goes on on 1 process: " in " ".join(capfd.readouterr().err.split())
    else:
        resumed = RunFolder(root / f"{name}-4")

    found, expected = (load_file(str(each.checkpoints.folder / _last(each))) for each in (resumed, whole))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        # The key encoder's norms see parts of the batch, each on one process; nothing reads their statistics.
        if key.startswith("model.key_") and key.endswith(("running_mean", "running_var", "num_batches_tracked")):
            continue
        near = 1e-6 if key.startswith("model.") else 2e-4
        assert (found[key] - value).abs().max() <= near * max(1.0, float(value.abs().max())), key
    ours, theirs = (
        [json.loads(line) for line in (each.path / "metrics.jsonl").read_text().splitlines()]
        for each in (resumed, whole)
    )
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-5, abs=1e-5)


def test_each_process_computes_with_the_threads_that_were_set(root: Path) -> None:
    assert RunFolder(root / "threads").read_json("run.json")["environment"]["threads"] == 3


def _last(folder: RunFolder) -> str:
    return max(path.name for path in folder.checkpoints.folder.glob("*.safetensors"))


def test_processes_that_differ_all_say_in_what(root: Path) -> None:
    processes = [json.loads((root / f"{rank}.json").read_text()) for rank in range(2)]
    seed, weight, content, number, folder, module, resume, nonfinite = zip(*processes, strict=True)
    for said in (seed, weight, content, number, folder, module, resume, nonfinite):
        assert said[0] == said[1]
        assert said[0].startswith("shared: ")
    assert "the processes differ: training.seed is 0 on rank 0, 1 on rank 1; start all" in seed[0]
    assert "losses.image_aware.weight is 2.0 on rank 0, 3.0 on rank 1" in weight[0]
    assert "the processes differ: the fingerprint of the contents of some images is " in content[0]
    assert "the number of images is 15 on rank 0, 16 on rank 1; the fingerprint of names and sizes" in number[0]
    assert "on rank 0: " in folder[0]
    assert "nowhere" in folder[0]
    assert "the processes differ: the fingerprint of the module is " in module[0]
    assert "--resume is false on rank 0, true on rank 1" in resume[0]
    assert not any(root.glob("no-*"))


def test_all_images_of_a_batch_that_is_not_finite_are_listed(root: Path) -> None:
    order = epoch_order(0, 0, 16)
    listed = (root / "nonfinite" / "nonfinite_batch.txt").read_text().splitlines()
    assert listed == [f"{image:02d}.jpg" for image in order[4:8]]


def test_batches_that_do_not_divide_are_refused_with_what_does(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from manyview.training.settle import Hardware

    monkeypatch.setattr(Hardware, "processes", 3)
    with pytest.raises(
        UserError, match=r"batches of 8 images, which 3 processes cannot share .* on 1, 2, 4, 8 of them"
    ):
        run(root / "images", root / "simsiam", "simsiam", backbone=Stopping(), resume=True)
