"""Loggers: what they are sent, that none of them ends a run, and that a resumed run goes on with its own."""

from __future__ import annotations

import json
import math
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.recipes import resolve_settings
from manyview.training.loggers import RunFacts, base, check_installed, loggers_of, packages
from tests.helpers.tiny import train_tiny

RECORDS = (
    {"kind": "step", "step": 10, "epoch": 0, "loss": 0.5, "std": 1},
    {"kind": "epoch", "step": 12, "epoch": 1, "loss": 0.25, "note": "no number"},
)


class Fake:
    """A logger that keeps what it gets, or fails."""

    def __init__(self, facts: RunFacts, fails: str = "") -> None:
        self.facts, self.fails = facts, fails
        self.id = facts.ids.get("wandb", "first")
        self.calls: list[Any] = []
        self._act("open")

    def _act(self, *call: Any) -> None:
        if call[0] == self.fails:
            raise OSError("no network\nat all")
        self.calls.append(call)

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        self._act("add", step, dict(figures))

    def close(self, ended: bool) -> None:
        self._act("close", ended)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[Fake]:
    """Replaces W&B; its environment says where it fails."""
    made: list[Fake] = []

    def opened(facts: RunFacts) -> Fake:
        made.append(Fake(facts, os.environ.get("FAILS_AT", "")))
        return made[-1]

    monkeypatch.setattr(packages, "OPENED_BY", {"wandb": opened})
    monkeypatch.setattr(base, "is_installed", lambda name: name == "wandb")
    return made


def config_of(loggers: str) -> PretrainConfig:
    return resolve_settings("photos", recipe="paper", set=[f"monitor.loggers={loggers}"])


def test_they_get_figures_and_settings(fakes: list[Fake], tmp_path: Path) -> None:
    warnings: list[str] = []
    with loggers_of(config_of("wandb"), tmp_path, 7, warnings.append, enabled=True) as loggers:
        for record in RECORDS:
            loggers.add(record)
    [fake] = fakes
    assert fake.calls == [
        ("open",),
        ("add", 10, {"step/loss": 0.5, "step/std": 1.0}),
        ("add", 12, {"epoch/loss": 0.25}),
        ("close", True),
    ]
    assert fake.facts.step == 7
    assert fake.facts.settings["training.batch_size"] == 128
    assert fake.facts.settings["monitor.loggers"] == ["wandb"]
    assert json.loads((tmp_path / "loggers.json").read_text()) == {"wandb": "first"}
    assert warnings == []


def test_a_later_process_goes_on_with_the_same(fakes: list[Fake], tmp_path: Path) -> None:
    (tmp_path / "loggers.json").write_text('{"wandb": "of before", "mlflow": "12"}')
    with (
        pytest.raises(RuntimeError),
        loggers_of(config_of("wandb"), tmp_path, 7, pytest.fail, enabled=True),
    ):
        raise RuntimeError
    assert fakes[0].id == "of before"
    assert fakes[0].calls[-1] == ("close", False)
    assert json.loads((tmp_path / "loggers.json").read_text()) == {"wandb": "of before", "mlflow": "12"}


def test_a_damaged_file_of_ids_is_made_anew(fakes: list[Fake], tmp_path: Path) -> None:
    (tmp_path / "loggers.json").write_text("{")
    with loggers_of(config_of("wandb"), tmp_path, 7, pytest.fail, enabled=True):
        pass
    assert json.loads((tmp_path / "loggers.json").read_text()) == {"wandb": "first"}


@pytest.mark.parametrize(("at", "calls"), [("open", 0), ("add", 1), ("close", 3)])
def test_one_that_fails_is_named_once(
    fakes: list[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, calls: int
) -> None:
    monkeypatch.setenv("FAILS_AT", at)
    warnings: list[str] = []
    with loggers_of(config_of("wandb"), tmp_path, 0, warnings.append, enabled=True) as loggers:
        for record in RECORDS:
            loggers.add(record)
    assert warnings == ["Warning: wandb logs no more of this run (no network at all); metrics.jsonl has all of it."]
    assert sum(len(fake.calls) for fake in fakes) == calls


def test_other_processes_log_nothing(fakes: list[Fake], tmp_path: Path) -> None:
    with loggers_of(config_of("wandb"), tmp_path, 0, pytest.fail, enabled=False) as loggers:
        loggers.add(RECORDS[0])
    assert fakes == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "names"),
    [("wandb", ("wandb",)), ("wandb,mlflow", ("wandb", "mlflow")), ('["trackio"]', ("trackio",)), ("[]", ())],
)
def test_one_or_several_by_name(given: str, names: tuple[str, ...]) -> None:
    assert config_of(given).monitor.loggers == names


