from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyview.options.base import defaults
from manyview.options.reproduce import ReproduceOptions
from manyview.recipes.reproduce import reproduce
from manyview.recipes.reproduce.plan import TablePlan, make_plan_of
from tests.helpers.tiny import COUNT, ON_CPU, photos

__all__ = ["photos"]

SCALE = """
title = "seconds"
backbone = "timm/test_resnet"
view_size = 16
views_per_step = 32
budget = {views = 128, images = 16, steps = 4, hours = 0.001}
size = 32

[set]
"method.projection_dim" = 32
"method.prediction_hidden_dim" = 16

[instruments.logistic]
resamples = 0
cost = 0.01
"""
TABLE = """
title = "Two rows"
source = "nobody"

[evaluations.gamp]
metrics = ["mAP", "CF1"]

[[rows]]
name = "blocks"
recipe = "paper"
set = {"losses.image_aware.weight" = 0}
paper = {mAP = 54.3}

[[rows]]
name = "half as long"
recipe = "simsiam"
share = 0.5
"""
Make = Callable[..., dict[str, Any]]
Plan = Callable[..., TablePlan]


@pytest.fixture(scope="session")
def labels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Training labels of twelve of the sixteen images, and validation labels of the others."""
    folder = tmp_path_factory.mktemp("labels")
    shown = ["cat", "dog", "cat|dog", ""]
    rows = [f"{index:02d}.jpg,{shown[index % 4]}\n" for index in range(COUNT)]
    for name, part in (("train", rows[:12]), ("val", rows[12:])):
        (folder / f"{name}.csv").write_text("image,labels\n" + "".join(part))
    return folder / "train.csv", folder / "val.csv"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A table of two rows, and a scale at which they take seconds."""
    (tmp_path / "mine.toml").write_text(TABLE)
    (tmp_path / "tiny.toml").write_text(SCALE)
    return tmp_path / "mine.toml", tmp_path / "tiny.toml"


@pytest.fixture
def usual(photos: Path, labels: tuple[Path, Path], files: tuple[Path, Path], tmp_path: Path) -> dict[str, Any]:
    """Options of ``reproduce``: sixteen images, that scale, into ``out``."""
    usual: dict[str, Any] = {"images": photos, "train_labels": labels[0], "val_labels": labels[1], "workers": 0}
    return usual | {"scale": str(files[1]), "out": tmp_path / "out", "set": ON_CPU, "device": "cpu"}


@pytest.fixture
def make(usual: dict[str, Any], files: tuple[Path, Path]) -> Make:
    """``reproduce``, by default of that table; ``set`` in addition."""

    def call(table: object = files[0], **options: Any) -> dict[str, Any]:
        return reproduce(str(table), **{**usual, **options, "set": usual["set"] | options.get("set", {})})

    return call


@pytest.fixture
def plan(usual: dict[str, Any], files: tuple[Path, Path]) -> Plan:
    """The plan of that table, of which nothing is done."""

    def call(table: object = files[0], **options: Any) -> TablePlan:
        given = {**defaults(ReproduceOptions), **usual, **options, "set": usual["set"] | options.get("set", {})}
        return make_plan_of(str(table), given)

    return call
