"""Files of a run that are lost, cut, flipped or edited, and what resuming it does about them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from manyview.errors import UserError
from manyview.runs import RunFolder
from tests.helpers.tiny import Interrupting, train_tiny, write_images

FEW_BAD = {"data.max_bad_fraction": 0.2}
LAST = "checkpoints/step-000000008"


def train(
    images: Path | None, out: Path, step: int = 999, *, quiet: bool = True, resume: bool = False, **more: Any
) -> RunFolder:
    settings = {**FEW_BAD, **more} if not resume else {}
    return train_tiny(images, out, backbone=Interrupting(step), settings=settings, quiet=quiet, resume=resume)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_images(tmp_path_factory.mktemp("data") / "images")
    (folder / "03.jpg").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(images, tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture(scope="module")
def template(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.raises(KeyboardInterrupt):
        train(images, out, 6)
    return out


@pytest.fixture
def finished(whole: RunFolder, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.path, tmp_path / "run"))


@pytest.fixture
def stopped(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "run"))


def remove(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-9] ^= 16
    file.write_bytes(data)


def of_another(file: Path) -> None:
    """The weights of an untrained network, which are intact."""
    other = Interrupting(999)
    from manyview.backbones import save_backbone, wrap_backbone

    save_backbone(wrap_backbone(other, 16, 3), file, {})


@pytest.mark.parametrize("damage", [remove, cut, flip, of_another])
def test_the_weights_of_a_finished_run_are_written_again(
    finished: Path, whole: RunFolder, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(finished / "backbone.safetensors")
    train(None, finished, quiet=False, resume=True)
    assert (finished / "backbone.safetensors").read_bytes() == whole.weights.read_bytes()
    said = capsys.readouterr().err.replace("\n", " ")
    assert f"{finished / 'backbone.safetensors'} " in said
    assert "written again from the checkpoint" in said


def same(run: Path, whole: RunFolder) -> None:
    for name in ("backbone.safetensors", f"{LAST}.safetensors", f"{LAST}.json", "skipped.csv"):
        assert (run / name).read_bytes() == (whole.path / name).read_bytes(), name


@pytest.mark.parametrize("name", ["run.json", "config.json", "checkpoints/record.json", "skipped.csv", "metrics.jsonl"])
@pytest.mark.parametrize("damage", [remove, cut])
def test_a_stopped_run_survives_damage(
    stopped: Path, whole: RunFolder, name: str, damage: Callable[[Path], None]
) -> None:
    damage(stopped / name)
    train(None, stopped, resume=True)
    same(stopped, whole)


@pytest.mark.parametrize("name", ["step-000000006.json", "step-000000006.safetensors"])
@pytest.mark.parametrize("damage", [remove, cut, flip])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    stopped: Path, whole: RunFolder, name: str, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(stopped / "checkpoints" / name)
    train(None, stopped, quiet=False, resume=True)
    same(stopped, whole)
    said = capsys.readouterr().err
    assert "Resumed after step 4" in said
    assert ("is damaged" in said.replace("\n", " ")) == (name.endswith("safetensors") or damage is not remove)


def test_an_edited_seed_decides_nothing(stopped: Path) -> None:
    content = json.loads((stopped / "run.json").read_text())
    content["asked"]["training"]["seed"] = 7
    (stopped / "run.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"asked.training.seed was 0, now 7; undo that, or delete the file"):
        train(None, stopped, resume=True)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_run_goes_on_with_the_threads_it_was_started_with(images: Path, tmp_path: Path, threads: None) -> None:
    torch.set_num_threads(2)
    with pytest.raises(KeyboardInterrupt):
        train(images, tmp_path / "run", 6, **{"training.threads": None})
    assert RunFolder(tmp_path / "run").read_json("run.json")["environment"]["threads"] == 2
    torch.set_num_threads(1)
    train_tiny(None, tmp_path / "run", backbone=Interrupting(999), resume=True, settings={"training.threads": None})
    assert torch.get_num_threads() == 2
