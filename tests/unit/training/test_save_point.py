"""A step that fails for no fault of the run is undone and saved, and the resumed run ends as if it had not failed."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from manyview import distributed
from manyview.errors import LostProcessError
from manyview.evaluation.quality.instrument import QualityInstrument
from manyview.recipes.launch import resolve_settings
from manyview.runs import RunFolder
from manyview.training import loop
from manyview.training.loop import Training
from manyview.training.pace import waiting_advice
from manyview.training.survival import save_point
from tests.helpers.tiny import Interrupting, train_tiny

# The first batch's queue, norms and momentum encoder must not stay when the second one fails.
SETTINGS = {"method.name": "moco", "method.queue": 32, "training.accumulate": 2}
GONE = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.7]:1234. See the log.")


def moco(images: Path | None, out: Path, backbone: Interrupting | None = None, **named: Any) -> RunFolder:
    return train_tiny(images, out, settings=SETTINGS, backbone=backbone or Interrupting(), epochs=4, **named)


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return moco(photos, tmp_path_factory.mktemp("runs") / "whole")


def is_undone(out: Path, whole: RunFolder) -> bool:
    """Whether a run that failed in its fourth step was saved after three, and ends like the whole one."""
    assert sorted(path.stem for path in (out / "checkpoints").glob("*.json"))[-1] == "step-000000003"
    run = moco(None, out, resume=True)
    return (run.path / "backbone.safetensors").read_bytes() == (whole.path / "backbone.safetensors").read_bytes()


def test_a_lost_process(photos: Path, tmp_path: Path, whole: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    read, calls = loop._means_on_host, []

    def fail(result: Any) -> Any:
        calls.append(1)
        if len(calls) == 8:  # the second batch of the fourth step
            raise GONE
        return read(result)

    monkeypatch.setattr(loop, "_means_on_host", fail)
    monkeypatch.setattr(save_point.distributed, "tells_of_a_lost_process", lambda error: error is GONE)
    with pytest.raises(LostProcessError) as raised:
        moco(photos, tmp_path / "run")
    monkeypatch.undo()
    assert str(raised.value) == (
        "another process of this run was lost (Connection closed by peer [10.0.0.7]:1234), as where it is killed for "
        "lack of memory: saved after step 3; start all of them again with --resume, as torchrun --max-restarts does by "
        "itself with --resume auto"
    )
    assert raised.value.status == 75
    assert is_undone(tmp_path / "run", whole)


def test_a_stop_does_not_wait_for_all_batches_of_a_step(photos: Path, tmp_path: Path, whole: RunFolder) -> None:
    one_pass = Interrupting(1, signal.SIGUSR1)
    one_pass.step = 3.5  # type: ignore[assignment]  # in the seventh pass, the first batch of the fourth step
    with pytest.raises(SystemExit) as raised:
        moco(photos, tmp_path / "run", one_pass)
    assert raised.value.code == 128 + signal.SIGUSR1
    assert is_undone(tmp_path / "run", whole)


def test_once_weights_have_moved_there_is_no_way_back(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise GONE

    monkeypatch.setattr(loop, "_watch", fail)
    monkeypatch.setattr(save_point.distributed, "tells_of_a_lost_process", lambda error: error is GONE)
    with pytest.raises(LostProcessError, match="in the middle of a step, so that only the last checkpoint is saved"):
        moco(photos, tmp_path / "run", quiet=False)
    assert (
        "In the middle of a step, which cannot be saved; --resume continues from the last checkpoint."
        in capsys.readouterr().err
    )
    assert not list(tmp_path.glob("run/checkpoints/step-*"))


def test_other_errors_are_no_lost_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not distributed.tells_of_a_lost_process(GONE), "in a single process"
    monkeypatch.setattr("manyview.distributed.lost.world_size", lambda: 2)
    assert distributed.tells_of_a_lost_process(GONE)
    assert not distributed.tells_of_a_lost_process(RuntimeError("shapes do not match"))
    assert not distributed.tells_of_a_lost_process(ValueError(str(GONE)))


def test_a_measurement_is_not_waited_for(
    photos: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measure, calls = QualityInstrument.measure, []

    def slowly(self: QualityInstrument, *given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("goes on")
        return measure(self, *given, **named)

    named = {"eval_labels": labels, "eval_every": 4, "settings": {"monitor.eval_size": 16}}
    monkeypatch.setattr(QualityInstrument, "measure", slowly)
    with pytest.raises(SystemExit):
        train_tiny(photos, tmp_path / "run", backbone=Interrupting(), quiet=False, **named)
    assert "Stopped after step 4; continue with --resume." in capsys.readouterr().err
    run = train_tiny(None, tmp_path / "run", backbone=Interrupting(), resume=True, settings={})
    assert [record["step"] for record in run.read_metrics() if record["kind"] == "quality"] == [0, 4, 8]


def test_what_to_set_where_the_loader_does_not_keep_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def advice(*settings: str, cores: int = 4, device: str = "cpu", here: str = "1") -> str:
        monkeypatch.setattr("manyview.training.pace.core_count", lambda: cores)
        monkeypatch.setattr("manyview.images.loading.loader.core_count", lambda: cores)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
        return waiting_advice(resolve_settings("photos", set=settings), device, 0.52)

    few = advice("data.workers=2")
    assert few == ("52% of the time is spent waiting for images, which 2 processes on 4 cores load: try data.workers=4")
    assert "no process but this one on 2 cores load: try data.workers=2" in advice("data.workers=0", here="2")
    assert "see whether other programs take the cores (top) or the disk is slow" in advice()
    assert "try training.renderer=device with data.decode=device, which" in advice(device="cuda")
    decoding = advice("training.renderer=device", device="cuda")
    assert "try data.decode=device, which" in decoding
    both = advice("training.renderer=device", "data.decode=device", device="cuda")
    assert "otherwise give the run more cores" in both


def test_a_run_that_waits_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    training = object.__new__(Training)
    settled: Any = SimpleNamespace(
        plan=SimpleNamespace(steps=10**6),
        config=resolve_settings("photos"),
        hardware=SimpleNamespace(device=torch.device("cpu")),
    )
    display: Any = SimpleNamespace(say=lambda text, style=None: said.append(text))
    training.settled, training.display, training.step = settled, display, 0
    monkeypatch.setattr(loop, "announcement", lambda *_: "announced")
    monkeypatch.setattr(loop, "waiting_advice", lambda config, device, waiting: f"{device} waits {waiting:.0%}")
    for share, expected in ((0.3, []), (0.5, ["cpu waits 50%"])):
        said.clear()
        progress = loop._Progress(training)
        for _ in range(200):
            progress.clock.add(1.0, share)
            progress.announce(training)
        assert said == ["announced", *expected]
