"""Interrupted in one process; kills are in tests/runs."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from manyview.errors import LoadingError, UserError
from manyview.runs import RunFolder
from manyview.training.data import ViewDataset
from manyview.training.plan import epoch_order
from tests.helpers.records import started_otherwise
from tests.helpers.tiny import Interrupting, TinyNet, train_tiny, write_images

LAST = "step-000000008"


@pytest.fixture(scope="module")
def uninterrupted(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_tiny(photos, tmp_path_factory.mktemp("runs") / "whole", backbone=Interrupting(999))


@pytest.fixture(scope="module")
def template(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run stopped after step 6, amid its second epoch."""
    out = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.raises(KeyboardInterrupt):
        train_tiny(photos, out, backbone=Interrupting(6))
    return out


@pytest.fixture
def stopped(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "run"))


def resume(out: Path, images: Path | None = None, quiet: bool = True, **settings: Any) -> RunFolder:
    values = {key.replace("__", "."): value for key, value in settings.items()}
    return train_tiny(images, out, backbone=Interrupting(999), settings=values, resume=True, quiet=quiet)


def same_weights(run: RunFolder, other: RunFolder) -> bool:
    ends = ("backbone.safetensors", f"checkpoints/{LAST}.safetensors", f"checkpoints/{LAST}.json")
    return all((run.path / name).read_bytes() == (other.path / name).read_bytes() for name in ends)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_interrupt_saves_the_very_step(stopped: Path) -> None:
    assert sorted(path.stem for path in (stopped / "checkpoints").glob("step-*.json")) == [
        "step-000000004",
        "step-000000006",
    ]


def test_resumed_run_ends_like_the_uninterrupted(stopped: Path, uninterrupted: RunFolder) -> None:
    assert same_weights(resume(stopped), uninterrupted)


def test_termination_exits_143(photos: Path, tmp_path: Path, uninterrupted: RunFolder) -> None:
    with pytest.raises(SystemExit) as caught:
        train_tiny(photos, tmp_path / "run", backbone=Interrupting(1, signal.SIGTERM))

    assert caught.value.code == 143
    assert same_weights(resume(tmp_path / "run"), uninterrupted)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_a_lost_loader_process_ends_a_run_that_is_saved_first(
    photos: Path, tmp_path: Path, uninterrupted: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = ViewDataset.__getitem__

    def die(self: ViewDataset, key: tuple[int, int]) -> Any:
        if key[0] == 1:  # in the second epoch
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self, key)

    monkeypatch.setattr(ViewDataset, "__getitem__", die)
    with pytest.raises(LoadingError, match=r"was killed, at .*\.(jpg|png)"):
        train_tiny(photos, tmp_path / "run", backbone=Interrupting(999), settings={"data.workers": 1})
    monkeypatch.undo()
    saved = sorted((tmp_path / "run/checkpoints").glob("step-*.json"))
    assert saved, "a checkpoint first"
    assert same_weights(resume(tmp_path / "run"), uninterrupted)


