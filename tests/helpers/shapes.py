"""Pictures of discs, squares and triangles with exact boxes and masks, as a COCO instances file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from manyview.scenes.write import CocoInstances

KINDS = ("disc", "square", "triangle")
_COLORS = ((220, 60, 50), (60, 200, 80), (70, 90, 230))


def write_shapes(folder: Path, count: int, size: int = 64, seed: int = 0) -> Path:
    """Write ``count`` pictures of one or two shapes, and ``labels.json`` with their boxes and masks as run lengths.

    Returns:
        the label file, beside the pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    instances = CocoInstances(KINDS)
    for index in range(count):
        pixels, shapes = draw_shapes(np.random.default_rng((seed, index)), size)
        name = f"{index:02d}.png"
        Image.fromarray(pixels).save(folder / name)
        instances.add(name, (size, size), [(KINDS[kind], mask) for kind, mask in shapes])
    file = folder / "labels.json"
    instances.write(file)
    return file


def draw_shapes(
    rng: np.random.Generator, size: int
) -> tuple[UInt8[np.ndarray, "size size 3"], list[tuple[int, Bool[np.ndarray, "size size"]]]]:
    """A noisy ground with one or two shapes that do not touch: the pixels, and of each shape its kind and mask."""
    pixels = rng.integers(90, 130, (size, size, 3)).astype(np.uint8)
    y, x = np.mgrid[:size, :size] + 0.5
    shapes = []
    for place in range(int(rng.integers(1, 3))):
        kind, radius = int(rng.integers(3)), rng.uniform(0.15, 0.22) * size
        # One in the left half and one in the right.
        across, down = x - (0.25 + 0.5 * place) * size, y - rng.uniform(radius, size - radius)
        if kind == 0:
            mask = across**2 + down**2 < radius**2
        elif kind == 1:
            mask = np.maximum(abs(across), abs(down)) < radius * 0.9
        else:
            mask = (down < radius * 0.8) & (down > 2 * abs(across) - radius)
        pixels[mask] = _COLORS[kind]
        shapes.append((kind, mask))
    return pixels, shapes


def tune_tiny(labels: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Fine-tune on the pictures beside a label file in seconds: six iterations, measured twice."""
    from manyview.detection.finetune import fine_tune

    given: dict[str, Any] = {
        "weights": "random",
        **{"images": labels.parent, "train_labels": labels, "val_labels": labels, "out": out},
        **{"backbone": "resnet18", "beside": "none", "device": "cpu", "workers": 0, "quiet": True},
        **{"iterations": 6, "batch_size": 2, "eval_every": 3, "short_side": "32,40", "learning_rate": 0.01},
        **{"regions": 2, "test_proposals": 4, "precise_batches": 2},
        **options,
    }
    return fine_tune(given.pop("weights"), **given)
