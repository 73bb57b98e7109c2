"""The suite in its tiny form, on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.job import Job
from benchmarks.gpu.job import main as run_step
from benchmarks.gpu.options import parse
from benchmarks.gpu.steps import LIMITS, throughput
from benchmarks.gpu.steps import quality as quality_step
from tests.helpers.few_costs import fewer_costs
from tests.helpers.narrow import narrowed

ROOT = Path(__file__).parents[3]
ON_A_CPU = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


def suite(*arguments: str, timeout: int = 250) -> subprocess.CompletedProcess[str]:
    words: Sequence[str] = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    return subprocess.run(words, cwd=ROOT, env=ON_A_CPU, capture_output=True, text=True, timeout=timeout)


def test_the_command_runs_a_step_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a program for Python that notes its words, adds to the step's results, and ends well."""
    program, out = tmp_path / "python", tmp_path / "out"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/words\necho \'{{"passed": true}}\' > {out}/correctness.json\n'
    )
    program.chmod(0o755)
    out.mkdir()
    (out / "correctness.json").write_text('{"of": "a run before"}')
    monkeypatch.setattr(command.sys, "executable", str(program))
    given = ["correctness", "--tiny", "--out", str(out), "--minutes", "correctness=2"]
    assert command.main(given) == 0
    assert (tmp_path / "words").read_text().split() == ["-m", "benchmarks.gpu.job", "correctness", "120.0", *given]
    assert [path.name for path in out.iterdir()] == ["correctness.json"]
    assert json.loads((out / "correctness.json").read_text()) == {"passed": True, "state": "done"}


# In this process, as importing everything anew takes longer than these do.
@pytest.mark.filterwarnings("ignore")
@fewer_costs()
@narrowed(8)
@pytest.mark.parametrize("step", LIMITS)
def test_every_step_runs_to_its_end(step: str, tmp_path: Path) -> None:
    given = [step, "--tiny", "--out", str(tmp_path), "--work", str(tmp_path / "work"), "--commit", "abc"]
    done = run_step(step, "200", *given)
    result = json.loads((tmp_path / f"{step}.json").read_text())
    assert done == 0, result
    assert (result["tiny"], result["origin"]["commit"]) == (True, "abc")
    assert result["origin"]["command"].startswith(f"python -m benchmarks.gpu {step} --tiny")
    CHECKS[step](result)


def check_correctness(result: dict[str, Any]) -> None:
    assert all(result[part]["passed"] for part in ("gradients", "renderers", "bf16"))
    assert 0 < result["gradients"]["cpu"]["gradient_error"] < 1e-2, "float32 was compared with itself"
    assert 0 < result["renderers"]["worst_view"] <= 2


def check_throughput(result: dict[str, Any]) -> None:
    assert result.keys() >= throughput.PARTS.keys()
    views = 2 * 4 * throughput.TINY_SETTINGS["training.batch_size"]
    for name in throughput.PARTS:
        figures = result[name]
        assert figures["views_per_second"] * figures["seconds_per_step"] == pytest.approx(views)
        assert figures["photographs_per_second"] * 8 == pytest.approx(figures["views_per_second"])
        if name != "ready":
            kept = result["ready"]["seconds_per_step"] / figures["seconds_per_step"]
            assert figures["throughput_kept"] == pytest.approx(kept)
    rendering = result["device_renderer"]["rendering"]
    assert rendering["share_of_step"] == pytest.approx(rendering["seconds"] / result["ready"]["seconds_per_step"])


def check_quality(result: dict[str, Any]) -> None:
    paper = result["seed 0, paper"]
    assert 0 <= paper["logistic"]["gamp"]["pretrained"]["mAP"] <= 1
    assert paper["pretraining"]["views"] >= 64


def check_detection(result: dict[str, Any]) -> None:
    assert result["pretraining"]["views"] >= 64
    rows = [result[name] for name in ("random-init", "paper-68")]
    for row in rows:
        found, protocol = row["result"]["results"], row["result"]["protocol"]
        assert [row[name] for name in ("box AP", "AP50", "AP75")] == [found["box"][k] for k in ("AP", "AP50", "AP75")]
        assert row["VOC AP50"] == found["voc"]["AP50"]
        assert row["iterations"] == protocol["iterations"] == 2
        assert (protocol["architecture"], protocol["backbone"]) == ("c4", "resnet18")
        assert (protocol["train"]["photographs"], protocol["val"]["photographs"]) == (6, 6)
    random, pretrained = (row["result"]["protocol"] for row in rows)
    different = {key for key in random.keys() | pretrained.keys() if random.get(key) != pretrained.get(key)}
    assert different == {"weights", "weights_sha256", "loading"}
    assert pretrained["weights"].endswith("detection-pretraining/paper-68/backbone.safetensors")


CHECKS = {
    "correctness": check_correctness,
    "throughput": check_throughput,
    "quality": check_quality,
    "detection": check_detection,
}


def test_a_step_that_is_cut_off_is_marked_so_and_the_next_is_done(tmp_path: Path) -> None:
    limits = ["--minutes", "correctness=0.005", "--minutes", "quality=0.005"]
    work = ["--work", str(tmp_path / "work"), "--out", str(tmp_path)]
    done = suite("--tiny", *work, *limits, "correctness", "quality")
    assert done.returncode == 1
    states = [json.loads((tmp_path / f"{step}.json").read_text())["state"] for step in ("correctness", "quality")]
    assert states == ["cut off at its limit of 0.3 s"] * 2


