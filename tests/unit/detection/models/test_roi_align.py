"""RoIAlign as a weighted sum, against torchvision's operator: values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision import ops

from manyview.detection.models import roi_align as module
from manyview.detection.models.roi_align import roi_align

HEIGHT, WIDTH, SCALE = 12, 17, 1 / 8


def boxes(count: int) -> Tensor:
    """Boxes of three images, over their borders, of no size, upside down, and as large as all of it."""
    torch.manual_seed(3)
    corners = torch.rand(count, 2, dtype=torch.float64) * torch.tensor([WIDTH, HEIGHT]) * 8 - 10
    sides = torch.rand(count, 2, dtype=torch.float64) ** 3 * torch.tensor([WIDTH, HEIGHT]) * 10
    special = torch.tensor(
        [
            [0, 0, 0, 8 * WIDTH, 8 * HEIGHT],
            [2, 5, 5, 5, 9],
            [1, 9, 9, 4, 4],
            [1, -90, -90, -30, -30],
            [0, -9, 0, 400, 20],
        ]
    )
    images = torch.arange(count)[:, None] % 3
    return torch.cat([torch.cat([images, corners, corners + sides], dim=1), special.double()])


def both(features: Tensor, rois: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """Output and the maps' gradient, of ours and of torchvision's."""
    results = []
    for pool in (
        lambda maps: roi_align(maps, rois, size, SCALE),
        lambda maps: ops.roi_align(maps, rois, size, SCALE, sampling_ratio=0, aligned=True),
    ):
        maps = features.clone().requires_grad_()
        pooled = pool(maps)
        toward = torch.linspace(-1, 1, pooled.numel(), dtype=pooled.dtype).view(pooled.shape)
        results.append((pooled.detach(), torch.autograd.grad((pooled * toward).sum(), maps)[0]))
    return results


@pytest.mark.parametrize("size", [1, 7, 14])
def test_values_and_gradients_are_torchvisions(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROIS_AT_ONCE", 16)  # several parts, and the last one smaller
    features = torch.randn(3, 5, HEIGHT, WIDTH, dtype=torch.float64)
    (found, gradient), (expected, expected_gradient) = both(features, boxes(40), size)
    assert found.is_contiguous()
    assert found.abs().amax(dim=(1, 2, 3)).count_nonzero() >= 40
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.02)])
def test_maps_keep_their_dtype(dtype: torch.dtype, tolerance: float) -> None:
    """Sums are taken in float32, as torchvision's are under autocast."""
    features = torch.randn(3, 5, HEIGHT, WIDTH).to(dtype)
    rois = boxes(40).float()
    found = roi_align(features, rois, 7, SCALE)
    assert found.dtype == dtype
    expected = ops.roi_align(features.float(), rois, 7, SCALE, sampling_ratio=0, aligned=True)
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)


def test_no_rois_give_no_features() -> None:
    features = torch.randn(3, 5, HEIGHT, WIDTH, requires_grad=True)
    found = roi_align(features, torch.zeros(0, 5), 7, SCALE)
    assert found.shape == (0, 5, 7, 7)
    assert torch.autograd.grad(found.sum(), features)[0].count_nonzero() == 0
