"""Whole runs beside other libraries': what is seen from outside, and what is made of it."""

from __future__ import annotations

import json
import sys
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks.peers import hours, loop, runs
from benchmarks.peers.watch import Watched, watch
from manyview.config import resolve
from manyview.config.resolve import Assignment, parse_assignment
from manyview.recipes import recipe_settings

BURNS = """
import pathlib, subprocess, sys, time
log, held = pathlib.Path(sys.argv[1]), b"x" * (60 << 20)
burn = "import time\\nwhile time.process_time() < .3: pass"
subprocess.run([sys.executable, "-S", "-c", burn])
with log.open("a") as file:
    file.write('{"step": 1}\\n{"kind": "of no step"}\\n')
time.sleep(.4)
with log.open("a") as file:
    file.write('{"step": 2}\\n')
time.sleep(.2)
"""


def test_a_command_is_seen_with_all_its_processes(tmp_path: Path) -> None:
    words = [sys.executable, "-S", "-c", BURNS, str(tmp_path / "log")]

    seen = watch(words, tmp_path / "log", {}, tmp_path / "printed", memory=True)

    assert 0.3 < seen.core_seconds < 1.2  # the child has ended, and counts; nothing does twice
    assert list(seen.steps) == [1, 2]
    assert seen.steps[1][0] + 0.3 < seen.steps[2][0] < seen.seconds
    assert seen.steps[1][1] >= 0.3
    assert seen.peak_bytes > 60 << 20


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    words = [sys.executable, "-S", "-c", "raise SystemExit('no such setting')"]
    with pytest.raises(SystemExit, match="no such setting"):
        watch(words, tmp_path / "log", {}, tmp_path / "printed")


def test_rates_are_those_after_the_first_steps() -> None:
    seen = Watched({1: (7.0, 9.0), 10: (10.0, 12.0), 20: (14.0, 20.0), 25: (99.0, 99.0)}, peak_bytes=3 << 20)

    found = runs.figures(seen, first=1, batch=16, steps=25)

    assert found["images_per_second"] == 160 / 4
    assert found["images_per_core_second"] == 160 / 8
    assert (found["seconds_to_first_step"], found["peak_mib"]) == (7, 3)
    from_zero = Watched({step - 1: times for step, times in seen.steps.items()}, peak_bytes=3 << 20)
    assert runs.figures(from_zero, first=0, batch=16, steps=25) == found


@pytest.mark.parametrize("setting", runs.SETTINGS, ids=lambda setting: setting.name)
def test_manyviews_commands_are_valid_and_as_the_setting_says(setting: runs.Setting, tmp_path: Path) -> None:
    for each in runs.CONTESTANTS:
        if not (each.name.startswith("manyview") and each.can(setting)):
            continue
        words = each.command(setting, tmp_path / "images", tmp_path / "run", 30, 2)
        options = dict(pairwise(words))
        sets = [parse_assignment(value) for flag, value in pairwise(words) if flag == "--set"]

        config = resolve(recipe_settings(options["--recipe"]), [*sets, Assignment("data.images", "images", "")])

        assert getattr(config.views, "pairs", 4) == setting.pairs  # blocks have one for each of four
        assert (options["--view-size"], options["--batch-size"]) == (str(setting.view_size), str(setting.batch))
        assert (config.training.optimizer, config.training.precision) == ("sgd", "float32")


def test_a_table_of_runs_has_the_ratios_to_lightly_of_each_round(capsys: pytest.CaptureFixture[str]) -> None:
    def each(rate: float) -> dict[str, float]:
        return dict.fromkeys(["images_per_second", "images_per_core_second", "seconds_to_first_step", "peak_mib"], rate)

    rounds = [{"a setting": {"manyview": each(one), "lightly": each(other)}} for one, other in ((6, 2), (2, 2), (8, 4))]

    found = runs.result(rounds, runs.parse(["--out", "none"]))

    text = runs.markdown(found)
    assert "| a setting | manyview | 2.00 (1.00 to 3.00) | 2.00 (1.00 to 3.00) | 2.00 | 6 |" in text
    assert "|  | lightly | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) | 1.00 | 2 |" in text


def point(folder: Path, minutes: float, mAP: float) -> None:  # noqa: N803 - as the metric is spelled
    folder.mkdir(parents=True, exist_ok=True)
    story = {"views": int(1000 * minutes), "core_seconds": 60 * minutes}
    figures = {"pretrained": [mAP, mAP - 1, mAP + 1]}
    (folder / f"{minutes}.point.json").write_text(json.dumps({**story, **figures}))


def test_a_recipe_is_there_when_it_first_has_the_peers_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for minutes, mAP in ((5, 19.0), (40, 22.0), (80, 21.5)):  # noqa: N806 - as the metric is spelled
        point(tmp_path / "lightly-SimCLR", minutes, mAP)
    point(tmp_path / "lightly-SimSiam", 80, 20.0)
    for minutes, mAP in ((2, 21.9), (10, 23.0), (20, 24.0)):  # noqa: N806 - as the metric is spelled
        point(tmp_path / "manyview-recommended", minutes, mAP)
    point(tmp_path / "manyview-simsiam", 60, 20.0)
    (tmp_path / "random_init.json").write_text("[18.04, 17, 19]")
    (tmp_path / "random_init-residual-branches-at-zero.json").write_text("[19.96, 19, 21]")
    (tmp_path / "page.md").write_text("<!-- hours -->\n<!-- end of hours -->\n")
    given = ["--images", "i", "--train", "t", "--val", "v", "--page", str(tmp_path / "page.md")]

    hours.main([*given, "--out", str(tmp_path), "--only"])

    text = capsys.readouterr().out
    assert "lightly SimCLR, has 22.0 after 40 core minutes" in text
    assert "manyview recommended is there after 0.25 of that time" in text
    assert "manyview simsiam does not get there" in text
    assert "| random init | 0 | 0 | 18.0 |" in text
    assert "| random init, residual branches at zero | 0 | 0 | 20.0 |" in text
    assert "|  | 10,000 | 10.0 | 23.0 (22.0 to 24.0) |" in text
    assert text.strip() in (tmp_path / "page.md").read_text()
    kept = json.loads((tmp_path / "hours.json").read_text())
    assert kept["reached"]["core_seconds"] == {"manyview recommended": 600, "manyview simsiam": None}
    with Image.open(tmp_path / "hours-to-quality.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", loop.METHODS)
