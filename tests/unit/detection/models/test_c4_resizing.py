"""Images to the network and detections back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from manyview.detection.models.detector import Resizing, resized


def resizing(**changes: object) -> Resizing:
    settings = {"short_sides": (32, 48), "test_short_side": 40, "max_side": 80, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    return Resizing(**{**settings, "multiple": 1, **changes})


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((375, 500), 800, (800, 1067)),
        ((500, 375), 480, (640, 480)),
        ((427, 640), 800, (800, 1199)),
        ((300, 1000), 800, (400, 1333)),
        ((1000, 3), 800, (1333, 4)),
        ((5000, 1), 640, (1333, 1)),
        ((1, 1), 7, (7, 7)),
    ],
)
def test_sizes(size: tuple[int, int], short_side: int, expected: tuple[int, int]) -> None:
    assert resized(*size, short_side, 1333) == expected


def test_every_short_side_is_exact_and_drawn_in_training_only() -> None:
    for side in range(480, 801, 32):
        for length in range(300, 700, 7):
            assert min(resized(length, length + 113, side, 9999)) == side
    transform = resizing()
    torch.manual_seed(0)
    drawn = {tuple(transform.train().resize(torch.zeros(3, 20, 25))[0].shape[1:]) for _ in range(30)}
    assert drawn == {(32, 40), (48, 60)}
    assert {tuple(transform.eval().resize(torch.zeros(3, 20, 25))[0].shape[1:]) for _ in range(9)} == {(40, 50)}


def test_shrinking_filters_as_pillow_does() -> None:
    """Detectron2 resizes with Pillow, which averages over what a pixel covers."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    found = resizing().eval().resize(image)[0]
    expected = np.asarray(Image.fromarray(pixels).resize((71, 40), Image.Resampling.BILINEAR)) / 255
    assert found.shape == (3, 40, 71)
    np.testing.assert_allclose(found.permute(1, 2, 0).numpy(), expected, atol=1.01 / 255)


def test_boxes_and_masks_go_along() -> None:
    masks = torch.zeros(1, 20, 25, dtype=torch.bool)
    masks[0, 5:10, 5:15] = True
    target = {"boxes": torch.tensor([[5.0, 5, 15, 10]]), "labels": torch.tensor([1]), "masks": masks}
    image, found = resizing(short_sides=(60,)).train().resize(torch.zeros(3, 20, 25), target)
    assert image.shape == (3, 60, 75)
    assert found["boxes"].tolist() == [[15, 15, 45, 30]]
    assert found["masks"].shape == (1, 60, 75)
    assert found["masks"][0, 15:30, 15:45].all()
    assert int(found["masks"].sum()) == 15 * 30
    assert target["boxes"].tolist() == [[5, 5, 15, 10]]
    same, untouched = resizing(short_sides=(20,)).train().resize(torch.ones(3, 20, 25), target)
    assert torch.equal(same, torch.ones(3, 20, 25))
    assert untouched is target


def test_boxes_come_back_to_the_images_own_pixels_and_masks_stay_theirs() -> None:
    masks = torch.rand(1, 14, 14)
    found = [{"boxes": torch.tensor([[10.0, 20, 40, 60]]), "box_masks": masks}]
    back = resizing().eval().postprocess(found, [(80, 100)], [(40, 50)])
    assert back[0]["boxes"].tolist() == [[5, 10, 20, 30]]
    assert back[0]["box_masks"] is masks
