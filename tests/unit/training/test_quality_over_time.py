"""The backbone measured as it trains: the record, the best weights, and that training does not notice."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from manyview.backbones import wrap_backbone
from manyview.config import MonitorConfig, PretrainConfig
from manyview.errors import UserError
from manyview.evaluation.quality.instrument import QualityInstrument
from manyview.runs import RunFolder
from manyview.training.quality import KIND, QualityRecord, spell_summary
from tests.helpers.checkpoint_files import shaken
from tests.helpers.few_costs import few_costs
from tests.helpers.tiny import Interrupting, TinyNet, train_tiny, write_images

__all__ = ["few_costs"]

pytestmark = pytest.mark.usefixtures("few_costs")

COUNT, STEPS = 18, 6
FIGURES = {"logistic", "knn", "std", "rankme", "uniformity", "dense"}
SETTINGS = {"monitor.eval_size": 16}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), COUNT)


@pytest.fixture(scope="module")
def labels(images: Path) -> Path:
    file = images.parent / "labels.csv"
    rows = [f"{index:02d}.jpg,{'odd' if index % 2 else 'even'}" for index in range(COUNT)]
    file.write_text("image,labels\n" + "\n".join(rows) + "\n")
    return file


def train(images: Path | None, out: Path, settings: dict[str, Any] | None = None, **named: Any) -> RunFolder:
    named = {"epochs": None, "backbone": Interrupting(999), **named}
    if "resume" not in named:
        named.setdefault("steps", STEPS)
    return train_tiny(images, out, settings={**(SETTINGS if settings is None else settings)}, **named)


@pytest.fixture(scope="module")
def measured(images: Path, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(images, tmp_path_factory.mktemp("runs") / "measured", eval_labels=labels, eval_every=2)


def records(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    """The records of a type without what depends on the clock."""
    clocks = ("seconds", "elapsed", "views_per_second", "waiting")
    rows = [row for row in run.read_metrics() if row["kind"] == kind]
    return [{key: value for key, value in row.items() if key not in clocks} for row in rows]


def quality(run: RunFolder) -> list[dict[str, Any]]:
    """The measurements without what depends on the clock."""
    return records(run, KIND)


def test_the_weights_are_those_without_measuring(images: Path, measured: RunFolder, tmp_path: Path) -> None:
    plain = train(images, tmp_path / "plain", {})

    last = f"checkpoints/step-{STEPS:09d}"
    for name in ("backbone.safetensors", f"{last}.safetensors"):
        assert (plain.path / name).read_bytes() == (measured.path / name).read_bytes()
    states = [json.loads((run.path / f"{last}.json").read_text())["state"] for run in (plain, measured)]
    kept = [{key: state[key] for key in ("monitor", "totals", "skipped")} for state in states]
    assert kept[0] == kept[1]
    others = [records(run, "step") for run in (plain, measured)]
    assert others[0] == others[1]
    assert quality(plain) == []
    assert not (plain.path / "best.json").exists()


def test_records_stand_at_the_start_at_intervals_and_at_the_end(measured: RunFolder) -> None:
    rows = quality(measured)

    assert [row["step"] for row in rows] == [0, 2, 4, 6]
    assert all(row.keys() >= FIGURES for row in rows)
    assert all(0 <= row[name] <= 1 for row in rows for name in ("logistic", "knn"))
    assert len({row["rankme"] for row in rows}) == 4
    assert measured.read_json("run.json")["quality"]["held_out"] == COUNT // 3


@pytest.mark.parametrize("every", [None, 4, 100])
def test_intervals(images: Path, labels: Path, tmp_path: Path, every: int | None) -> None:
    settings = {**SETTINGS, "monitor.eval_size": 8}
    run = train(images, tmp_path / "run", settings, eval_labels=labels, eval_every=every)

    # Unset, measuring 36 images of 8 x 8 may cost a fifth of steps of 32 views of 16 x 16: one step.
    expected = {None: [0, 1, 2, 3, 4, 5, 6], 4: [0, 4, 6], 100: [0, 6]}[every]
    assert [row["step"] for row in quality(run)] == expected


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_a_stopped_run_has_the_same_records_once(
    images: Path, labels: Path, measured: RunFolder, tmp_path: Path, stop: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(images, tmp_path / "run", backbone=Interrupting(stop), eval_labels=labels, eval_every=2)
    run = train(None, tmp_path / "run", {}, resume=True)

    assert quality(run) == quality(measured)
    last = f"checkpoints/step-{STEPS:09d}.json"
    for name in ("backbone.safetensors", "best.safetensors", "best.json", last):
        assert (run.path / name).read_bytes() == (measured.path / name).read_bytes()


def test_killed_before_the_first_checkpoint(measured: RunFolder, tmp_path: Path) -> None:
    out = Path(shutil.copytree(measured.path, tmp_path / "run"))
    shutil.rmtree(out / "checkpoints")

    assert quality(train(None, out, {}, resume=True)) == quality(measured)


def test_killed_before_the_best_weights_were_written(measured: RunFolder, tmp_path: Path) -> None:
    out = Path(shutil.copytree(measured.path, tmp_path / "run"))
    best = measured.read_json("best.json")["best"]["step"]
    for step in range(best + 1, STEPS + 1):
        for file in (out / "checkpoints").glob(f"step-{step:09d}.*"):
            file.unlink()
    (out / "best.safetensors").unlink()
    kept = (out / "checkpoints" / f"step-{best:09d}.json").exists()

    run = train(None, out, {}, resume=True)

    assert kept or best < STEPS
    assert (run.path / "best.safetensors").read_bytes() == (measured.path / "best.safetensors").read_bytes()


def test_the_best_weights_are_those_that_measure_so(measured: RunFolder) -> None:
    summary, rows = measured.read_json("best.json"), quality(measured)
    best = max(rows[1:], key=lambda row: row["logistic"])

    assert summary["measure"] == "logistic"
    assert summary["best"] == {"step": best["step"], "value": best["logistic"]}
    assert summary["last"] == {"step": STEPS, "value": rows[-1]["logistic"]}
    assert summary["start"] == rows[0]["logistic"]
    network = load_own(measured.path / "best.safetensors")
    config = PretrainConfig.model_validate(measured.read_json("config.json"))
    figures = QualityInstrument.of(config).measure(network)
    assert figures["logistic"] == pytest.approx(best["logistic"], abs=1e-6)
    assert figures["rankme"] == pytest.approx(best["rankme"], rel=1e-4)


def load_own(file: Path) -> Any:
    from safetensors.torch import load_file

    network = wrap_backbone(Interrupting(999), 16)
    network.load_state_dict(load_file(file))
    return network.eval()


def test_best_weights_load_wherever_weights_do(images: Path, labels: Path, tmp_path: Path) -> None:
    import manyview

    options: dict[str, Any] = {"backbone": "timm/test_resnet", "view_size": 32, "steps": 1}
    run = train(images, tmp_path / "run", {"monitor.eval_size": 32}, eval_labels=labels, **options)

    best, last = (manyview.load_backbone(file) for file in (run.path / "best.safetensors", run))
    assert all(torch.equal(a, b) for a, b in zip(best.state_dict().values(), last.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", ["rankme", "dense"])
def test_without_labels_label_free_measures_alone(images: Path, tmp_path: Path, name: str) -> None:
    run = train(images, tmp_path / "run", keep_best=name, eval_every=3)

    rows = quality(run)
    assert [row["step"] for row in rows] == [0, 3, 6]
    assert not {"logistic", "knn"} & set(rows[0])
    assert run.read_json("best.json")["measure"] == name


def test_a_start_from_random_weights_has_the_norms_statistics_of_images(
    images: Path, labels: Path, measured: RunFolder
) -> None:
    config = PretrainConfig.model_validate(measured.read_json("config.json"))
    instrument, network = QualityInstrument.of(config), wrap_backbone(TinyNet(), 16)
    before = {name: value.clone() for name, value in network.state_dict().items()}

    with_zero_and_one, as_measured = instrument.measure(network), instrument.measure(network, measured_norms=True)

    assert as_measured["rankme"] != with_zero_and_one["rankme"]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training


def test_norms_are_measured_on_the_whole_batches_whichever_lacks_an_image(
    measured: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PretrainConfig.model_validate(measured.read_json("config.json"))
    instrument = QualityInstrument.of(config)
    images = torch.cat(instrument._sampled)
    instrument._sampled = [images[:3], images[3:7], images[7:11], images[11:12]]
    seen: list[int] = []

    def counted(network: Any, batches: Any) -> Any:
        seen.extend(len(batch) for (batch,) in batches)
        return {}

    monkeypatch.setattr("manyview.evaluation.quality.instrument.measure_norms", counted)
    instrument.measure(wrap_backbone(TinyNet(), 16), measured_norms=True)

    assert seen == [4, 4]


def test_a_trained_module_is_measured_with_its_own_statistics_at_the_start(images: Path, tmp_path: Path) -> None:
    """A module of one's own may hold weights without a file of them."""
    network = shaken(Interrupting(999))
    start = wrap_backbone(copy.deepcopy(network), 16)
    settings = {**SETTINGS, "training.norm_statistics": "keep"}
    run = train(images, tmp_path / "run", settings, backbone=network, steps=1, keep_best="dense")
    config = PretrainConfig.model_validate(run.read_json("config.json"))
    instrument, (mean, std) = QualityInstrument.of(config), (config.views.mean, config.views.std)
    assert mean is not None
    assert std is not None
    start.take_images(mean, std, rgb=True)

    expected = instrument.measure(start)
    assert expected != instrument.measure(start, measured_norms=True)
    assert quality(run)[0] == {"step": 0, "kind": KIND, **expected}