def test_the_loop_goes_on_where_its_last_weights_were_saved(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightly")
    (tmp_path / "images").mkdir()
    for index in range(4):
        Image.new("RGB", (40, 30), (60 * index, 9, 200)).save(tmp_path / "images" / f"{index}.png")
    minutes = count(1)
    monkeypatch.setattr(loop, "core_seconds", lambda _: 60.0 * next(minutes))
    words: list[Any] = [method, "--images", tmp_path / "images", "--out", tmp_path / "out", "--view-size", 32]
    words += ["--batch-size", 2, "--workers", 0, "--pairs", 2, "--core-minutes"]

    loop.main([str(word) for word in [*words, 2]])
    first = json.loads(loop.weights_at(tmp_path / "out", 2).with_suffix(".json").read_text())
    loop.main([str(word) for word in [*words, 2, first["core_seconds"] / 60 + 4]])

    [last] = set((tmp_path / "out").glob("weights-*.json")) - {
        loop.weights_at(tmp_path / "out", 2).with_suffix(".json")
    }
    after = json.loads(last.read_text())
    assert after["step"] > first["step"] > 0
    assert after["core_seconds"] > first["core_seconds"] + 4
    assert after["views"] == 4 * after["images"] == 8 * after["step"]
    weights = [torch.load(file, weights_only=True) for file in (tmp_path / "out").glob("weights-*.pt")]
    assert not torch.equal(weights[0]["layer4.1.conv2.weight"], weights[1]["layer4.1.conv2.weight"])


def test_what_is_trained_and_measured_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command that is called is valid; the loop goes on from mark to mark."""
    called: list[str] = []

    def fake_watch(words: list[str], metrics: Path, environment: Any, log: Path, **_: Any) -> Watched:
        called.append(" ".join(words))
        options = dict(pairwise(words))
        if "manyview" in words:
            sets = [parse_assignment(value) for flag, value in pairwise(words) if flag == "--set"]
            resolve(recipe_settings(options["--recipe"]), [*sets, Assignment("data.images", "images", "")])
            run = Path(options["--out"])
            run.mkdir()
            (run / "run.json").write_text('{"plan": {"views_per_step": 128}}')
            (run / "backbone.safetensors").write_text("weights")
            return Watched(core_seconds=2.0 * int(options["--steps"]))
        given = loop.parse(words[words.index("benchmarks.peers.loop") + 1 :])
        story = {"views": 10, "core_seconds": 60 * given.core_minutes[-1]}
        loop.weights_at(given.out, given.core_minutes[-1]).with_suffix(".json").write_text(json.dumps(story))
        return Watched()

    monkeypatch.setattr(hours, "watch", fake_watch)
    said: dict[str, str] = {}

    def fake_evaluation(weights: Path, *, out: Path, beside: str, **_: Any) -> None:
        said[str(weights)] = beside
        start = {"random_init": {"mAP": 0.18, "intervals": {"mAP": [0.17, 0.19]}}} if beside == "random" else {}
        out.mkdir()
        results = {"pretrained": {"mAP": 0.2, "intervals": {"mAP": [0.19, 0.21]}}, **start}
        (out / "metrics.json").write_text(json.dumps({"results": results}))

    monkeypatch.setattr(hours, "linear_evaluation", fake_evaluation)
    monkeypatch.setattr(hours, "provenance", lambda: {"commit": "first"})
    words = ["--images", "i", "--train", "t", "--val", "v", "--out", str(tmp_path / "out"), "--marks", "5", "10"]

    hours.main([*words, "--only", "lightly SimCLR"])  # whose start is not known yet
    assert not hours.starts(hours.parse(words))
    hours.main(words)

    recommended = next(each for each in hours.CONTESTANTS if each.recipe == "recommended")
    made = hours.points(recommended, hours.parse(words))
    assert [(each["views"], each["core_seconds"]) for each in made] == [(128 * n, 2.0 * n) for n in recommended.steps]
    runs_of_ours = sum(len(each.steps) for each in hours.CONTESTANTS)
    loops = [each for each in called if "peers.loop" in each]
    assert len(called) == runs_of_ours + len(loops)
    assert len(loops) == 2 * sum(each.is_peer for each in hours.CONTESTANTS)
    with_start = sorted(Path(weights).parent.name for weights, beside in said.items() if beside == "random")
    assert with_start == ["manyview-recommended", "manyview-simsiam"]  # once for each start
    assert [figures[0] for figures in hours.starts(hours.parse(words)).values()] == pytest.approx([18, 18])
    before = list(called)
    monkeypatch.setattr(hours, "provenance", lambda: {"commit": "later"})
    hours.main(words)
    assert called == before
    assert {each["commit"] for each in hours.points(recommended, hours.parse(words))} == {"first"}
