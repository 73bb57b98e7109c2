"""Linear evaluation by two processes gives one process's figures, also where the images do not divide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from manyview import distributed
from manyview.backbones import build_backbone, load_backbone, save_backbone
from manyview.evaluation import knn_evaluation, linear_evaluation, low_label_evaluation
from manyview.evaluation.features import norms
from manyview.evaluation.features.extract import FeatureSettings
from manyview.evaluation.features.norms import measure_on_images
from tests.helpers.processes import in_processes, joined

COUNTS = (1, 2, 3, 7)
FAST: dict[str, Any] = {"size": 32, "workers": 0, "device": "cpu", "resamples": 20}
PROBE: dict[str, Any] = {"size": 32, "workers": 0, "device": "cpu", "fractions": (1.0,), "seeds": (0,)}
HEAD: dict[str, Any] = {"recipe": "paper", "epochs": 3, "batch_size": 3, "measured": "best"}
LEARNED: dict[str, Any] = {**FAST, **HEAD, "pool": "attention", "size": 64}


def evaluations(folder: Path, where: str) -> dict[str, Any]:
    """The results of evaluations on seven images."""
    data = {"images": folder, "train_labels": folder / "train.csv", "val_labels": folder / "val.csv"}
    weights, out = folder / "backbone.safetensors", folder / where
    found = {
        "logistic": linear_evaluation(weights, **data, **FAST, out=out / "logistic"),
        "augmented": linear_evaluation(weights, **data, **FAST, **HEAD, out=out / "augmented"),
        "cached": linear_evaluation(weights, **data, **FAST, **HEAD, cached=True, flips=True, out=out / "cached"),
        "attention": linear_evaluation(weights, **data, **LEARNED, out=out / "attention"),
        "attention-cached": linear_evaluation(
            weights, **data, **LEARNED, cached=True, flips=True, out=out / "attention-cached"
        ),
        "knn": knn_evaluation(weights, **data, **FAST, neighbours=3, out=out / "knn"),
        "probe": low_label_evaluation(weights, **data, **PROBE, out=out / "probe"),
    }
    return {name: result["results"] for name, result in found.items()}


def norm_statistics(folder: Path, weights: Path) -> dict[str, torch.Tensor]:
    """Statistics of three whole batches, which two processes cannot share out evenly."""
    norms.BATCH_SIZE = 2
    try:
        settings = FeatureSettings("gamp", 32, 0, "cpu", "auto")
        names = [f"{index}.png" for index in range(7)]
        return measure_on_images(load_backbone(weights), folder, names, settings, 1)
    finally:
        norms.BATCH_SIZE = 64


def work(rank: int, root: str) -> None:
    folder = Path(root)
    with joined(rank, folder):
        statistics = norm_statistics(folder, folder / "backbone.safetensors")
        shared = []
        for count in COUNTS:
            own = distributed.share(range(count))
            rows = torch.tensor([[index, 10.0 * index] for index in own])
            shared.append((own, distributed.gather_shares(rows, count)))
        results = evaluations(folder, "two")
        torch.save({"shared": shared, "statistics": statistics, "results": results}, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of noise, all of them to train on and to measure on, and weights."""
    root = tmp_path_factory.mktemp("seven")
    rng = np.random.default_rng(0)
    rows = ["image,labels"]
    for index in range(7):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(root / f"{index}.png")
        rows.append(f"{index}.png,{'|'.join(name for bit, name in enumerate(('a', 'b')) if (index + 1) >> bit & 1)}")
    for part in ("train", "val"):
        (root / f"{part}.csv").write_text("\n".join(rows) + "\n")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        save_backbone(build_backbone("timm/test_resnet"), root / "backbone.safetensors", {})
    return root


@pytest.fixture(scope="module")
def processes(folder: Path) -> list[dict[str, Any]]:
    in_processes(work, str(folder))
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_every_item_is_shared_out_and_comes_back_once_in_order(processes: list[dict[str, Any]]) -> None:
    for index, count in enumerate(COUNTS):
        shares = [process["shared"][index][0] for process in processes]
        assert len(shares[0]) == len(shares[1]) == -(-count // 2)
        assert set(shares[0]) | set(shares[1]) == set(range(count))
        for process in processes:
            assert process["shared"][index][1].tolist() == [[item, 10.0 * item] for item in range(count)]


def test_one_process_has_all_the_work() -> None:
    assert distributed.share(range(3)) == [0, 1, 2]
    rows = torch.rand(3, 2)
    assert distributed.gather_shares(rows, 3) is rows


def test_figures_are_those_of_one_process(folder: Path, processes: list[dict[str, Any]]) -> None:
    expected = evaluations(folder, "one")
    for process in processes:
        assert_close(process["results"], expected)
    for name in expected:
        pictures = ["curve.png"] if name == "probe" else []
        assert sorted(path.name for path in (folder / "two" / name).iterdir()) == [*pictures, "metrics.json"]


def test_norm_statistics_are_those_of_one_process(folder: Path, processes: list[dict[str, Any]]) -> None:
    expected = norm_statistics(folder, folder / "backbone.safetensors")
    for process in processes:
        assert process["statistics"].keys() == expected.keys()
        for name, statistics in process["statistics"].items():
            assert torch.equal(statistics, processes[0]["statistics"][name])
            torch.testing.assert_close(statistics, expected[name], rtol=1e-6, atol=1e-9)


def assert_close(ours: Any, theirs: Any) -> None:
    """Equal to 1e-6, however nested."""
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert_close(value, theirs[key])
    elif isinstance(ours, list):
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            assert_close(mine, other)
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, abs=1e-6)
    else:
        assert ours == theirs
