"""Another length for a run that is resumed: its schedules, its record, and the same weights however it was stopped."""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.runs import RunFolder
from manyview.training.optimizer import learning_rate, weight_decay
from tests.helpers.tiny import Interrupting, train_tiny

WARM = {"training.warmup_steps": 3}


def config(**training: Any) -> PretrainConfig:
    values = {"base_learning_rate": 1.0, "scaling": "none", "batch_size": 4, **training}
    return PretrainConfig.model_validate({"data": {"images": "x"}, "training": values})


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ten steps, in its third epoch of four, with a warm-up."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    settings = {**WARM, "training.weight_decay_end": 0.01}
    return train_tiny(photos, out, backbone=Interrupting(), settings=settings, epochs=None, steps=10).path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def go_on(out: Path, backbone: Any = None, resume: Any = True, images: Path | None = None, **length: Any) -> RunFolder:
    given = {"epochs": None, "batch_size": None, "view_size": None, **length}
    return train_tiny(images, out, backbone=backbone or Interrupting(), resume=resume, **given)


def metrics(run: Path, kind: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == kind]


def test_each_step_has_the_rate_and_decay_of_the_length_that_held() -> None:
    long = config(steps=40, legs=[{"until": 10, "steps": 10}, {"until": 15, "epochs": 5}], weight_decay_end=0.1)
    for step in range(40):
        total = 10 if step < 10 else 20 if step < 15 else 40  # epochs of four steps
        if 10 <= step < 15:
            rate = 0.5 * (1 + math.cos(math.pi * (step // 4) / 5))  # by epoch
        else:
            rate = 0.5 * (1 + math.cos(math.pi * step / total))
        assert learning_rate(long, step, 4) == pytest.approx(rate, abs=1e-12)
        decay = 0.1 + (1e-4 - 0.1) * (1 + math.cos(math.pi * step / total)) / 2
        assert weight_decay(long, step, 4) == pytest.approx(decay, abs=1e-12)


def test_with_a_warm_up_the_rate_rises_again_from_the_last_one() -> None:
    long = config(steps=40, legs=[{"until": 10, "steps": 10}], warmup_steps=4)
    alone = config(steps=40, warmup_steps=4)
    last = 0.5 * (1 + math.cos(math.pi * 5 / 6))
    for step in range(10, 40):
        usual = 0.5 * (1 + math.cos(math.pi * (step - 4) / 36))
        assert learning_rate(alone, step, 4) == pytest.approx(usual)
        share = min((step - 9) / 4, 1)
        assert learning_rate(long, step, 4) == pytest.approx(last + share * (usual - last))


def test_a_constant_rate_goes_on_as_if_nothing_had_ended() -> None:
    for step in range(12):
        both = [
            learning_rate(config(steps=12, schedule="constant", warmup_steps=3, legs=legs), step, 4)
            for legs in ([], [{"until": 2, "steps": 5}], [{"until": 5, "steps": 5}])
        ]
        assert both[0] == both[1] == both[2]


def test_stopped_in_the_second_leg_it_ends_alike_and_as_from_its_config(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "other")
    whole = go_on(run, steps=17)
    for step in (1, 4):  # of the leg
        with pytest.raises(SystemExit):
            go_on(tmp_path / "other", Interrupting(step, signal.SIGTERM), **({"steps": 17} if step == 1 else {}))
    stopped = go_on(tmp_path / "other", resume="auto", steps=17)
    repeated = train_tiny(
        photos,
        tmp_path / "again",
        backbone=Interrupting(),
        **dict.fromkeys(("epochs", "batch_size", "view_size")),
        config=run / "config.json",
    )

    for other in (stopped, repeated):
        assert (other.path / "backbone.safetensors").read_bytes() == (run / "backbone.safetensors").read_bytes()
    assert whole.read_json("config.json") == stopped.read_json("config.json") == repeated.read_json("config.json")
    assert whole.read_json("config.json")["training"]["legs"] == [{"until": 10, "epochs": None, "steps": 10}]
    about = whole.read_json("run.json")
    assert about["plan"]["steps"] == 17
    assert [(leg["from"], leg["steps"]) for leg in about["legs"]] == [(10, 17)]
    assert [record["step"] for record in metrics(run, "epoch")] == [4, 8, 10, 12, 16, 17]
    of_third = metrics(run, "epoch")[2:4]
    assert [record["epoch"] for record in of_third] == [2, 2]
    assert all(abs(record["similarity"]) <= 1 for record in of_third), "means, of two steps each"
    assert [record["loss"] for record in metrics(tmp_path / "other", "epoch")] == [
        record["loss"] for record in metrics(run, "epoch")
    ]


@pytest.mark.parametrize("written", [1, 2])
def test_killed_while_the_leg_is_recorded(run: Path, written: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write, names = RunFolder.write_json, []

    def until(self: RunFolder, name: str, content: Any) -> None:
        if name in ("run.json", "config.json", "checkpoints/record.json"):
            names.append(name)
        if len(names) > 1 + written:  # the first copy is made whenever a run is resumed
            raise KeyboardInterrupt
        write(self, name, content)

    monkeypatch.setattr(RunFolder, "write_json", until)
    with pytest.raises(KeyboardInterrupt):
        go_on(run, steps=12)
    monkeypatch.undo()
    assert names[1:] == ["checkpoints/record.json", "run.json", "config.json"][: 1 + written]
    longer = go_on(run, steps=12)
    assert longer.read_json("config.json")["training"]["legs"] == [{"until": 10, "epochs": None, "steps": 10}]
    assert [leg["steps"] for leg in longer.read_json("run.json")["legs"]] == [12]
    assert go_on(run).read_metrics()[-1]["step"] == 12


def test_a_longer_constant_run_is_that_of_its_length_from_the_start(photos: Path, tmp_path: Path) -> None:
    settings = {"training.schedule": "constant", "method.name": "byol"}
    settings |= {"method.hidden_dim": 16, "method.dim": 8}
    settings |= {"method.momentum": 1.0}
    train_tiny(photos, tmp_path / "run", settings=settings, backbone=Interrupting(), epochs=1)
    once = train_tiny(photos, tmp_path / "once", settings=settings, backbone=Interrupting(), epochs=2)

    longer = go_on(tmp_path / "run", epochs=2)

    assert (longer.path / "backbone.safetensors").read_bytes() == (once.path / "backbone.safetensors").read_bytes()


def test_lengths_that_are_refused(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(
        UserError, match="has done 10 steps, and 2 epochs would be 8: give more, or leave the length out"
    ):
        go_on(run, epochs=2)
    with pytest.raises(UserError, match=r"was started with other settings: training\.legs was"):
        train_tiny(
            None,
            run,
            backbone=Interrupting(),
            resume=True,
            epochs=None,
            batch_size=None,
            view_size=None,
            settings={"training.legs": [{"until": 3, "steps": 4}]},
        )
    with pytest.raises(UserError, match="was started with 10 steps; give another length by --epochs or --steps"):
        go_on(run, hours=1)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_what_has_not_run_may_be_shortened_and_changed_again(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        train_tiny(photos, tmp_path / "run", backbone=Interrupting(3, signal.SIGUSR1), epochs=4)
    for epochs in (9, 2):  # nothing runs in the first of the two legs
        with pytest.raises(SystemExit) as stopped:
            go_on(tmp_path / "run", Interrupting(1, signal.SIGHUP), epochs=epochs)
        assert stopped.value.code == 128 + signal.SIGHUP
    with pytest.raises(UserError, match="has done 5 steps, and 1 epoch would be 4"):
        go_on(tmp_path / "run", epochs=1)
    run = go_on(tmp_path / "run", epochs=2)  # as it is

    legs = run.read_json("config.json")["training"]["legs"]
    assert [(leg["until"], leg["epochs"]) for leg in legs] == [(3, 4), (4, 9)]
    assert metrics(run.path, "epoch")[-1]["step"] == 8


def test_auto_starts_goes_on_and_says_that_nothing_is_left(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError, match="holds no run to go on with: name the folder of images"):
        train_tiny(None, out, resume="auto")
    with pytest.raises(SystemExit):
        train_tiny(photos, out, resume="auto", backbone=Interrupting(2, signal.SIGTERM))
    for _ in range(2):
        train_tiny(photos, out, resume="auto", backbone=Interrupting(), quiet=False)

    printed = capsys.readouterr().err
    assert printed.index("Resumed after step 2 of 8.") < printed.index("Resumed after step 8 of 8.")
    assert re.findall(r"^Done: (.*?)(?: \d+ s)?\. The weights", printed, re.MULTILINE) == [
        "8 steps, the last 6 in",
        "8 steps",
    ]
    with pytest.raises(UserError, match='resume must be True, False or "auto"'):
        train_tiny(photos, out, resume="always")