def test_figures_are_those_of_the_evaluations(images: Path, labels: Path, measured: RunFolder) -> None:
    from sklearn.metrics import average_precision_score

    config = PretrainConfig.model_validate(measured.read_json("config.json"))
    instrument, network = QualityInstrument.of(config), load_own(measured.weights)
    found = instrument.measure(network)
    assert instrument.held_out is not None
    parts = (instrument.held_out.train, instrument.held_out.val)

    from manyview.evaluation.features.extract import combine, extract

    train, val = (combine(extract(network, images, part.names, 16), "gamp").double().numpy() for part in parts)
    similar = (val / np.linalg.norm(val, axis=1, keepdims=True)) @ (
        train / np.linalg.norm(train, axis=1, keepdims=True)
    ).T
    votes = np.exp(similar / 0.07)  # of all 12, as there are fewer than 20
    scores = votes @ parts[0].targets / votes.sum(axis=1, keepdims=True)
    expected = np.mean([average_precision_score(parts[1].targets[:, c], scores[:, c]) for c in range(2)])
    assert found["knn"] == pytest.approx(expected, abs=1e-6)


def test_changed_labels_are_refused(measured: RunFolder, labels: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(measured.path, tmp_path / "run"))
    moved = Path(shutil.copy(labels, tmp_path / "moved.csv"))

    train(None, out, {}, resume=True, eval_labels=moved)
    text = moved.read_text().splitlines()
    moved.write_text("\n".join([*text[:-1], text[-1].replace("odd", "even")]) + "\n")
    with pytest.raises(UserError, match="resume it with the same labels and images") as refused:
        train(None, out, {}, resume=True, eval_labels=moved)
    assert f"{out} is measured on has changed since the run was started: labels_sha256 was " in str(refused.value)
    assert "neighbors" not in str(refused.value), "which is the same"


