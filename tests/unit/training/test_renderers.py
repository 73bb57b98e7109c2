"""Who makes the views: settings, the choice, and that it changes nothing else."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from manyview.config import ConfigError
from manyview.errors import UserError
from manyview.runs import RunFolder
from manyview.training import renderer as choice
from manyview.training.renderer import Costs
from manyview.training.renderer import measure_costs as really_measure
from tests.helpers.records import started_otherwise
from tests.helpers.tiny import Interrupting, TinyNet, train_tiny

DEVICE = {"training.renderer": "device"}
DECODING = {"data.decode": "device"}


def weights(run: RunFolder) -> bytes:
    return (run.path / "checkpoints" / "step-000000008.safetensors").read_bytes()


def settled(run: RunFolder) -> str:
    return str(run.read_json("config.json")["training"]["renderer"])


def costs(**seconds: float) -> Costs:
    return Costs(**{"render": 1.0, "crop": 0.2, "augment": 0.1, "step": 0.5, "images": 4, "workers": 2} | seconds)


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU counts as a device whose work takes no cores of the workers."""
    monkeypatch.setattr(choice, "_SHARE_THE_CORES", ())


# --- running


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "cpu"),
        ({"training.renderer": "cpu"}, "cpu"),
        ({"training.renderer": "reference"}, "reference"),
        (DEVICE, "device"),
        (DECODING, "device"),
    ],
)
def test_the_run_keeps_what_auto_stood_for(
    photos: Path, tmp_path: Path, settings: Mapping[str, Any], name: str
) -> None:
    run = train_tiny(photos, tmp_path / "run", settings=settings)
    assert settled(run) == name
    asked = run.read_json("run.json")["asked"]["training"]["renderer"]
    assert asked == settings.get("training.renderer", "auto")


def test_auto_on_a_cpu_is_the_workers_renderer(photos: Path, tmp_path: Path) -> None:
    runs = [
        train_tiny(photos, tmp_path / name, settings={"training.renderer": name})
        for name in ("auto", "cpu", "device", "reference")
    ]
    assert weights(runs[0]) == weights(runs[1])
    assert len({weights(run) for run in runs}) == 3, "the renderers' roundings are not the same"
    losses = [[record["loss"] for record in run.read_metrics() if record["kind"] == "epoch"] for run in runs]
    np.testing.assert_allclose(losses[1:], np.broadcast_to(losses[0], (3, 2)), atol=0.1)


@pytest.mark.parametrize("settings", [DEVICE, DECODING], ids=["device renderer", "device decoding"])
def test_resumed_run_ends_like_the_uninterrupted(photos: Path, tmp_path: Path, settings: Mapping[str, Any]) -> None:
    whole = train_tiny(photos, tmp_path / "whole", settings=settings, backbone=Interrupting(999))
    with pytest.raises(KeyboardInterrupt):
        train_tiny(photos, tmp_path / "run", settings=settings, backbone=Interrupting(6))
    run = train_tiny(None, tmp_path / "run", backbone=Interrupting(999), resume=True, settings={"data.workers": 1})
    assert weights(run) == weights(whole)


def test_accumulated_batches_are_finished_too(photos: Path, tmp_path: Path) -> None:
    run = train_tiny(photos, tmp_path / "run", settings={**DEVICE, "training.accumulate": 2})
    assert run.read_metrics()[-1]["step"] == 4


def test_the_loaders_processes_end_with_a_run_that_fails(photos: Path, tmp_path: Path) -> None:
    """While the error's traceback is kept, as Python keeps the last one until its end."""

    class Spoiling(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * float("nan")

    with pytest.raises(UserError, match="the loss is nan") as caught:
        train_tiny(photos, tmp_path / "run", backbone=Spoiling(), settings={"data.workers": 2})
    assert caught.tb is not None
    assert multiprocessing.active_children() == []


# --- the choice


@pytest.mark.parametrize(
    ("seconds", "with_workers", "with_device"),
    [
        ({}, 1.0, 0.6),  # the workers would be the bottleneck
        ({"render": 0.55}, 0.55, 0.6),
        ({"render": 0.1, "crop": 0.1}, 0.5, 0.6),  # the step is
        ({"render": 5.0, "crop": 4.0}, 5.0, 4.0),
        ({"workers": 0}, 1.5, 0.8),  # one after the other
    ],
)
def test_what_a_step_takes(seconds: dict[str, Any], with_workers: float, with_device: float) -> None:
    assert costs(**seconds).with_workers == pytest.approx(with_workers)
    assert costs(**seconds).with_device == pytest.approx(with_device)


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize(("render", "name"), [(1.0, "device"), (0.55, "cpu"), (0.6, "cpu")])
def test_auto_takes_the_shorter_step_and_says_why(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    render: float,
    name: str,
) -> None:
    monkeypatch.setattr(choice, "measure_costs", lambda *_: costs(render=render))
    run = train_tiny(photos, tmp_path / "run", quiet=False)
    assert settled(run) == name
    assert capsys.readouterr().err.splitlines()[0] == (
        f"Renderer {name}: for 4 images, rendering takes {render:.3g} s and cropping 0.2 s with 2 workers, "
        "the rest 0.1 s on the device, and a step 0.5 s."
    )


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("render", [0.1, 1.0])
def test_a_resumed_run_measures_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, render: float
) -> None:
    monkeypatch.setattr(choice, "measure_costs", lambda *_: costs(render=render))
    whole = train_tiny(photos, tmp_path / "whole", backbone=Interrupting(999))
    with pytest.raises(KeyboardInterrupt):
        train_tiny(photos, tmp_path / "run", backbone=Interrupting(6))
    monkeypatch.delattr(choice, "measure_costs")
    run = train_tiny(None, tmp_path / "run", backbone=Interrupting(999), resume=True)
    assert weights(run) == weights(whole)


