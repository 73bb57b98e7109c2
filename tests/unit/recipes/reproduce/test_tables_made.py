"""Tables that are made: figures, what is done once, what is resumed, what fails, what is given."""

from __future__ import annotations

import csv
import json
import os
import runpy
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from PIL import Image

import manyview.recipes.launch
from manyview.backbones import load_backbone
from manyview.errors import UserError
from manyview.recipes.reproduce import work
from manyview.recipes.reproduce.jobs import do, run_state
from manyview.recipes.reproduce.pace import trained_seconds
from manyview.recipes.reproduce.plan import TablePlan
from manyview.runs import RunFolder
from manyview.runs.sealed import written_step
from manyview.training import loop
from tests.helpers.children import Child
from tests.helpers.tiny import ON_CPU

Make = Callable[..., dict[str, Any]]
Plan = Callable[..., TablePlan]


def read(out: Path, name: str = "mine") -> dict[str, Any]:
    return dict(json.loads((out / f"{name}.json").read_text()))


def test_figures_are_those_of_metrics_json_and_deviations_are_over_seeds(make: Make, tmp_path: Path) -> None:
    result = make(seeds=2)

    assert result == read(tmp_path / "out")
    for row in result["rows"]:
        by_seed = []
        for seed in row["seeds"]:
            [folder] = seed["evaluations"]
            found = json.loads((Path(folder) / "metrics.json").read_text())["results"]["pretrained"]
            assert seed["figures"] == {"logistic": {"mAP": found["mAP"], "CF1": found["CF1"]}}
            by_seed.append(found["mAP"])
        summary = row["measured"]["logistic"]["mAP"]
        assert summary == {
            "mean": pytest.approx(np.mean(by_seed)),
            "std": pytest.approx(np.std(by_seed, ddof=1)),
            "seeds": 2,
        }
    blocks, half = result["rows"]
    assert (blocks["views"], blocks["steps"], blocks["images"]) == (128, 4, 16)
    assert (half["views"], half["steps"], half["images"]) == (72, 3, 36)  # 16 images a step, but there are 12
    assert blocks["paper"] == {"mAP": pytest.approx(0.543)}
    took = [trained_seconds(RunFolder(Path(seed["run"]))) for seed in blocks["seeds"]]
    assert blocks["hours"] == pytest.approx(np.mean(took) / 3600)
    assert min(took) > 0


def test_the_files_say_the_same(made: Any) -> None:
    measured = made.result["rows"][0]["measured"]["logistic"]

    text = (made.out / "mine.md").read_text()
    assert (
        f"| blocks | {100 * measured['mAP']['mean']:.1f} (54.3) | {100 * measured['CF1']['mean']:.1f} | 128 |" in text
    )
    assert "every row sees as many views: 128 views" in text
    lines = list(csv.DictReader((made.out / "mine.csv").read_text().splitlines()))
    assert [(line["row"], line["column"], line["paper"]) for line in lines] == [
        ("blocks", "mAP", "0.5429999999999999"),
        ("blocks", "CF1", ""),
        ("half as long", "mAP", ""),
        ("half as long", "CF1", ""),
    ]
    assert float(lines[0]["mean"]) == measured["mAP"]["mean"]
    with Image.open(made.out / "mine.png") as picture:
        assert picture.width > 250
        assert picture.convert("L").getextrema() == (0, 255) or picture.convert("L").getextrema()[0] < 60


def test_what_is_done_is_not_done_again_and_tables_share_it(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file: file.stat().st_mtime_ns for file in made.out.rglob("*.safetensors")}
    results = {file: file.stat().st_mtime_ns for file in made.out.rglob("metrics.json")}
    other = tmp_path / "other.toml"
    # The same run by another name, by settings that restate defaults.
    restated = 'set = {"losses.image_aware.weight" = 0, "views.overlap" = 0.2}'
    other.write_text(
        made.table.read_text()
        .replace('"blocks"', '"by another name"')
        .replace('set = {"losses.image_aware.weight" = 0}', restated)
    )

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(manyview.recipes.launch, "pretrain", refuse)
    monkeypatch.setattr("manyview.evaluation.linear_evaluation", refuse)
    again, shared = made.make(), made.make(other)

    assert len(before) > 2
    assert {file: file.stat().st_mtime_ns for file in made.out.rglob("*.safetensors")} == before
    assert {file: file.stat().st_mtime_ns for file in made.out.rglob("metrics.json")} == results
    assert again["rows"] == made.result["rows"]
    assert shared["rows"][0]["name"] == "by another name"
    assert shared["rows"][0]["measured"] == again["rows"][0]["measured"]