def test_handlers_are_put_back(photos: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    train_tiny(photos, tmp_path / "run", epochs=1)

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_number_of_workers_may_change(stopped: Path, uninterrupted: RunFolder) -> None:
    assert same_weights(resume(stopped, data__workers=1), uninterrupted)


def test_the_same_settings_may_be_stated_again(stopped: Path, photos: Path, uninterrupted: RunFolder) -> None:
    run = train_tiny(photos, stopped, backbone=Interrupting(999), seed=0, resume=True, recipe="paper")

    assert same_weights(run, uninterrupted)


def test_changed_settings_are_refused_with_a_list(stopped: Path) -> None:
    before = tree(stopped)

    with pytest.raises(UserError) as caught:
        resume(stopped, training__momentum=0.8, losses__image_aware__weight=1, training__seed=3)

    assert str(caught.value) == (
        f"{stopped} was started with other settings: losses.image_aware.weight was 4.0, now 1.0; "
        "training.momentum was 0.9, now 0.8; training.seed was 0, now 3; "
        "resume without them, or start a new run in another folder"
    )
    assert tree(stopped) == before


def test_other_recipe_is_refused(stopped: Path) -> None:
    with pytest.raises(UserError, match="recipe was 'paper', now 'simsiam'"):
        train_tiny(None, stopped, resume=True, recipe="simsiam", backbone=Interrupting(999))


def test_other_backbone_is_refused(stopped: Path) -> None:
    with pytest.raises(UserError, match=r"backbone\.name was 'own:.*Interrupting', now 'own:.*TinyNet'"):
        train_tiny(None, stopped, resume=True, backbone=TinyNet())


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run to resume; leave out --resume to start one there"):
        resume(tmp_path)


def test_run_is_never_overwritten(stopped: Path, photos: Path) -> None:
    before = tree(stopped)

    with pytest.raises(UserError, match="already holds a run; continue it with --resume"):
        train_tiny(photos, stopped)

    assert tree(stopped) == before


def test_folder_in_use_is_refused(stopped: Path) -> None:
    holder = RunFolder(stopped)
    holder.lock()
    try:
        with pytest.raises(UserError, match="another process is working in"):
            resume(stopped)
    finally:
        holder.unlock()


def test_failed_start_leaves_the_folder_free(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise UserError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_json", refuse)
        with pytest.raises(UserError, match="the disk is full"):
            train_tiny(photos, tmp_path / "run")

    train_tiny(photos, tmp_path / "run", epochs=1)


def test_finished_run_is_left_as_it_is(uninterrupted: RunFolder, tmp_path: Path) -> None:
    out = Path(shutil.copytree(uninterrupted.path, tmp_path / "run"))
    run = resume(out)

    assert same_weights(run, uninterrupted)
    assert run.read_metrics() == uninterrupted.read_metrics()


def test_time_goes_on_with_the_resumed_run(stopped: Path) -> None:
    folder = RunFolder(stopped)
    record = {**folder.read_metrics()[-1], "elapsed": 5000.0}
    folder.append_metrics(record)

    run = resume(stopped)

    assert [entry["elapsed"] > 5000 for entry in run.read_metrics() if entry["step"] > record["step"]].count(False) == 0
    assert run.read_metrics()[-1]["elapsed"] < 5300


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-50] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
def test_damaged_newest_checkpoint_falls_back_and_says_so(
    stopped: Path, uninterrupted: RunFolder, damage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(stopped / "checkpoints" / "step-000000006.safetensors")

    run = resume(stopped, quiet=False)

    words = capsys.readouterr().err
    assert re.search(r"Warning: checkpoint .*step-000000006\.safetensors is damaged .*; using the previous one", words)
    assert "Resumed after step 4 of 8." in words
    assert same_weights(run, uninterrupted)


def test_all_damaged_is_one_clear_error(stopped: Path) -> None:
    for file in (stopped / "checkpoints").glob("*.safetensors"):
        truncate(file)

    with pytest.raises(UserError, match=r"^no usable checkpoint is left: .*; start a new run$"):
        resume(stopped)


def test_killed_before_the_first_checkpoint(stopped: Path, uninterrupted: RunFolder) -> None:
    shutil.rmtree(stopped / "checkpoints")

    run = resume(stopped)

    assert same_weights(run, uninterrupted)
    assert [record["step"] for record in run.read_metrics()] == [
        record["step"] for record in uninterrupted.read_metrics()
    ]


@pytest.mark.parametrize("change", ["added", "removed", "changed", "renamed"])
def test_changed_images_are_refused(tmp_path: Path, change: str) -> None:
    images = write_images(tmp_path / "photos", 8)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(images, tmp_path / "run", backbone=Interrupting(1))
    victim = images / "03.jpg"
    if change == "added":
        (images / "99.jpg").write_bytes(victim.read_bytes())
    elif change == "removed":
        victim.unlink()
    elif change == "changed":
        victim.write_bytes(victim.read_bytes() + b"x")
    else:
        victim.rename(images / "77.jpg")

    with pytest.raises(UserError, match=r"the images are not those that .* was started with \(8 then\)"):
        resume(tmp_path / "run")


@pytest.mark.parametrize("hashed", [False, True])
def test_images_changed_at_the_same_size_are_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hashed: bool
) -> None:
    images = write_images(tmp_path / "photos", 8)
    settings = {"data.content_hashes": hashed}
    with pytest.raises(KeyboardInterrupt):
        train_tiny(images, tmp_path / "run", backbone=Interrupting(1), settings=settings)
    for photo in images.iterdir():  # as a copy has them
        os.utime(photo, (10**9, 10**9))
    if hashed:
        saved = tree(tmp_path / "run")
        content = (images / "03.jpg").read_bytes()
        (images / "03.jpg").write_bytes(content[:-3] + b"x" + content[-2:])
        with pytest.raises(UserError, match=r"1 of 8 images \(03.jpg\) changed since .* at the same size"):
            resume(tmp_path / "run")
        assert tree(tmp_path / "run") == saved
        (images / "03.jpg").write_bytes(content)

    resume(tmp_path / "run", quiet=False)
    expected = "but the same contents, as after a copy" if hashed else "but another time of change: as after a copy"
    said = " ".join(capsys.readouterr().err.split())
    assert "8 of 8 images (00.jpg, 01.jpg, 02.jpg, ...)" in said
    assert expected in said


@pytest.mark.parametrize("lost", [False, True])
def test_what_is_noted_of_the_images_is_noted_again_if_it_is_lost(
    stopped: Path, capsys: pytest.CaptureFixture[str], lost: bool
) -> None:
    noted = stopped / "images.stats"
    content = noted.read_bytes()
    noted.unlink() if lost else noted.write_bytes(content[:-1])
    resume(stopped, quiet=False)
    assert "images.stats was missing or damaged: changes of images" in " ".join(capsys.readouterr().err.split())
    assert noted.read_bytes() == content


def test_folder_of_images_may_have_moved(tmp_path: Path) -> None:
    images = write_images(tmp_path / "photos", 8)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(images, tmp_path / "run", backbone=Interrupting(1))
    moved = images.rename(tmp_path / "elsewhere")

    with pytest.raises(UserError, match="does not exist"):
        resume(tmp_path / "run")
    assert resume(tmp_path / "run", moved).read_metrics()[-1]["step"] == 4


class Spoiling(TinyNet):
    """A network whose map is not a number in one step."""

    def __init__(self, step: int, value: float) -> None:
        super().__init__()
        self.step, self.value, self.passes = step, value, 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += self.training
        features = super().forward(x)
        return features * self.value if self.passes == 2 * self.step - 1 else features


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite_stops_the_run(photos: Path, tmp_path: Path, value: float) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError, match=r"the loss is nan at step 6; .* last good checkpoint is kept") as caught:
        train_tiny(photos, out, backbone=Spoiling(6, value))

    assert str(out / "nonfinite_batch.txt") in str(caught.value)
    order = epoch_order(0, 1, 16)
    assert (out / "nonfinite_batch.txt").read_text().splitlines() == [f"{image:02d}.jpg" for image in order[4:8]]
    assert [path.stem for path in (out / "checkpoints").glob("step-*.json")] == ["step-000000004"]
    for file in (out / "backbone.safetensors", out / "checkpoints" / "step-000000004.safetensors"):
        assert all(value.isfinite().all() for value in load_file(str(file)).values() if value.is_floating_point())


