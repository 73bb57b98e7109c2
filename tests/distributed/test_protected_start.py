"""Kept norm statistics, frozen steps and L2-SP in two processes: the weights of one process on the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from manyview.backbones import wrap_backbone
from manyview.backbones.weights import own_weights
from manyview.config import PretrainConfig
from manyview.methods import Method, MethodBatch, build_method
from manyview.training.optimizer import make_optimizer, set_learning_rate
from manyview.training.protection import Protection
from tests.helpers.processes import in_processes, joined
from tests.helpers.tiny import METHODS as SMALL
from tests.helpers.tiny import TinyNet

IMAGES, VIEWS, SIZE, STEPS, FROZEN = 4, 4, 16, 4, 2
TRAINING = {
    **{"batch_size": IMAGES, "optimizer": "adamw", "norm_statistics": "keep", "freeze_backbone_steps": FROZEN},
    **{"l2_sp": 0.5, "backbone_learning_rate_factor": 0.3},
}


def weights(rank: int, processes: int) -> list[dict[str, Tensor]]:
    """The method's weights after each step of this process's share of the batches."""
    values = {"data": {"images": "photos"}, "method": {"name": "contrastive", **SMALL["contrastive"]}}
    config = PretrainConfig.model_validate({**values, "training": TRAINING})
    torch.manual_seed(0)
    backbone = wrap_backbone(TinyNet(dropout=0.0), SIZE).double()
    initial = own_weights(backbone)
    method: Method = build_method(backbone, config).double()
    if processes > 1:
        method.synchronize_norms()
    method.train()
    protection, optimizer = Protection(method, config.training, initial), make_optimizer(method, config)
    set_learning_rate(optimizer, 0.01)
    module = nn.parallel.DistributedDataParallel(method) if processes > 1 else method
    share, found = IMAGES // processes, []
    for step in range(STEPS):
        views = torch.randn(IMAGES, VIEWS, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(step)).double()
        own = slice(rank * share, (rank + 1) * share)
        protection.before_step(step)
        batch = MethodBatch((views[own],), torch.arange(IMAGES)[own], lambda count: torch.arange(count))
        module(batch)["loss"].backward()
        protection.after_backward(step)
        optimizer.step()
        optimizer.zero_grad()
        found.append({name: value.clone() for name, value in method.state_dict().items()})
    return found


def work(rank: int, root: str) -> None:
    with joined(rank, Path(root)):
        torch.save(weights(rank, 2), Path(root) / f"{rank}.pt")


@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_are_one(rank: int, both: Path) -> None:
    expected = weights(0, 1)
    first, frozen, last = expected[0], expected[FROZEN - 1], expected[-1]
    moved = [name for name, value in first.items() if not torch.equal(value, frozen[name])]
    assert moved
    assert not any(name.startswith("backbone.") for name in moved)
    assert any(name.startswith("backbone.") and not torch.equal(value, last[name]) for name, value in frozen.items())
    for step, state in enumerate(torch.load(both / f"{rank}.pt")):
        for name, value in state.items():
            torch.testing.assert_close(value, expected[step][name], rtol=1e-9, atol=1e-11, msg=f"{step} {name}")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gloo")
    in_processes(work, str(root))
    return root