def test_a_budget_is_shared_out_and_what_is_left_goes_to_the_later_steps() -> None:
    options = parse(["--out", "results", "--minutes", "12"])
    steps = command.planned(options)
    assert steps == ["correctness", "throughput", "quality"]
    budget = dict(options.minutes)
    assert command.limit_of(steps, budget, 0) == pytest.approx((720 - 2) * 1.5 / 12)
    assert command.limit_of(steps[1:], budget, 30) == pytest.approx((690 - 2) * 3 / 10.5)
    assert command.limit_of(steps[2:], budget, 100) == pytest.approx(618)
    assert command.limit_of(steps[2:], budget, 800) == 1

    both = parse(["--out", "results", "--minutes", "12", "--minutes", "quality=3"])
    assert command.limit_of(steps[2:], dict(both.minutes), 100) == 180
    boxes = ["--boxes", "voc", "--train-boxes", "a.json", "--val-boxes", "b.json"]
    assert command.planned(parse(["--out", "results", "--minutes", "12", *boxes]))[-1] == "detection"


def test_without_a_budget_each_step_has_its_own_limit() -> None:
    options = parse(["--out", "results", "--minutes", "throughput=15"])
    assert command.planned(options) == list(LIMITS)
    assert command.limit_of(["throughput", "quality"], dict(options.minutes), 1e6) == 900
    assert command.limit_of(["quality"], dict(options.minutes), 1e6) == 60 * LIMITS["quality"]


def test_a_row_that_would_be_cut_off_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of 100 s in 390, after shorter ones of 10 s: all three of the first seed, and none of the second."""
    job = Job("quality", 390, ["--out", str(tmp_path), "--work", str(tmp_path / "work")])
    clock, rows = [0.0], []

    def row(case: Any, options: Any) -> dict[str, Any]:
        rows.append((options.seed, case.name, options.views))
        clock[0] += 100 if options.views == 200_000 else 10
        return {"views": 1}

    monkeypatch.setattr(Job, "seconds_left", property(lambda job: 390 - clock[0]))
    monkeypatch.setattr(quality_step.quality, "row", row)
    monkeypatch.setattr(quality_step, "_labeled", lambda job: (tmp_path, tmp_path, tmp_path))
    quality_step.run(job)
    shorter = [(0, name, views) for views in (10_000, 40_000) for name in ("recommended", "simsiam")]
    assert rows == [*shorter, *((0, name, 200_000) for name in ("recommended", "paper", "simsiam"))]
    assert not job.failed


def test_without_a_gpu_only_the_tiny_form_runs(tmp_path: Path) -> None:
    done = suite("correctness", "--out", str(tmp_path), "--work", str(tmp_path / "work"))
    assert done.returncode == 1
    assert "with --tiny every step runs on a CPU" in done.stderr
    assert json.loads((tmp_path / "correctness.json").read_text())["state"] == "failed with exit code 2"


def test_a_part_that_fails_leaves_the_others_to_be_done(tmp_path: Path) -> None:
    job = Job("throughput", 60, ["--tiny", "--out", str(tmp_path), "--work", str(tmp_path / "work")])

    def fail() -> dict[str, Any]:
        raise RuntimeError("out of memory")

    job.attempt("first", fail)
    job.attempt("second", lambda: {"views_per_second": 3.0})
    kept = json.loads((tmp_path / "throughput.json").read_text())
    assert kept["first"] == {"passed": False, "error": "RuntimeError: out of memory"}
    assert kept["second"] == {"views_per_second": 3.0}
    assert job.failed == ["first"]
    assert 0 < job.seconds_left <= 60


def test_the_commit_that_is_given_stands_in_every_part(tmp_path: Path) -> None:
    figures = {"pretraining": {"commit": "another", "views": 64}, "mAP": 0.5}
    for given, recorded in (([], "another"), (["--commit", "abc"], "abc")):
        Job("quality", 60, ["--out", str(tmp_path), "--work", str(tmp_path / "work"), *given]).save("row", figures)
        kept = json.loads((tmp_path / "quality.json").read_text())
        assert kept["row"] == {"pretraining": {"commit": recorded, "views": 64}, "mAP": 0.5}


def test_wheels_come_after_this_checkout_and_before_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = []
    (tmp_path / "one-1-py3-none-any.whl").touch()
    monkeypatch.setattr(command.subprocess, "run", lambda words, check: installed.append(words))
    monkeypatch.setenv("PYTHONPATH", "inherited")
    paths = command.prepare(tmp_path)["PYTHONPATH"].split(os.pathsep)
    assert paths == [str(ROOT), str(ROOT / "src"), paths[2], "inherited"]
    [words] = installed
    assert {"--no-index", "--no-deps", paths[2], str(tmp_path / "one-1-py3-none-any.whl")} <= set(words)


def test_the_command_itself_needs_nothing_but_python(tmp_path: Path) -> None:
    """The packages may still lie in --wheels."""
    program = (
        "import sys, benchmarks.gpu.__main__; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "wrong",
    [
        ["speed"],
        ["--minutes", "speed=3"],
        ["--minutes", "some"],
        ["--train-labels", "train.csv"],
        ["--boxes", "voc", "--val-boxes", "a.json"],
    ],
    ids=["step", "limit", "minutes", "labels", "boxes"],
)
def test_mistakes_are_reported_at_once(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(["--out", "results", *wrong])
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err
