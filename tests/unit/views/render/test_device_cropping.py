from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from manyview.views.render.torch import crop_resize

CROPS = [(0, 0, 130, 90), (10, 5, 40, 75), (60, 20, 124, 84), (3, 88, 130, 90), (7, 7, 8, 8), (100, 0, 130, 12)]


def sample_image(bands: int = 3) -> np.ndarray:
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:90, 0:130] / 90
    waves = [128 + 120 * np.sin(random.uniform(5, 40) * x + random.uniform(5, 40) * y) for _ in range(bands)]
    return np.clip(np.stack(waves) + random.normal(0, 20, (bands, 90, 130)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [8, 64, 97])
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_crops_are_pillows_but_for_a_rounding(size: int, bands: int) -> None:
    image = sample_image(bands)
    views = crop_resize(torch.from_numpy(image), CROPS, size).numpy()
    assert views.shape == (len(CROPS), bands, size, size)
    for view, (left, top, right, bottom) in zip(views, CROPS, strict=True):
        for plane, band in zip(view, image, strict=True):
            crop = Image.fromarray(np.ascontiguousarray(band[top:bottom, left:right]))
            expected = np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR)).astype(int)
            assert np.abs(plane - expected).max() <= 1
            assert np.abs(plane - expected).mean() < 0.3


def test_a_crop_of_the_views_size_is_copied() -> None:
    image = torch.from_numpy(sample_image())
    assert torch.equal(crop_resize(image, [(10, 20, 42, 52)], 32)[0], image[:, 20:52, 10:42])


def test_crop_outside_of_the_image_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="130 x 90 pixels has no part"):
        crop_resize(torch.from_numpy(sample_image()), [(50, 5, 131, 58)], 16)
