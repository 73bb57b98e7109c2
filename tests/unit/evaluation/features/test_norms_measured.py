"""Norm statistics of an untrained network against moments in float64 from the images themselves."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from manyview.backbones import build_backbone
from manyview.backbones.norm_statistics import set_norms
from manyview.config import IMAGENET_MEAN, IMAGENET_STD
from manyview.errors import UserError
from manyview.evaluation.features import norms
from manyview.evaluation.features.dataset import ImageDataset, fixed_views, in_batches, load_readable
from manyview.evaluation.features.extract import FeatureSettings
from manyview.evaluation.features.norms import measure_on_images, whole_batches
from manyview.images import ImageFiles

SIZE = 32


def settings(**changes: Any) -> FeatureSettings:
    return FeatureSettings(
        **({"pool": "gamp", "size": SIZE, "workers": 0, "device": "cpu", "precision": "auto"} | changes)
    )


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    names = [f"{index}.png" for index in range(11)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    return names


def test_batches_are_whole_and_each_image_is_in_at_most_one() -> None:
    batches = whole_batches(200, 3)
    assert [len(batch) for batch in batches] == [64] * 3
    drawn = [index for batch in batches for index in batch]
    assert len(set(drawn)) == 192
    assert set(drawn) <= set(range(200))
    assert drawn != sorted(drawn)
    assert whole_batches(200, 3) == batches != whole_batches(200, 4)
    assert [sorted(batch) for batch in whole_batches(5, 0)] == [[0, 1, 2, 3, 4]]
    assert len(whole_batches(100_000, 0)) == norms.MOST_BATCHES


@pytest.mark.parametrize("crop", ["warp", "center"])
def test_the_first_norm_has_the_moments_of_its_inputs(
    images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crop: str
) -> None:
    monkeypatch.setattr(norms, "BATCH_SIZE", 4)
    torch.manual_seed(0)
    network = build_backbone("resnet18")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = measure_on_images(network, tmp_path, images, settings(crop=crop), 2)
    dataset = ImageDataset(ImageFiles(tmp_path, images), SIZE, partial(fixed_views, crop=crop))
    means, squares = [], []
    for batch in whole_batches(len(images), 2):
        (pixels,) = load_readable(dataset, in_batches(batch, len(batch)), workers=0)
        x = pixels.double().numpy() / 255
        x = (x - np.array(IMAGENET_MEAN)[:, None, None]) / np.array(IMAGENET_STD)[:, None, None]
        maps = torch.nn.functional.conv2d(torch.from_numpy(x), network.conv1.weight.double(), stride=2, padding=3)
        values = maps.detach().numpy()
        means.append(values.mean(axis=(0, 2, 3)))
        squares.append((values**2).mean(axis=(0, 2, 3)))
    assert len(means) == 2
    mean = np.mean(means, axis=0)
    assert found["bn1"][0].numpy() == pytest.approx(mean, rel=1e-4, abs=1e-5)
    assert found["bn1"][1].numpy() == pytest.approx(np.mean(squares, axis=0) - mean**2, rel=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert len(found) == 20


def test_with_them_eval_mode_normalizes_as_training_would(images: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_backbone("timm/resnet10t")  # whose names differ from those of its state
    set_norms(network, measure_on_images(network, tmp_path, images, settings(), 0))
    dataset = ImageDataset(ImageFiles(tmp_path, images), SIZE, fixed_views)
    (pixels,) = load_readable(dataset, in_batches(range(len(images)), len(images)), workers=0)
    x = (pixels.float() / 255 - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), network.train()(x), rtol=1e-3, atol=1e-3)


def test_too_few_images_are_refused(images: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"need more than 1 training images .*--untrained-norms zero-one"):
        measure_on_images(build_backbone("resnet18"), tmp_path, images[:1], settings(), 0)
