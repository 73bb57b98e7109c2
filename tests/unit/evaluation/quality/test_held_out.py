"""Labeled images to measure by during a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyview.config import MonitorConfig
from manyview.errors import UserError
from manyview.evaluation.quality.labeled import read_held_out
from tests.helpers.tiny import write_images

COUNT = 30


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), COUNT)


def write(file: Path, indices: range) -> str:
    rows = [f"{index:02d}.jpg,{'odd' if index % 2 else 'even'}" for index in indices]
    file.write_text("image,labels\n" + "\n".join(rows) + "\n")
    return str(file)


def monitor(**settings: Any) -> MonitorConfig:
    return MonitorConfig.model_validate({f"eval_{key}": value for key, value in settings.items()})


def test_a_third_is_held_out_always_the_same(images: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "labels.csv", range(COUNT))

    found, again = (read_held_out(images, monitor(labels=file)) for _ in range(2))

    assert found is not None
    assert again is not None
    train, val = found.train.names, found.val.names
    assert (len(train), len(val)) == (20, 10)
    assert sorted({*train, *val}) == [f"{index:02d}.jpg" for index in range(COUNT)]
    assert (again.train.names, again.val.names) == (train, val)
    for part in (found.train, found.val):
        odd = [int(name[:2]) % 2 for name in part.names]
        assert np.array_equal(part.targets, np.stack([1 - np.array(odd), odd], axis=1))
    assert found.describe()["held_out"] == 10
    assert found.split == "30 labeled images, a third of them held out at random"


def test_at_most_so_many(images: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "labels.csv", range(COUNT))

    found = read_held_out(images, monitor(labels=file, images=12))

    assert found is not None
    assert (len(found.train.names), len(found.val.names)) == (8, 4)
    assert not set(found.train.names) & set(found.val.names)
    assert "12 of 30 labeled images" in found.split


def test_two_files(images: Path, tmp_path: Path) -> None:
    train, val = write(tmp_path / "train.csv", range(20)), write(tmp_path / "val.csv", range(20, COUNT))

    found = read_held_out(images, monitor(labels=train, val_labels=val))
    fewer = read_held_out(images, monitor(labels=train, val_labels=val, images=9))

    assert found is not None
    assert fewer is not None
    assert found.train.names == tuple(f"{index:02d}.jpg" for index in range(20))
    assert found.val.names == tuple(f"{index:02d}.jpg" for index in range(20, COUNT))
    assert (len(fewer.train.names), len(fewer.val.names)) == (6, 3)
    assert found.sha256 == fewer.sha256 != read_held_out(images, monitor(labels=train)).sha256  # type: ignore[union-attr]


def test_mistakes(images: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "labels.csv", range(COUNT))
    few = write(tmp_path / "few.csv", range(4))

    assert read_held_out(images, MonitorConfig()) is None
    same = read_held_out(images, monitor(labels=file, val_labels=file))
    assert same is not None
    assert same.split.endswith("of which 30 are also training images, so that their figures flatter")
    with pytest.raises(UserError, match="labels too few images to measure by: 3 and 1 held out; label more"):
        read_held_out(images, monitor(labels=few))
    with pytest.raises(UserError, match=r"missing\.csv"):
        read_held_out(images, monitor(labels=str(tmp_path / "missing.csv")))
