"""Batch norms over all processes, without processes: what their conversion keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from manyview.backbones import build_backbone
from manyview.distributed import SynchronizedBatchNorm, norms, synchronize_norms


@pytest.mark.parametrize("gloo", [False, True])
@pytest.mark.parametrize("name", ["timm/test_efficientnet", "timm/test_resnet", "resnet18"])
def test_activations_within_norms_stay(name: str, gloo: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own conversion would make test_efficientnet, whose norms hold the activations, nearly linear."""
    torch.manual_seed(0)
    backbone = build_backbone(name).eval()
    weights = {key: value.clone() for key, value in backbone.state_dict().items()}
    images = torch.randn(1, 3, 64, 64)
    monkeypatch.setattr(norms, "_meet_by_gloo", lambda: gloo)
    with torch.no_grad():
        expected = backbone(images)
        converted = synchronize_norms(backbone)
        found = converted(images)
    of_class = SynchronizedBatchNorm if gloo else nn.SyncBatchNorm
    batch_norms = [m for m in converted.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert batch_norms
    assert all(isinstance(norm, of_class) and not norm.training for norm in batch_norms)
    assert torch.equal(found, expected)
    assert converted.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in converted.state_dict().items())
