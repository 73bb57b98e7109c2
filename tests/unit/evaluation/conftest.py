from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyview.runtime import single_thread
from tests.helpers.random_weights import save_random


@dataclass(frozen=True)
class Scenes:
    """A folder of small labeled images, and the weights of a backbone."""

    images: Path
    train: Path
    val: Path
    weights: Path


def draw(seed: int, classes: tuple[str, ...]) -> Image.Image:
    """Gray noise with a red, a green, neither or both squares."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(60, 120, (int(rng.integers(36, 60)), int(rng.integers(36, 60)), 3), dtype=np.uint8)
    for channel, name in enumerate(("red", "green")):
        if name in classes:
            top, left = rng.integers(0, 16, 2)
            pixels[top : top + 20, left : left + 20] = 20
            pixels[top : top + 20, left : left + 20, channel] = 250
    return Image.fromarray(pixels)


def write_labels(file: Path, rows: list[tuple[str, tuple[str, ...]]]) -> Path:
    file.write_text("image,labels\n" + "".join(f"{name},{'|'.join(labels)}\n" for name, labels in rows))
    return file


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are so small that threads cost more than they save."""
    with single_thread():
        yield


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    root = tmp_path_factory.mktemp("scenes")
    kinds: list[tuple[str, ...]] = [("red",), ("green",), (), ("red", "green")]
    rows = []
    for i in range(36):
        name = f"{'ab'[i % 2]}/{i}.png"
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        draw(i, kinds[i % 4]).save(root / "images" / name)
        rows.append((name, kinds[i % 4]))
    return Scenes(
        root / "images",
        write_labels(root / "train.csv", rows[:24]),
        write_labels(root / "val.csv", rows[24:]),
        save_random(root / "backbone.safetensors", seed=7, zero_init_residual=False),
    )


@pytest.fixture(scope="session")
def drawn(scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """The same images with labels drawn at random: figures far from 1, which every other network changes."""
    rng, root = np.random.default_rng(3), tmp_path_factory.mktemp("drawn")
    files = {}
    for part in ("train", "val"):
        names = [line.split(",")[0] for line in getattr(scenes, part).read_text().splitlines()[1:]]
        rows = [(name, tuple(c for c in ("red", "green") if rng.random() < 0.5)) for name in names]
        files[part] = write_labels(root / f"{part}.csv", rows)
    return replace(scenes, **files)
