"""Batches in groups: their layout, their renderers, and runs on blocks plus the whole and on multi-crop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from manyview.config import PretrainConfig
from manyview.images import find_images
from manyview.images import jpeg_on_device as device_jpegs
from manyview.training import data
from manyview.training.data import TrainingBatch, ViewDataset, start_loader
from manyview.training.device_views import DeviceViews
from manyview.training.plan import BatchPlan, make_plan
from manyview.views import ViewParameters, largest_shrink, sample_groups, shrink_crops
from tests.helpers.tiny import train_tiny

MULTI_CROP = {
    "kind": "groups",
    "groups": [
        {"size": 48, "count": 2, "scale": [0.3, 1.0], "solarize": [0.0, 0.5]},
        {"size": 24, "count": 6, "scale": [0.1, 0.3]},
    ],
}
BOTH = {"kind": "both", "size": 32, "grid": [1, 2], "pairs": 2}
SHAPES = {"multi-crop": [(4, 2, 3, 48, 48), (4, 6, 3, 24, 24)], "both": [(4, 8, 3, 32, 32)]}
VIEWS = {"multi-crop": MULTI_CROP, "both": BOTH}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth scenes; one is a PNG, which no device decodes."""
    root = tmp_path_factory.mktemp("scenes")
    y, x = np.mgrid[0:150, 0:200] / 90
    for index in range(8):
        random = np.random.default_rng(index)
        waves = [128 + 110 * np.sin(random.uniform(1, 7) * x + random.uniform(1, 7) * y + phase) for phase in range(3)]
        name = f"{index}.png" if index == 5 else f"{index}.jpg"
        Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8)).save(
            root / name, **({} if index == 5 else {"quality": 95})
        )
    return root


def configured(root: Path, views: dict[str, Any], workers: int = 0, **training: Any) -> PretrainConfig:
    decode = training.pop("decode", "workers")
    return PretrainConfig.model_validate(
        {
            "data": {"images": str(root), "workers": workers, "decode": decode},
            "views": views,
            "training": {"epochs": 2, "batch_size": 4, "device": "cpu", "renderer": "cpu", **training},
        }
    )


def batches(config: PretrainConfig) -> Iterator[TrainingBatch]:
    files = find_images(Path(config.data.images))
    loaded = start_loader(files, config, BatchPlan(make_plan(config, len(files))), pin=False)
    return DeviceViews(loaded, files, config, torch.device("cpu"))


def apart(one: Tensor, other: Tensor) -> float:
    """Mean absolute difference in shares of full scale."""
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    return float((one.double() - other.double()).abs().mean()) / 255


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", VIEWS)
def test_a_batch_holds_a_tensor_for_each_group(folder: Path, name: str, workers: int) -> None:
    config = configured(folder, VIEWS[name], workers)
    dataset = ViewDataset(find_images(folder), config, renderer="cpu")
    count = 0
    for number, batch in enumerate(batches(config)):
        assert [tuple(views.shape) for views in batch.groups] == SHAPES[name]
        assert {views.dtype for views in batch.groups} == {torch.uint8}
        assert batch.tables == ()
        for index, image in enumerate(batch.image_ids):
            alone = dataset[number // 2, int(image)].groups
            assert isinstance(alone, tuple)
            for views, its_views in zip(batch.groups, alone, strict=True):
                np.testing.assert_array_equal(views[index].numpy(), its_views)
        count += 1
    assert count == 4


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("decode", ["workers", "device"])
def test_the_device_renders_each_group_as_the_workers_do(folder: Path, name: str, decode: str) -> None:
    by_device = batches(configured(folder, VIEWS[name], renderer="device", decode=decode))
    for one, other in zip(by_device, batches(configured(folder, VIEWS[name])), strict=True):
        assert torch.equal(one.image_ids, other.image_ids)
        assert [tuple(views.shape) for views in one.groups] == SHAPES[name]
        for mine, yours in zip(one.groups, other.groups, strict=True):
            assert apart(mine, yours) < 1.5 / 255
            assert max(map(apart, mine.flatten(0, 1), yours.flatten(0, 1))) < 4 / 255


def test_what_the_device_refuses_the_host_decodes_in_groups(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured(folder, MULTI_CROP, renderer="device", decode="device")
    expected = list(batches(config))

    def refusing(files: list[Tensor], device: torch.device) -> list[Tensor]:
        raise RuntimeError("nvjpegDecode failed: 4")

    monkeypatch.setattr(device_jpegs, "_torchvision", refusing)
    for one, other in zip(batches(config), expected, strict=True):
        assert one.skipped == []
        assert torch.equal(one.image_ids, other.image_ids)
        for mine, yours in zip(one.groups, other.groups, strict=True):
            assert apart(mine, yours) < 1 / 255


def test_an_image_is_decoded_no_smaller_than_any_group_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (1600, 1200)).save(tmp_path / "a.jpg")
    Image.new("RGB", (1600, 1200)).save(tmp_path / "b.jpg")
    config = configured(tmp_path, MULTI_CROP, batch_size=2)
    seen: list[int] = []

    def recording(views: tuple[ViewParameters, ...], shrink: int, decoded: tuple[int, int]) -> tuple[Any, ...]:
        seen.append(shrink)
        return shrink_crops(views, shrink, decoded)

    monkeypatch.setattr(data, "shrink_crops", recording)
    dataset = ViewDataset(find_images(tmp_path), config, renderer="cpu")
    for epoch in range(12):
        seen.clear()
        assert dataset[epoch, 0].groups is not None
        sampled = sample_groups(config.views.layout, 1600, 1200, seed=0, epoch=epoch, image=0)
        needs = [
            largest_shrink((view.crop for view in views), size) for views, size in zip(sampled, (48, 24), strict=True)
        ]
        assert seen == [min(needs)] * 2


def test_a_run_says_how_many_views_it_sees(photos: Path, tmp_path: Path) -> None:
    settings = {"views.kind": "groups", "views.groups": [{}, {"size": 8, "count": 4}]}
    run = train_tiny(photos, tmp_path / "run", settings=settings, epochs=1)
    plan = run.read_json("run.json")["plan"]
    assert plan["views_per_step"] == 4 * 6
    assert plan["learning_rate"] == pytest.approx(0.05 * 4 * 3 / 256)


def test_the_loss_counts_the_pairs_of_every_group(photos: Path, tmp_path: Path) -> None:
    """Without the views of the smaller group, other weights come out."""
    options: dict[str, Any] = {"view_size": None, "epochs": 1, "recipe": "simsiam"}
    groups = ([{"size": 16}, {"size": 8, "count": 4}], [{"size": 16}])
    runs = [
        train_tiny(
            photos,
            tmp_path / str(len(entries)),
            settings={"views.kind": "groups", "views.groups": entries},
            **options,
        )
        for entries in groups
    ]
    weights = [(run.path / "backbone.safetensors").read_bytes() for run in runs]
    assert weights[0] != weights[1]
    plain = train_tiny(photos, tmp_path / "plain", **options | {"view_size": 16})
    assert (plain.path / "backbone.safetensors").stat().st_size == len(weights[1])
    same = [
        {key: value for key, value in line.items() if key in ("loss", "similarity")}
        for run in (runs[1], plain)
        for line in run.read_metrics()
        if line["kind"] == "epoch"
    ]
    assert same[0] == same[1], "one group of two views is SimSiam's own layout"