def test_a_stopped_run_is_resumed_to_the_same_weights(
    make: Make, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, count = loop.train_step, 0

    def interrupted(*args: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == 2:
            signal.raise_signal(signal.SIGINT)
        return step(*args, **named)

    monkeypatch.setattr(loop, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(only=["blocks"])
    [stopped] = (tmp_path / "out" / "runs").iterdir()
    assert (run_state(RunFolder(stopped)), written_step(RunFolder(stopped).weights)) == ("begun", 2)
    monkeypatch.undo()

    result = make(only=["blocks"])

    assert RunFolder(stopped).weights.read_bytes() == made.run("paper").weights.read_bytes()
    assert result["rows"][0]["measured"] == made.result["rows"][0]["measured"]


def test_a_killed_process_is_gone_on_from(plan: Plan, tmp_path: Path) -> None:
    # The killed one writes a checkpoint after each step, and must not reach the end.
    often = {"training.checkpoint_minutes": 1e-6}
    whole, killed = (
        plan(out=tmp_path / name, only=["blocks"], budget=320, set=settings)
        for name, settings in (("whole", {}), ("killed", often))
    )
    jobs = []
    for each in (whole, killed):
        each.out.mkdir()
        each.inputs.write_list(each.out)
        [group] = each.groups().values()
        jobs.append(group[0])
    do(jobs[0])
    run = RunFolder(Path(jobs[1].folder))
    child = Child(lambda: do(jobs[1]), tmp_path / "log.txt")
    while written_step(run.weights) < 2:
        assert child.wait(timeout=0.005) is None
    child.clear_away()
    assert jobs[1].state == "begun"

    do(jobs[1])

    assert jobs[1].state == "done"
    assert run.weights.read_bytes() == RunFolder(Path(jobs[0].folder)).weights.read_bytes()


def test_a_row_that_fails_stops_no_other(make: Make, tmp_path: Path, files: tuple[Path, Path]) -> None:
    fails = '\n[[rows]]\nname = "explodes"\nrecipe = "paper"\nset = {"training.base_learning_rate" = 1e30}\n'
    title, rows = files[0].read_text().split("[[rows]]", 1)
    files[0].write_text(f"{title}{fails}\n[[rows]]{rows}")

    with pytest.raises(UserError, match=r"1 failed, explodes, seed 0: pre-training: the loss is nan .*tries again"):
        make()

    result = read(tmp_path / "out")
    assert list(result["failed"]) == ["explodes, seed 0: pre-training"]
    assert [row["measured"]["logistic"]["mAP"]["seeds"] for row in result["rows"]] == [0, 1, 1]
    assert "Failed: explodes" in (tmp_path / "out" / "mine.md").read_text()


def test_random_weights_and_those_of_others(
    make: Make, tmp_path: Path, files: tuple[Path, Path], weights: Path
) -> None:
    files[0].write_text(
        files[0].read_text().partition("[[rows]]")[0]
        + '[[rows]]\nname = "random"\nweights = "random"\n[[rows]]\nname = "theirs"\ngiven = "theirs"\n'
        + f'[[rows]]\nname = "file"\nweights = "{weights}"\nevaluate = {{pool = "avg"}}\n'
    )

    without = make(seeds=2)["rows"]
    given = make(seeds=2, weights={"theirs": weights})["rows"]

    assert [row["left_out"] for row in without] == ["", "weights not given: --weights theirs=FILE", ""]
    assert [len(row["seeds"]) for row in given] == [2, 1, 1]
    runs = [Path(seed["evaluations"][0]).parent.name for seed in given[0]["seeds"]]
    networks = [load_backbone(tmp_path / "out" / "runs" / name) for name in runs]
    first, second = (next(iter(network.parameters())) for network in networks)
    assert not torch.equal(first, second)
    variances = [value for name, value in networks[0].state_dict().items() if name.endswith("running_var")]
    assert not any((value == 1).all() for value in variances)  # measured on the images
    protocols = [
        json.loads((Path(row["seeds"][0]["evaluations"][0]) / "metrics.json").read_text()) for row in given[1:]
    ]
    assert [each["protocol"]["pool"] for each in protocols] == ["gamp", "avg"]
    assert given[1]["views"] is None


def test_a_row_left_out_has_its_published_figures(make: Make, tmp_path: Path, files: tuple[Path, Path]) -> None:
    row = '[[rows]]\nname = "theirs"\ngiven = "theirs"\npaper = {mAP = 54.3}\n'
    files[0].write_text(files[0].read_text().partition("[[rows]]")[0] + row)

    make()

    text = (tmp_path / "out" / "mine.md").read_text()
    assert "| theirs | (54.3) |  |  |  |  |  |" in text
    assert "Left out: theirs (weights not given: --weights theirs=FILE)." in text


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from manyview.backbones import build_backbone, save_backbone

    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_backbone(build_backbone("timm/test_resnet"), file, {})
    return file


class Forked(Child):
    """Stands for a new process of a table's jobs, which would first import for seconds, as ``Popen`` is used there."""

    def __init__(self, command: list[str], *, stdout: IO[bytes], env: dict[str, str], **_: Any) -> None:
        assert command[:2] == [sys.executable, "-m"]

        def do_jobs() -> None:
            os.environ.update(env)
            sys.stdout = os.fdopen(1, "w")  # not pytest's
            sys.argv = command[2:]
            sys.dont_write_bytecode = True  # the code has checks of types, which fail where no test has set them up
            runpy.run_module(command[2], run_name="__main__")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12's on threads, which only wait here
            warnings.simplefilter("ignore", RuntimeWarning)  # runpy's on a module that is imported already
            super().__init__(do_jobs, Path(stdout.name))

    def wait(self, timeout: float | None = None) -> int | None:
        status = super().wait(timeout)
        self.clear_away()
        return status


def test_processes_on_several_gpus_make_what_one_process_makes(
    make: Make, made: Any, tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work.subprocess, "Popen", Forked)
    fails = '\n[[rows]]\nname = "explodes"\nrecipe = "paper"\nset = {"training.base_learning_rate" = 1e30}\n'
    files[0].write_text(files[0].read_text() + fails)

    with pytest.raises(UserError, match=r"1 failed, explodes, seed 0: pre-training: the loss is nan .*\.log\)"):
        make(gpus="0,1")

    there, here = read(tmp_path / "out")["rows"][:2], made.result["rows"]
    assert [row["measured"] for row in there] == [row["measured"] for row in here]
    logs = {file.suffix for file in (tmp_path / "out" / "logs").iterdir()}
    assert logs == {".json", ".log"}


def test_curves_are_those_of_metrics_jsonl(make: Make, tmp_path: Path, labels: tuple[Path, Path]) -> None:
    (tmp_path / "curves.toml").write_text(
        'title = "Curves"\n[curves]\nquantities = ["similarity", "std", "mAP"]\n'
        '[[rows]]\nname = "a"\nrecipe = "paper"\n'
    )

    result = make(tmp_path / "curves.toml", budget=256)

    [run] = (tmp_path / "out" / "runs").iterdir()
    records = RunFolder(run).read_metrics()
    by_quantity = {curve["quantity"]: curve["points"] for curve in result["curves"]}
    epochs = [record for record in records if record["kind"] == "epoch"]
    # Of 12 images, 4 a step: epochs end after 3, 6 and 8 steps, and their means stand in the middle.
    assert [point[:3] for point in by_quantity["similarity"]] == [(1.5, 0.5, 48), (4.5, 1.5, 144), (7, 7 / 3, 224)]
    assert [point[3] for point in by_quantity["similarity"]] == [record["similarity"] for record in epochs]
    assert [point[:3] for point in by_quantity["std"]] == [(3, 1.0, 96), (6, 2.0, 192), (8, pytest.approx(8 / 3), 256)]
    assert {(curve["epochs"], curve["views"]) for curve in result["curves"]} == {(8 / 3, 256)}
    quality = [record for record in records if record["kind"] == "quality"]
    assert [point[3] for point in by_quantity["mAP"]] == [record["logistic"] for record in quality]
    assert {path.name for path in (tmp_path / "out").glob("curves.*")} == {
        f"curves.{e}" for e in ("md", "csv", "json", "png")
    }


def test_a_plan_trains_nothing(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(dry_run=True)["plan"]

    assert not (tmp_path / "out" / "runs").exists()
    assert not (tmp_path / "out" / "evaluations").exists()
    assert [(row["row"], row["steps"], row["views"], row["state"]) for row in first] == [
        ("blocks", 4, 128, {"new": 2}),
        ("half as long", 3, 72, {"new": 2}),
    ]
    assert all(row["hours"] == row["hours_left"] > 0 for row in first)
    assert all(row["evaluation_hours"] > 0 for row in first)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("manyview.recipes.reproduce.pace.measure_step", refuse)
    assert make(dry_run=True)["plan"] == first
    monkeypatch.undo()
    make(only=["blocks"])
    blocks, half = make(dry_run=True)["plan"]
    assert blocks["state"] == {"done": 2}
    assert blocks["hours_left"] == blocks["evaluation_hours_left"] == 0 < blocks["hours"]
    assert half["hours_left"] == half["hours"]


def test_equal_time_is_the_measured_pace(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter((0.5, 0.25))
    monkeypatch.setattr("manyview.recipes.reproduce.pace.measure_step", lambda *_: next(seconds))

    plan = make(match="time", budget=0.01, dry_run=True)["plan"]

    assert [row["steps"] for row in plan] == [72, 72]  # 36 s; the second row has half of them
    assert [row["hours"] for row in plan] == [pytest.approx(0.01), pytest.approx(0.005)]


def test_torchrun_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="call it without torchrun"):
        make()


def test_settings_for_the_machine_are_the_runs(made: Any) -> None:
    asked = made.run("simsiam").read_json("run.json")["asked"]
    assert {key: asked[key.split(".")[0]][key.split(".")[1]] for key in ON_CPU} == ON_CPU
