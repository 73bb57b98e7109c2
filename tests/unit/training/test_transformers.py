"""Vision transformers in pre-training: views of several sizes, and a patch projection that stays random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import manyview
from manyview.backbones import build_backbone
from manyview.errors import UserError
from tests.helpers.tiny import train_tiny

TWO_SIZES: dict[str, Any] = {
    "views.kind": "groups",
    "views.groups": [{"size": 32, "count": 2}, {"size": 16, "count": 2, "scale": [0.1, 0.3]}],
}


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224"])
def test_position_embeddings_follow_the_size(name: str) -> None:
    """Interpolated for every size, with a gradient to the embeddings of the network's own size."""
    backbone = build_backbone(f"timm/{name}")
    for size in (160, 64):
        features = backbone(torch.randn(1, 3, size, size))
        assert features.shape[2:] == (size // 16, size // 16)
        (gradient,) = torch.autograd.grad(features.square().sum(), backbone.network.pos_embed)
        assert (gradient != 0).any(dim=2).sum() > 100  # nearly all of 10 x 10 or 14 x 14, from 4 x 4 as well


@pytest.mark.parametrize("method", ["simsiam", "moco"])
def test_the_patch_projection_stays_random(photos: Path, tmp_path: Path, method: str) -> None:
    settings = {"method.name": method, "backbone.freeze_patch_projection": True, **TWO_SIZES}
    named: dict[str, Any] = {"backbone": "timm/test_vit", "view_size": None, "epochs": 1}
    run = train_tiny(photos, tmp_path / "frozen", settings=settings, **named)
    free = train_tiny(
        photos, tmp_path / "free", settings={**settings, "backbone.freeze_patch_projection": False}, **named
    )
    torch.manual_seed(0)
    start = build_backbone("timm/test_vit", zero_init_residual=True).state_dict()

    frozen, trained = load_file(str(run.weights)), load_file(str(free.weights))
    for name in ("patch_embed.proj.weight", "patch_embed.proj.bias"):
        assert torch.equal(frozen[name], start[name])
        assert not torch.equal(trained[name], start[name])
    for name in ("pos_embed", "blocks.0.attn.qkv.weight"):
        assert not torch.equal(frozen[name], start[name])
    # Only the training is restricted.
    assert all(parameter.requires_grad for parameter in manyview.load_backbone(run).network.patch_embed.parameters())


def test_a_network_without_patches_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"is for vision transformers, but own:.*TinyNet has no patch_embed\.proj; leave"
    ):
        train_tiny(photos, tmp_path / "run", settings={"backbone.freeze_patch_projection": True})
    assert not (tmp_path / "run").exists()


def test_views_must_be_made_of_whole_patches(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="patches of 16 x 16 pixels, so that it takes none of 40 x 40; choose multiples"
    ):
        train_tiny(photos, tmp_path / "run", backbone="timm/test_vit", view_size=40)
    assert not (tmp_path / "run").exists()
