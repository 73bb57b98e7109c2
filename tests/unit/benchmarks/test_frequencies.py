from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from benchmarks.views import frequencies
from manyview.config import BlockViewsConfig
from manyview.views import sample_views

COUNT = 8000


@pytest.fixture(scope="module")
def views() -> list:
    return frequencies.sample(BlockViewsConfig(), COUNT, seed=5)


def named(config: BlockViewsConfig, views: list) -> dict[str, frequencies.Figure]:
    return {figure.name: figure for figure in frequencies.figures(config, views)}


def test_the_paper_s_views_are_drawn_as_often_as_they_should_be(views: list) -> None:
    found = named(BlockViewsConfig(), views)
    assert sum(name.startswith("order ") for name in found) == 24
    assert max(abs(figure.z) for figure in found.values()) < 4.5


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"flip": 0.6}, "mirrored"),
        ({"jitter": 0.7}, "colors changed"),
        ({"grayscale": 0.3}, "gray"),
        ({"blur": (0.5, 0.6)}, "blurred, second view"),
        ({"solarize": (0.1, 0.0)}, "solarized, first view"),
        ({"contrast": 0.5}, "factor of contrast, in its lowest tenth"),
        ({"hue": 0.05}, "shift of hue, out of its range"),
        ({"blur_sigma": (0.1, 1.5)}, "standard deviation of the blur, mean"),
        ({"scale": (0.3, 1.0)}, "crop's share of its block"),
        ({"ratio": (0.5, 4 / 3)}, "logarithm of the crop's aspect ratio"),
    ],
)
def test_a_choice_that_is_made_otherwise_is_found_out(views: list, changed: dict, name: str) -> None:
    assert abs(named(BlockViewsConfig(**changed), views)[name].z) > 6


def test_z_is_the_distance_in_standard_deviations(views: list) -> None:
    flips = np.array([view.flip for view in views])
    figure = named(BlockViewsConfig(), views)["mirrored"]
    assert figure.samples == COUNT
    assert figure.found == flips.mean()
    assert figure.z == pytest.approx((flips.sum() - COUNT / 2) / math.sqrt(COUNT / 4))


@pytest.mark.parametrize("size", [(448, 336), (200, 300), (90, 300), (300, 100)])
def test_expected_crops_are_those_of_torchvision(size: tuple[int, int]) -> None:
    config = BlockViewsConfig()
    torch.manual_seed(0)
    image = torch.empty(3, size[1], size[0])
    drawn = [RandomResizedCrop.get_params(image, list(config.scale), list(config.ratio)) for _ in range(10_000)]
    height, width = np.array(drawn)[:, 2:].T
    for values, target in zip(
        (height * width / (size[0] * size[1]), np.log(width / height)),
        frequencies.expected_crop(config, *size),
        strict=True,
    ):
        assert abs(values.mean() - target) < 4 * values.std() / math.sqrt(len(values)) + 1e-9


def test_views_are_of_so_many_images_in_turn() -> None:
    config = BlockViewsConfig()
    views = frequencies.sample(config, 16, seed=3)
    assert views[8:] == list(sample_views(config, *frequencies.SIZE, seed=3, epoch=0, image=1))


def test_the_command_writes_json_and_a_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- frequencies -->\n<!-- end of frequencies -->\n")
    frequencies.main(["--samples", "1600", "--out", str(tmp_path / "out.json"), "--page", str(page)])
    result = json.loads((tmp_path / "out.json").read_text())
    assert list(result["recipes"]) == ["paper", "released"]
    shown = {figure["name"]: figure for figure in result["recipes"]["released"]}
    assert shown["solarized, second view"]["target"] == 0.2
    [line] = [line for line in page.read_text().splitlines() if line.startswith("| solarized, second view |")]
    assert f"| 0.2000 | {shown['solarized, second view']['found']:.4f} |" in line
    assert "out of its range" not in page.read_text()
