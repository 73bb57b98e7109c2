"""A frozen backbone on several cores: each computes a part of the batch."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from manyview.backbones import Backbone, build_backbone, wrap_backbone
from manyview.errors import UserError
from manyview.evaluation.features import backbone as frozen
from manyview.evaluation.features.backbone import FrozenBackbone
from manyview.views import normalize

CPU = torch.device("cpu")
CORES = 3


@pytest.fixture
def cores() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(CORES)
    yield CORES
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_backbone("timm/test_resnet").eval()


def pixels(count: int, size: int = 32) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_the_parts_make_up_the_batch(cores: int, backbone: Backbone, count: int) -> None:
    batch = pixels(count)
    maps = FrozenBackbone(backbone, CPU)(batch)
    with torch.no_grad():
        whole = backbone(normalize(batch, backbone.mean, backbone.std))
    torch.testing.assert_close(maps, whole, rtol=1e-5, atol=1e-5)
    assert not maps.requires_grad
    assert torch.get_num_threads() == cores


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_each_core_computes_by_itself_in_the_precision(cores: int, backbone: Backbone, precision: str) -> None:
    seen = []

    def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append((threading.get_ident(), torch.get_num_threads(), len(output), output.dtype))

    first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
    handle = first.register_forward_hook(note)
    try:
        maps = FrozenBackbone(backbone, CPU, precision)(pixels(7))
    finally:
        handle.remove()
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    assert sorted(rows for _, _, rows, _ in seen) == [1, 3, 3]
    assert {(threads, dtype) for _, threads, _, dtype in seen} == {(1, kind)}
    assert threading.get_ident() not in {thread for thread, *_ in seen}
    assert maps.dtype == torch.float32


def test_large_images_come_in_smaller_parts(cores: int, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    monkeypatch.setattr(frozen, "_PART_PIXELS", 2 * 32**2)
    handle = backbone.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    try:
        batches = (pixels(11), pixels(11, 64))
        maps = [FrozenBackbone(backbone, CPU)(batch) for batch in batches]
    finally:
        handle.remove()
    assert sorted(rows) == sorted([2, 2, 2, 2, 2, 1] + [1] * 11)
    with torch.no_grad():
        for found, batch in zip(maps, batches, strict=True):
            whole = backbone(normalize(batch, backbone.mean, backbone.std))
            torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)


def test_a_module_of_ones_own_gets_the_whole_batch(cores: int) -> None:
    class Remembering(nn.Module):
        """Keeps something between two layers, as two threads at a time must not."""

        def forward(self, images: Tensor) -> Tensor:
            self.kept = images.mean(dim=(2, 3), keepdim=True)
            return images - self.kept

    module = Remembering()
    for network in (module, wrap_backbone(module, 16)):
        maps = FrozenBackbone(network, CPU)(pixels(5, 16))
        assert maps.shape == (5, 3, 16, 16)
        assert len(module.kept) == 5


def test_norms_that_take_the_batchs_statistics_get_the_whole_batch(cores: int) -> None:
    network = build_backbone("timm/test_resnet").eval()
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean = norm.running_var = None
        norm.track_running_stats = False
    batch = pixels(6)
    with torch.no_grad():
        whole = network(normalize(batch, network.mean, network.std))
        by_parts = torch.cat([network(normalize(part, network.mean, network.std)) for part in batch.chunk(3)])
    found = FrozenBackbone(network, CPU)(batch)
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
    assert (found - by_parts).abs().max() > 1e-3


def test_a_failure_in_a_part_is_reported(cores: int) -> None:
    network = build_backbone("timm/test_vit")  # takes whole patches
    with pytest.raises(UserError, match="the backbone fails on images of 30 x 30 pixels"):
        FrozenBackbone(network, CPU)(pixels(4, 30))
