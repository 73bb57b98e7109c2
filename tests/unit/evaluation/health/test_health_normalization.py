"""The first norm's statistics tell a wrong normalization from the right one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from manyview.backbones import Backbone, build_backbone, wrap_backbone
from manyview.backbones.norm_statistics import running_norms
from manyview.evaluation.features.dataset import ImageDataset, fixed_views
from manyview.evaluation.health.normalization import _sentence, check_normalization, gaussian_divergence
from manyview.images import find_images
from tests.helpers.tiny import write_images


def trained(mean: float, std: float, dataset: ImageDataset) -> Backbone:
    """A network whose first norm keeps the statistics of these images, as normalized in its training."""
    torch.manual_seed(0)
    network = build_backbone("resnet18").eval()
    pixels = torch.stack([torch.from_numpy(np.asarray(dataset[0, index][0])) for index in range(len(dataset))])
    images = (pixels[:, 0].float() / 255 - mean) / std
    first = network.conv1
    assert isinstance(first, nn.Conv2d)
    values = functional.conv2d(images, first.weight, None, 2, 3).detach()
    norm = next(iter(running_norms(network).values()))
    norm.running_mean, norm.running_var = values.mean((0, 2, 3)), values.var((0, 2, 3))
    return network


@pytest.mark.parametrize("true", [(0.5, 0.5), (0.0, 1.0)])
def test_another_normalization_is_named(true: tuple[float, float], tmp_path: Path) -> None:
    write_images(tmp_path, 8)
    dataset = ImageDataset(find_images(tmp_path), 32, fixed_views)
    network = trained(*true, dataset)
    found = check_normalization(network, dataset, range(8))
    assert found is not None
    assert found["best"]["mean"] == [true[0]] * 3
    assert f"--mean {true[0]:g},{true[0]:g},{true[0]:g} --std {true[1]:g}" in found["sentence"]
    network.take_images((true[0],) * 3, (true[1],) * 3, rgb=True)
    right = check_normalization(network, dataset, range(8))
    assert right is not None
    assert right["divergence"] < 0.01
    assert right["sentence"].startswith("The normalization fits the weights")


def test_statistics_are_of_all_images_together(tmp_path: Path) -> None:
    """Which go through the network in parts, here of 16 and 5 images."""
    write_images(tmp_path, 21)
    dataset = ImageDataset(find_images(tmp_path), 32, fixed_views)
    network = trained(0.5, 0.5, dataset)
    found = check_normalization(network, dataset, range(21))
    pixels = np.stack([np.asarray(dataset[0, index][0])[0] for index in range(21)]) / 255
    images = (pixels - np.reshape(network.mean, (3, 1, 1))) / np.reshape(network.std, (3, 1, 1))
    assert isinstance(network.conv1, nn.Conv2d)
    values = functional.conv2d(torch.from_numpy(images), network.conv1.weight.double(), None, 2, 3).detach().numpy()
    mean, variance = values.mean((0, 2, 3)), values.var((0, 2, 3))
    norm = next(iter(running_norms(network).values()))
    other_mean, other_variance = (np.asarray(each, float) for each in (norm.running_mean, norm.running_var))
    apart = (mean - other_mean) ** 2
    expected = variance / other_variance + other_variance / variance + apart * (1 / variance + 1 / other_variance)
    assert found is not None
    assert found["divergence"] == pytest.approx((expected / 2 - 1).mean(), rel=1e-4)


def test_networks_without_such_norms_are_not_judged(tmp_path: Path) -> None:
    write_images(tmp_path, 2)
    dataset = ImageDataset(find_images(tmp_path), 160, fixed_views)
    assert check_normalization(build_backbone("timm/test_vit").eval(), dataset, range(2)) is None


def test_norms_that_no_training_has_reached_are_not_judged(tmp_path: Path) -> None:
    write_images(tmp_path, 2)
    dataset = ImageDataset(find_images(tmp_path), 32, fixed_views)
    assert check_normalization(build_backbone("resnet18").eval(), dataset, range(2)) is None


class Unordered(nn.Module):
    """A network whose norms are not in the order in which images reach them."""

    def __init__(self, inner: Backbone, *, reached: bool) -> None:
        super().__init__()
        self.last = nn.BatchNorm2d(512)
        self.last.running_mean += 1  # type: ignore[operator]
        self.inner = inner if reached else nn.Conv2d(3, 512, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.inner(x)
        return self.last(maps) if isinstance(self.inner, Backbone) else maps


def test_the_first_norm_is_the_one_that_images_reach_first(tmp_path: Path) -> None:
    write_images(tmp_path, 8)
    dataset = ImageDataset(find_images(tmp_path), 32, fixed_views)
    inner = trained(0.5, 0.5, dataset)
    network = wrap_backbone(Unordered(inner, reached=True), 32).eval()
    assert check_normalization(network, dataset, range(8)) == check_normalization(inner, dataset, range(8))


def test_a_network_that_reaches_none_of_its_norms_is_not_judged(tmp_path: Path) -> None:
    write_images(tmp_path, 2)
    dataset = ImageDataset(find_images(tmp_path), 32, fixed_views)
    network = wrap_backbone(Unordered(build_backbone("resnet18"), reached=False), 32).eval()
    assert check_normalization(network, dataset, range(2)) is None


def test_where_no_normalization_fits_none_is_said_to(tmp_path: Path) -> None:
    write_images(tmp_path, 4)
    dataset = ImageDataset(find_images(tmp_path), 32, fixed_views)
    network = trained(0.5, 0.5, dataset)
    next(iter(running_norms(network).values())).running_mean += 100  # type: ignore[operator]
    found = check_normalization(network, dataset, range(4))
    assert found is not None
    assert found["sentence"].startswith("No other known normalization fits the weights much better")


def test_the_divergence_is_that_of_its_integral() -> None:
    grid = np.linspace(-12, 12, 200_001)
    p, q = (np.exp(-((grid - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v) for m, v in ((0.3, 1.5), (-0.2, 0.7)))
    expected = float(np.sum((p - q) * (np.log(p) - np.log(q))) * (grid[1] - grid[0]))
    values = (torch.tensor([value], dtype=torch.float64) for value in (0.3, 1.5, -0.2, 0.7))
    assert gaussian_divergence(*values) == pytest.approx(expected, rel=1e-6)


def test_another_is_named_from_a_tenth_on_where_it_more_than_halves_the_difference() -> None:
    own, best = ((0.0,) * 3, (1.0,) * 3), ((0.5,) * 3, (0.25,) * 3)

    def said(of_own: float, of_best: float) -> str:
        return _sentence(own, best, {own: of_own, best: of_best})

    assert said(0.099, 0.001).startswith("The normalization fits the weights:")
    assert said(0.1, 0.05).startswith("No other known normalization")
    assert said(1.0, 0.51).startswith("No other known normalization")
    assert said(1.0, 0.49).endswith("and 0.49 with --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25.")
