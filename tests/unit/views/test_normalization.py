"""(x / white - mean) / std against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manyview.views import normalize, normalize_channels_last

RANDOM = np.random.default_rng(0)


def by_definition(pixels: np.ndarray, white: int, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return (pixels.astype(np.float64) / white - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 3, 9, 4), (2, 4, 3, 6, 6), (0, 3, 4, 4), (1, 1, 1), (2, 13, 3, 2)])
@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_by_its_definition(shape: tuple[int, ...], dtype: type[np.generic], white: int) -> None:
    pixels = RANDOM.integers(0, white + 1, shape).astype(dtype)
    mean, std = RANDOM.uniform(0.3, 0.6, shape[-3]), RANDOM.uniform(0.15, 0.3, shape[-3])
    normalized = normalize(torch.from_numpy(pixels), mean.tolist(), std.tolist())
    assert normalized.dtype == torch.float32
    np.testing.assert_allclose(normalized.numpy(), by_definition(pixels, white, mean, std), rtol=1e-6, atol=1e-6)


def test_every_value_of_imagenets_images() -> None:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = np.broadcast_to(np.arange(256, dtype=np.uint8), (3, 1, 256)).copy()
    normalized = normalize(torch.from_numpy(pixels), mean.tolist(), std.tolist()).numpy()
    np.testing.assert_allclose(normalized, by_definition(pixels, 255, mean, std), rtol=1e-6, atol=1e-6)


def test_pixels_that_do_not_lie_in_a_row() -> None:
    pixels = torch.from_numpy(RANDOM.integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)).movedim(-1, 1)[:, :, ::2, 1:]
    before = pixels.clone()
    normalized = normalize(pixels, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    expected = by_definition(pixels.numpy(), 255, np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.6]))
    np.testing.assert_allclose(normalized.numpy(), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("shape", [(2, 3, 9, 4), (5, 1, 7, 7), (3, 6, 2, 5), (0, 3, 4, 4)])
@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_the_same_with_channels_last(shape: tuple[int, ...], dtype: type[np.generic], white: int) -> None:
    pixels = RANDOM.integers(0, white + 1, shape).astype(dtype)
    mean, std = RANDOM.uniform(0.3, 0.6, shape[1]), RANDOM.uniform(0.15, 0.3, shape[1])
    for layout in (torch.contiguous_format, torch.channels_last):
        before = torch.from_numpy(pixels).contiguous(memory_format=layout)
        normalized = normalize_channels_last(before, mean.tolist(), std.tolist())
        assert normalized.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_allclose(normalized.numpy(), by_definition(pixels, white, mean, std), rtol=1e-6, atol=1e-6)
        assert np.array_equal(before.numpy(), pixels)


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5, 0.5, 0.5)), ((0.5,) * 4, (0.5,) * 4)])
def test_one_number_a_channel(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="argument"):
        normalize(torch.zeros(3, 2, 2, dtype=torch.uint8), mean, std)
