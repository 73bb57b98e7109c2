"""Parts of the report: which results are a run's, thinned curves, states, colors of features."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from manyview.options.base import defaults
from manyview.options.report import ReportOptions
from manyview.report.page.curves import Chart, Series, axes, charts, thinned
from manyview.report.page.markup import Html, element, table
from manyview.report.page.page import embedded
from manyview.report.page.pictures.dense import principal_colors
from manyview.report.page.reading.evaluations import made_from, search, unused
from manyview.report.page.reading.run import Run, read_run, run_names
from manyview.report.page.reading.status import status_of
from manyview.report.page.report import gather
from manyview.report.page.sections.overview import collapse_in_words
from manyview.report.page.svg import describe, draw, ticks
from manyview.runs import RunFolder
from tests.helpers.reports import write_linear, write_log, write_run
from tests.helpers.tiny import photos

__all__ = ["photos"]


@pytest.fixture(scope="module")
def path(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", photos)


@pytest.fixture(scope="module")
def run(path: Path) -> Run:
    return read_run(path, "run")


def test_results_are_a_runs_by_the_content_of_its_weights(path: Path, photos: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(path, tmp_path / "runs" / "run"))
    other = write_run(tmp_path / "runs" / "other", photos, seed=5)
    shutil.copy(here / "backbone.safetensors", tmp_path / "elsewhere.safetensors")
    shutil.copy(other / "backbone.safetensors", here / "best.safetensors")
    write_linear(tmp_path / "runs" / "moved", tmp_path / "elsewhere.safetensors", ["a", "b"])
    write_linear(tmp_path / "runs" / "best", other / "backbone.safetensors", ["a", "b"])
    write_linear(tmp_path / "far" / "before", here / "backbone.safetensors", ["a", "b"])
    before = (tmp_path / "far" / "before" / "metrics.json").read_text()
    changed = before.replace('"weights_sha256": "', '"weights_sha256": "0')
    (tmp_path / "far" / "before" / "metrics.json").write_text(changed)
    write_linear(tmp_path / "far" / "strange", tmp_path / "nothing.safetensors", ["a", "b"])

    found = made_from(read_run(here, "run"), search([here], [tmp_path / "far"]))

    assert [(each.folder.name, each.of) for each in found] == [
        ("moved", "last"),
        ("best", "best"),
        ("before", "others"),
    ]
    assert [each.folder.name for each in made_from(read_run(here, "run"), search([here], []))] == ["moved", "best"]


def test_results_that_are_given_are_shown_once_or_said_to_be_others(
    path: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path(shutil.copytree(path, tmp_path / "runs" / "run"))
    other = write_run(tmp_path / "far" / "other", photos, seed=5)
    write_linear(tmp_path / "runs" / "linear", here / "backbone.safetensors", ["a", "b"])
    write_linear(tmp_path / "far" / "linear", other / "backbone.safetensors", ["a", "b"])
    (tmp_path / "far" / "damaged").mkdir()
    (tmp_path / "far" / "damaged" / "metrics.json").write_text("{")
    (tmp_path / "link").symlink_to(tmp_path / "runs" / "linear")
    monkeypatch.chdir(tmp_path)
    given = [Path("runs"), Path("runs/linear/metrics.json"), Path("link"), Path("far/linear"), Path("far/damaged")]
    found = search([here], given)
    shown = made_from(read_run(here, "run"), found)
    assert [each.file for each in shown] == [tmp_path / "runs" / "linear" / "metrics.json"]
    assert unused(found, shown) == (
        "--evaluations far/linear is left out: none of its results measured these weights.",
    )
    options = {**defaults(ReportOptions), "evaluations": given}
    assert "none of its results measured these weights." in gather([here], options).damaged[1]


def test_runs_are_called_by_what_tells_them_apart(tmp_path: Path) -> None:
    assert run_names([tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "c"]) == ["a/run", "b/run", "c"]
    assert run_names([tmp_path / "x\x1b[0m"]) == ["x\\x1b[0m"]


def test_states_follow_from_lock_log_and_clock(path: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(path, tmp_path / "run"))
    folder = RunFolder(here)
    assert status_of(read_run(here, "r")).sentence == "Finished: 40 of 40 steps in 1 min 00 s."
    folder.metrics_file.write_text("")
    write_log(folder, range(21))
    now = read_run(here, "r")
    assert now.working is False
    assert status_of(now).state == "stopped"
    assert "20 of 40 steps" in status_of(now).sentence
    folder.lock()
    try:
        working = read_run(here, "r")
    finally:
        folder.unlock()
    assert working.working is True
    assert status_of(working).state == "working"
    assert "about 30 s left" in status_of(working).sentence
    late = status_of(working, now=(working.written or 0) + 301)
    assert (late.state, late.sentence) == ("stale", "Stale: last line 5 min 01 s ago, after 20 of 40 steps.")
    slow = tuple({**record, "elapsed": 200.0 * record["step"]} for record in working.log)  # 1,000 s between lines
    assert status_of(dataclasses.replace(working, log=slow), now=(working.written or 0) + 301).state == "working"
    assert status_of(dataclasses.replace(working, working=None)).state == "begun"
    assert status_of(dataclasses.replace(working, log=())).state == "starting"
    assert status_of(dataclasses.replace(working, log=(), working=False)).state == "stopped"


def test_a_run_that_ended_early_is_finished(path: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(path, tmp_path / "run"))
    folder = RunFolder(here)
    folder.metrics_file.write_text("")
    write_log(folder, range(21))  # measured at 0, 10 and 20
    run = read_run(here, "r")
    settings = {**run.config, "monitor": {**run.config["monitor"], "eval_patience": 1}}
    best = {"measure": "rankme", "best": {"step": 10, "value": 40.0}, "last": {"step": 20, "value": 40.0}}
    ended = dataclasses.replace(run, config=settings, best=best)
    assert status_of(ended).state == "finished"
    assert status_of(ended).sentence == "Ended early: 20 of 40 steps in 30 s, as monitor.eval_patience says."
    assert status_of(dataclasses.replace(ended, config=run.config)).state == "stopped"
    assert status_of(dataclasses.replace(ended, best=None)).state == "stopped"
    of_before = {**best, "last": {"step": 10, "value": 40.0}}  # of a run that was made longer since
    assert status_of(dataclasses.replace(ended, best=of_before)).state == "stopped"
    patient = {**run.config, "monitor": {**run.config["monitor"], "eval_patience": 2}}
    assert status_of(dataclasses.replace(ended, config=patient)).state == "stopped"


def test_collapse_is_said_in_words(run: Run) -> None:
    good, bad = {"std": 0.9, "rank": 50.0}, {"std": 0.1, "rank": 2.0}

    def words(*readings: dict[str, float]) -> tuple[str, str]:
        log = tuple({"step": n + 1, "kind": "step", **reading} for n, reading in enumerate(readings))
        return collapse_in_words(dataclasses.replace(run, log=log))

    assert words() == ("", "")
    assert words(good, good)[0] == "good"
    state, sentence = words(good, bad, good, bad, bad)
    assert state == "bad"
    assert sentence.startswith(
        "Collapsing since step 4. At step 5 the standard deviation of the projections is 0.10 of"
    )
    assert words(good, bad, good)[0] == "warn"
    assert words(good, {"std": 0.1, "rank": 40.0})[0] == "good", "collapse is both"
    assert words(bad, good)[0] == "good", "the first rank is the highest until then, as the monitor has it"


@pytest.mark.parametrize("count", [5, 600, 601, 5000])
def test_thinned_curves_keep_ends_and_extremes(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    values[count // 2] = 99
    steps, kept = thinned(range(0, 10 * count, 10), values.tolist())
    assert len(steps) == len(kept) <= 600
    assert (steps[0], steps[-1]) == (0, 10 * count - 10)
    assert steps == sorted(set(steps))
    assert {values.min(), values.max()} <= set(kept)
    assert all(values[step // 10] == value for step, value in zip(steps, kept, strict=True))


def test_charts_have_what_the_log_has(run: Run) -> None:
    groups = dict(charts([run]))
    assert [chart.key for chart in groups["Losses"]] == ["loss-loss", "loss-similarity"]
    loss = groups["Losses"][0]
    assert [(series.name, series.steps[-1], series.values[-1]) for series in loss.series] == [
        ("single steps", 40, 3.0),
        ("mean of the epoch", 40, 3.0),
    ]
    assert loss.log
    assert not groups["Losses"][1].log, "it is negative"
    assert groups["Collapse"][0].lines == ((0.8, "low below this"),)
    assert [series.name for series in groups["Quality of the backbone"][0].series] == [
        "logistic regression",
        "nearest neighbors",
    ]
    about = axes(run)
    assert (about["perEpoch"], about["viewsPerStep"]) == (20, 32)
    assert about["clock"][-1] == (40, pytest.approx(60 / 3600, abs=1e-6))
    assert charts([dataclasses.replace(run, log=())]) == []
    odd = ({"step": 1, "kind": "step", "loss": float("nan"), "std": True, "learning_rate": "x", "similarity": None},)
    assert charts([dataclasses.replace(run, log=odd)]) == []


def test_a_chart_is_drawn_to_scale_and_said_in_words() -> None:
    chart = Chart("k", "Loss", "", (Series(0, "", 0, (0, 50, 100), (1.0, 3.0, 2.0)),), zero=True)
    drawn = str(draw(chart, ["a"]))
    [path] = [part for part in drawn.split("<path")[1:] if 'class="curve' in part]
    points = [tuple(map(float, point.split())) for point in path.split('d="M')[1].split('"')[0].split("L")]
    (left, low), (middle, high), (right, between) = points
    assert middle - left == pytest.approx(right - middle, abs=0.11)
    assert (low - between) / (low - high) == pytest.approx(0.5, abs=0.01)
    assert describe(chart, ["a"]) == "Loss: from 1 at step 0 to 2 at step 100"
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(-0.3, 7.2) == [0, 2, 4, 6]


def test_colors_are_principal_components() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(6, 4, 5)).astype(np.float32) * np.arange(6, 0, -1)[:, None, None] for _ in range(2)]
    vectors = np.concatenate([each.reshape(6, -1).T for each in maps])
    scores = PCA(3, svd_solver="full").fit_transform(vectors.astype(np.float64))
    colors = np.concatenate([each.reshape(-1, 3) for each in principal_colors([m.astype(np.float32) for m in maps])])
    for component in range(3):
        own = scores[:, component] * (1 if (scores[:, component] ** 3).sum() > 0 else -1)
        low, high = np.percentile(own, (2, 98))
        expected = ((own - low) / (high - low)).clip(0, 1) * 255
        np.testing.assert_allclose(colors[:, component], expected, atol=0.51)
    flat = principal_colors([np.zeros((2, 3, 3), np.float32)])[0]
    assert flat.shape == (3, 3, 3)


def test_markup_is_text_unless_it_is_html() -> None:
    assert element("p", "<b>", Html("<i></i>"), None, title='"', hidden=True, class_=None) == (
        '<p title="&quot;" hidden>&lt;b&gt;<i></i></p>'
    )
    assert '<th scope="row">&lt;a&gt;</th>' in table("c", ["<h>"], [["<a>"]])
    assert embedded({"a": "</script>&"}) == '{"a":"\\u003c/script\\u003e\\u0026"}'