def test_a_run_that_lost_its_renderer_is_refused(photos: Path, tmp_path: Path) -> None:
    train_tiny(photos, tmp_path / "run")
    started_otherwise(tmp_path / "run", lambda _, config: config["training"].pop("renderer"))
    with pytest.raises(UserError, match=r"config\.json lacks training\.renderer, without which"):
        train_tiny(None, tmp_path / "run", resume=True)


@pytest.mark.usefixtures("accelerator")
def test_measuring_leaves_the_run_as_it_is(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running statistics, gradients, random draws: a trace in any of them would change the weights."""
    measured: list[Costs] = []

    def measure(*arguments: Any) -> Costs:
        found = really_measure(*arguments)
        assert found is not None
        measured.append(found)
        return costs(render=9.0)

    monkeypatch.setattr(choice, "measure_costs", measure)
    run = train_tiny(photos, tmp_path / "measured")
    assert settled(run) == "device"
    assert weights(run) == weights(train_tiny(photos, tmp_path / "plain", settings=DEVICE))
    (found,) = measured
    assert min(found.render, found.crop, found.augment, found.step) > 0
    assert (found.images, found.workers) == (4, 0)


@pytest.mark.usefixtures("accelerator")
def test_where_nothing_can_be_measured_the_run_says_what_is_wrong(tmp_path: Path) -> None:
    for index in range(4):
        (tmp_path / f"{index}.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="4 of 4 images cannot be read"):
        train_tiny(tmp_path, tmp_path / "run")


# --- settings


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {**DECODING, "training.renderer": "cpu"},
            "training.renderer is cpu, but with data.decode=device the workers have no pixels to render: "
            "leave one of them out",
        ),
        (
            {**DECODING, "training.renderer": "reference"},
            "training.renderer is reference, but with data.decode=device the workers have no pixels to render: "
            "leave one of them out",
        ),
        (
            {**DECODING, "data.bands": 4},
            "data.decode is device, which decodes JPEGs only; leave it out, as data.bands is 4",
        ),
        (
            {"training.renderer": "reference", "data.bands": 4},
            "training.renderer is reference, which is Pillow's and for RGB only; leave it out, as data.bands is 4",
        ),
    ],
)
def test_contradictions_are_refused(photos: Path, tmp_path: Path, settings: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train_tiny(photos, tmp_path / "run", settings=settings)
    assert str(caught.value) == sentence
    assert not (tmp_path / "run").exists()


def test_a_misspelt_renderer_is_refused_with_the_nearest(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.renderer .*; did you mean device\?"):
        train_tiny(photos, tmp_path / "run", settings={"training.renderer": "devise"})


def test_unreadable_images_are_skipped_counted_and_listed(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for file in photos.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    cut = (folder / "03.jpg").read_bytes()
    (folder / "03.jpg").write_bytes(cut[: len(cut) // 2])
    Image.open(folder / "05.jpg").save(folder / "05.png")
    run = train_tiny(folder, tmp_path / "run", settings={**DECODING, "data.max_bad_fraction": 0.2})
    assert (run.path / "skipped.csv").read_text().splitlines()[1:] == ["03.jpg,truncated file"]
    assert all(value.isfinite().all() for value in load_file(str(run.weights)).values() if value.is_floating_point())
    assert json.loads((run.path / "run.json").read_text())["plan"]["photographs"] == 17
    assert torch.get_num_threads() == 1
