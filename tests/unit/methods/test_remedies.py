"""What is proposed where a run collapses: settings that there are, and what the method's own are set to."""

from __future__ import annotations

import re

import pytest

from manyview.backbones import build_backbone
from manyview.config import PretrainConfig, parse_assignment, resolve
from manyview.methods import build_method
from manyview.recipes import RECIPES, recipe_settings

BACKBONE = "timm/test_resnet"
UNLABELED = set(RECIPES) - {"supervised"}


def configured(recipe: str, *texts: str) -> PretrainConfig:
    explicit = [f"backbone.name={BACKBONE}", "views.size=32"]
    base = {"data": {"images": "photos"}, **recipe_settings(recipe)}
    return resolve(base, [parse_assignment(text) for text in (*explicit, *texts)])


def remedies(recipe: str, *texts: str) -> list[str]:
    config = configured(recipe, *texts)
    return build_method(build_backbone(BACKBONE), config).remedies(config)


@pytest.mark.parametrize(
    "recipe", sorted({configured(recipe).method.name: recipe for recipe in sorted(UNLABELED)}.values())
)
def test_they_name_settings_that_there_are(recipe: str) -> None:
    config = configured(recipe)
    proposed = remedies(recipe)
    for remedy in proposed:
        [name] = re.findall(r"\b[a-z_]+(?:\.[a-z_]+)+", remedy)
        value = config.model_dump()
        for part in name.split("."):
            value = value[part]
        [was] = re.findall(r"it was ([\d.e-]+)", remedy) or [None]
        assert was is None or float(was) == pytest.approx(value)
    assert len(set(proposed)) == len(proposed)


@pytest.mark.parametrize(
    ("recipe", "texts", "expected"),
    [
        (
            "mocov2",
            ["method.queue=1024"],
            ["training.base_learning_rate", "method.queue (it was 1024)", "(it was 0.999)"],
        ),
        ("byol", [], ["training.base_learning_rate", "a higher method.momentum (it was 0.996)"]),
        ("vicreg", ["method.variance=10"], ["method.variance (it was 10)", "training.base_learning_rate"]),
        ("barlowtwins", [], ["training.base_learning_rate"]),
    ],
)
def test_a_methods_own_settings_are_among_them(recipe: str, texts: list[str], expected: list[str]) -> None:
    for remedy, part in zip(remedies(recipe, *texts), expected, strict=True):
        assert part in remedy
