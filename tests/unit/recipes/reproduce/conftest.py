from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from manyview.options.base import defaults
from manyview.options.reproduce import ReproduceOptions
from manyview.recipes.reproduce import reproduce
from manyview.recipes.reproduce.plan import TablePlan, make_plan_of
from manyview.runs import RunFolder
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


def write_files(folder: Path) -> tuple[Path, Path]:
    (folder / "mine.toml").write_text(TABLE)
    (folder / "tiny.toml").write_text(SCALE)
    return folder / "mine.toml", folder / "tiny.toml"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A table of two rows, and a scale at which they take seconds."""
    return write_files(tmp_path)


@pytest.fixture
def usual(photos: Path, labels: tuple[Path, Path], files: tuple[Path, Path], tmp_path: Path) -> dict[str, Any]:
    """Options of ``reproduce``: sixteen images, that scale, into ``out``."""
    return options_of(photos, labels, files, tmp_path / "out")


def options_of(photos: Path, labels: tuple[Path, Path], files: tuple[Path, Path], out: Path) -> dict[str, Any]:
    usual: dict[str, Any] = {"images": photos, "train_labels": labels[0], "val_labels": labels[1], "workers": 0}
    return usual | {"scale": str(files[1]), "out": out, "set": ON_CPU, "device": "cpu"}


@pytest.fixture
def make(usual: dict[str, Any], files: tuple[Path, Path]) -> Make:
    """``reproduce``, by default of that table; ``set`` in addition."""
    return maker(usual, files[0])


def maker(usual: dict[str, Any], table: Path) -> Make:
    def call(table: object = table, **options: Any) -> dict[str, Any]:
        return reproduce(str(table), **{**usual, **options, "set": usual["set"] | options.get("set", {})})

    return call


@dataclass(frozen=True)
class Made:
    """A table that was made: by what, from which file, into which folder, and the result."""

    make: Make
    table: Path
    out: Path
    result: dict[str, Any]

    def run(self, recipe: str) -> RunFolder:
        """Of the one row with that recipe."""
        [folder] = (self.out / "runs").glob(f"{recipe}-*")
        return RunFolder(folder)


@pytest.fixture(scope="module")
def made(photos: Path, labels: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """That table, for who only reads of it, or makes it again."""
    folder = tmp_path_factory.mktemp("made")
    files = write_files(folder)
    make = maker(options_of(photos, labels, files, folder / "out"), files[0])
    return Made(make, files[0], folder / "out", make())


@pytest.fixture
def plan(usual: dict[str, Any], files: tuple[Path, Path]) -> Plan:
    """The plan of that table, of which nothing is done."""

    def call(table: object = files[0], **options: Any) -> TablePlan:
        given = {**defaults(ReproduceOptions), **usual, **options, "set": usual["set"] | options.get("set", {})}
        return make_plan_of(str(table), given)

    return call