def test_weights_that_are_not_finite_are_never_saved(photos: Path, tmp_path: Path) -> None:
    class Infinite(TinyNet):
        """Its loss is always finite; a running statistic is not, in the end."""

        def __init__(self) -> None:
            super().__init__()
            self.passes = 0
            self.register_buffer("statistic", torch.zeros(2))

        def forward(self, x: Tensor) -> Tensor:
            self.passes += self.training
            self.statistic[0] = math.inf if self.passes >= 16 else 0.0  # type: ignore[operator]
            return super().forward(x)

    with pytest.raises(UserError, match=r"statistic is not finite after step 8; the last good checkpoint is kept"):
        train_tiny(photos, tmp_path / "run", backbone=Infinite())

    assert [path.stem for path in (tmp_path / "run" / "checkpoints").glob("step-*.json")] == ["step-000000004"]
    weights = load_file(str(tmp_path / "run" / "backbone.safetensors"))
    assert all(value.isfinite().all() for value in weights.values() if value.is_floating_point())


def test_monitor_counts_on_after_resuming(photos: Path, tmp_path: Path) -> None:
    always = {"monitor.min_std": 100.0, "monitor.min_rank": 2.0, "monitor.every": 1, "monitor.patience": 6}
    with pytest.raises(KeyboardInterrupt):
        train_tiny(photos, tmp_path / "run", backbone=Interrupting(3), settings=always)

    description = json.loads((tmp_path / "run" / "checkpoints" / "step-000000003.json").read_text())
    assert description["healthy"] is False
    assert description["state"]["monitor"]["in_a_row"] == 3
    with pytest.raises(UserError, match=r"at step 6 the representation is collapsing.* 6 times in a row"):
        train_tiny(None, tmp_path / "run", backbone=Interrupting(999), settings=always, resume=True)