def test_what_cannot_be_logged_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"monitor\.loggers.*'wandb', 'mlflow' or 'trackio'.*did you mean wandb\?"):
        config_of("wandbb")
    (tmp_path / "trackio").mkdir()  # a folder of that name is no package
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError) as caught:
        check_installed(["trackio"])
    assert str(caught.value) == (
        "monitor.loggers names trackio, which is not installed: pip install 'manyview[trackio]', or leave it out"
    )


def test_a_run_that_is_resumed_logs_on_and_another_logger_is_no_other_run(
    fakes: list[Fake], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"backbone": "timm/test_resnet", "view_size": 32, "epochs": 2}
    monkeypatch.setenv("FAILS_AT", "add")
    train_tiny(photos, tmp_path / "failing", **given, settings={"monitor.loggers": ["wandb"]})
    monkeypatch.setenv("FAILS_AT", "")
    run = train_tiny(photos, tmp_path / "run", **given)
    assert len(fakes) == 1
    assert run.weights.read_bytes() == (tmp_path / "failing" / "backbone.safetensors").read_bytes()
    train_tiny(
        photos, tmp_path / "run", **(given | {"epochs": 3}), settings={"monitor.loggers": ["wandb"]}, resume=True
    )
    [_, fake] = fakes
    assert fake.facts.step == 8
    assert [(call[1], sorted(call[2])[0].partition("/")[0]) for call in fake.calls[1:-1]] == [
        (10, "step"),
        (12, "epoch"),
    ]
    assert fake.calls[-1] == ("close", True)


class Recorder(types.ModuleType):
    """A module any of whose functions records its call and returns a recorder."""

    def __init__(self, name: str, calls: list[Any], returned: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__dict__.update(calls=calls, returned=returned)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append((name, arguments, named))
            return self.returned.get(name, self)

        return call


FACTS = {"settings": {"training.seed": 0, "data.images": "x" * 600}, "step": 0}


def test_wandb_goes_by_its_own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    module = Recorder("wandb", calls, {})
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv("WANDB_PROJECT", "cells")
    logger = packages.WandbLogger(RunFacts(tmp_path / "a", **FACTS))
    logger.add(3, {"step/loss": 0.5})
    logger.close(False)
    begun = next(named for name, _, named in calls if name == "init")
    assert (begun["project"], begun["name"], begun["id"], begun["resume"]) == ("cells", "a", logger.id, "allow")
    assert len(logger.id) == 12
    assert begun["dir"] == str(tmp_path / "a")
    assert "mode" not in begun
    assert ("log", ({"step/loss": 0.5, "step": 3},), {}) in calls
    assert calls[-1] == ("finish", (), {"exit_code": 1})
    again = packages.WandbLogger(RunFacts(tmp_path / "a", **FACTS, ids={"wandb": "old"}))
    assert again.id == "old"


@pytest.mark.filterwarnings("ignore")  # of other people's packages
def test_the_real_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    logger = packages.MlflowLogger(RunFacts(tmp_path / "a", **FACTS))
    logger.add(3, {"step/loss": 0.5})
    logger.close(False)
    again = packages.MlflowLogger(RunFacts(tmp_path / "a", **FACTS, ids={"mlflow": logger.id}))
    again.add(4, {"step/loss": 0.25})
    again.close(True)
    client = MlflowClient()
    run = client.get_run(logger.id)
    assert again.id == logger.id
    assert (run.info.status, run.data.params["training.seed"], run.info.run_name) == ("FINISHED", "0", "a")
    assert len(run.data.params["data.images"]) == 500
    assert [(each.step, each.value) for each in client.get_metric_history(logger.id, "step/loss")] == [
        (3, 0.5),
        (4, 0.25),
    ]


@pytest.mark.filterwarnings("ignore")  # of other people's packages
def test_the_real_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "a"
    folder.mkdir()
    logger = packages.WandbLogger(RunFacts(folder, **FACTS))
    logger.add(3, {"step/loss": 0.5})
    logger.close(True)
    [run] = (folder / "wandb").glob("offline-run-*")
    [file] = run.glob("run-*.wandb")
    assert logger.id in file.name
    assert file.stat().st_size > 0


@pytest.mark.filterwarnings("ignore")  # of other people's packages
def test_the_real_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    logger = packages.TrackioLogger(RunFacts(tmp_path / "a", **FACTS))
    logger.add(3, {"step/loss": 0.5})
    logger.close(True)
    again = packages.TrackioLogger(RunFacts(tmp_path / "a", **FACTS, ids={"trackio": logger.id}))
    again.add(4, {"step/loss": math.pi})
    again.close(True)
    assert again.id == logger.id
    assert list((tmp_path / "trackio").glob("manyview*"))