def test_other_measuring_is_refused(measured: RunFolder) -> None:
    with pytest.raises(UserError, match=r"monitor\.eval_every was 2, now 3"):
        train(None, measured.path, {}, resume=True, eval_every=3)


def test_missing_labels_are_told_before_anything(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.csv"):
        train(images, tmp_path / "run", eval_labels=tmp_path / "missing.csv")
    assert not (tmp_path / "run").exists()


def test_what_is_printed(images: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(images, tmp_path / "run", eval_labels=labels, quiet=False)

    words = capsys.readouterr().err
    first, summary = quality(run)[0], run.read_json("best.json")
    logistic, knn, rankme = 100 * first["logistic"], 100 * first["knn"], first["rankme"]
    assert f"step 0/6  logistic {logistic:.1f}, knn {knn:.1f}, rankme {rankme:.1f}, dense " in words
    assert "18 labeled images, a third of them held out at random; label-free" in words
    assert spell_summary(summary) in words


class Constant:
    """Measures what it is told."""

    pixels = 1

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def prepare(self) -> None: ...

    def measure(self, backbone: nn.Module, *, measured_norms: bool = False) -> dict[str, float]:
        return {"dense": self.values.pop(0)}

    def describe(self) -> dict[str, Any]:
        return {}


def recorded(*values: float, patience: int | None, frozen: int = 0) -> QualityRecord:
    """Measurements of logistic regression at the start and after every step."""
    monitor = MonitorConfig(eval_labels="labels.csv", eval_patience=patience)
    record = QualityRecord(monitor, 100, 1, Constant(), frozen)
    record.records = [{"kind": KIND, "step": step, "logistic": value} for step, value in enumerate(values)]
    return record


def test_when_it_helps_no_more() -> None:
    assert not recorded(0.5, 0.4, 0.3, patience=2).exhausted  # the first measurement after the start is the best
    assert recorded(0.5, 0.4, 0.3, 0.4, patience=2).exhausted
    assert not recorded(0.5, 0.4, 0.3, 0.5, patience=2).exhausted
    assert not recorded(0.5, 0.4, 0.3, 0.3, 0.3, patience=None).exhausted
    assert not recorded(0.5, 0.5, 0.5, 0.5, 0.4, patience=2, frozen=3).exhausted
    assert recorded(0.5, 0.5, 0.5, 0.5, 0.4, 0.4, patience=2, frozen=3).exhausted


def test_a_run_ends_when_it_helps_no_more_also_one_that_is_resumed(
    images: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = iter([0.5, 0.4, 0.6, 0.5, 0.5, 0.9])
    measure = QualityInstrument.measure
    monkeypatch.setattr(
        QualityInstrument, "measure", lambda *given, **named: {**measure(*given, **named), "logistic": next(figures)}
    )
    run = train(
        *(images, tmp_path / "run", {**SETTINGS, "monitor.eval_patience": 2}),
        steps=12, eval_labels=labels, eval_every=1, quiet=False,
    )  # fmt: skip
    assert "Ended after step 4: no better for monitor.eval_patience measurements." in capsys.readouterr().err
    assert run.read_json("best.json")["best"] == {"step": 2, "value": 0.6}
    before = run.weights.read_bytes()
    again = train(None, run.path, resume=True)
    assert [row["step"] for row in quality(again)] == [0, 1, 2, 3, 4]
    assert again.weights.read_bytes() == before


def test_the_first_of_equal_ones_is_best_and_the_start_is_not_kept() -> None:
    monitor = PretrainConfig.model_validate({"data": {"images": "a"}, "monitor": {"keep_best": "dense"}}).monitor
    record = QualityRecord(monitor, 3, 1, Constant(9.0, 0.25, 0.5, 0.5))
    network = wrap_backbone(TinyNet(), 16)
    for step in range(4):
        assert record.is_due(step)
        record.measure(network, step)

    summary = record.summary()
    assert summary is not None
    assert summary["best"] == {"step": 2, "value": 0.5}
    assert spell_summary(summary) == (
        "Best at step 2: 0.500 (dense structure), kept in best.safetensors; last 0.500; at the start 9.000, "
        "better than after any training."
    )