def test_weights_are_refreshed_every_epoch(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the loss is nan at step 5"):
        train_tiny(photos, tmp_path / "run", backbone=Spoiling(5, math.nan))

    weights = load_file(str(tmp_path / "run" / "backbone.safetensors"))
    checkpoint = load_file(str(tmp_path / "run" / "checkpoints" / "step-000000004.safetensors"))
    assert weights.keys() == TinyNet().state_dict().keys()
    assert all(torch.equal(value, checkpoint["model.backbone." + name]) for name, value in weights.items())


def test_metrics_and_curves(photos: Path, tmp_path: Path) -> None:
    run = train_tiny(photos, tmp_path / "run", epochs=3)

    records = run.read_metrics()
    assert [(record["kind"], record["step"]) for record in records] == [
        ("step", 1),
        ("epoch", 4),
        ("epoch", 8),
        ("step", 10),
        ("epoch", 12),
    ]
    assert 0 < records[0]["elapsed"] <= records[-1]["elapsed"]
    assert all(record["views_per_second"] > 0 and 0 <= record["waiting"] <= 1 for record in records)
    rates = [record["learning_rate"] for record in records if record["kind"] == "epoch"]
    top = 0.05 * 16 / 256
    assert rates == pytest.approx([top * (1 + math.cos(math.pi * epoch / 3)) / 2 for epoch in range(3)])
    for record in records:
        assert record["loss"] == pytest.approx(record["similarity"] + 4 * record["image_aware"], abs=1e-6)
    assert [path.name for path in (run.path / "tensorboard").iterdir()] != []


def test_one_epoch_is_announced_as_one(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_tiny(photos, tmp_path / "run", quiet=False, epochs=1)

    assert "16 images: 4 steps of 32 views = 128 views, 1 epoch of 4 steps; " in capsys.readouterr().err


def test_announcement_and_lines_to_paste(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train_tiny(photos, tmp_path / "run", backbone="timm/test_resnet", view_size=32, quiet=False, epochs=2)

    words = capsys.readouterr().err
    assert re.search(
        r"^16 images: 8 steps of 32 views = 256 views, 2 epochs of 4 steps; "
        r"learning rate 0\.003125 = .*; about \d+ s left",
        words,
        re.M,
    )
    assert "16 images are too few to learn much from" in words
    lines, _, steps = words[words.index("import manyview") :].partition("Undecided: 16 images are too few")
    assert "manyview report " in steps
    names: dict[str, Any] = {}
    exec(lines, names)
    assert names["backbone"](torch.zeros(1, 3, 32, 32)).ndim == 4
    assert str(run.path) in lines


def test_quiet_prints_nothing(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train_tiny(photos, tmp_path / "run", epochs=1)

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("key", "value"), [("precision", "bf16"), ("device", "cuda")])
def test_other_hardware_is_refused(stopped: Path, key: str, value: object) -> None:
    started_otherwise(stopped, lambda run, config: run.update({key: value}))

    with pytest.raises(UserError, match=rf"started on other hardware: {key} was {value}, now"):
        resume(stopped)
