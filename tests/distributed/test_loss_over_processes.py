"""The image-aware loss over two and four processes is that of one with all vectors, in value and gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from manyview import distributed
from manyview.errors import UserError
from manyview.losses import FORMS, across, distributed_image_aware_loss, image_aware_loss
from tests.helpers.processes import in_processes, joined

VECTORS, BLOCK = 48, 5
PROCESSES = (2, 4)
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-6}
CASES = [
    (form, dtype, temperature, sharded)
    for form in FORMS
    for dtype, temperature, sharded in (
        (torch.float64, 0.3, False),
        (torch.float64, 0.01, True),
        (torch.float32, 0.3, False),
    )
]


def given(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors, images of two to nine of them that lie on several processes, and shards.

    The first shard has vectors on the last process only.
    """
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(VECTORS, 6, generator=generator, dtype=torch.float64) * torch.linspace(0.1, 20, VECTORS)[:, None]
    ids = torch.tensor([3, 3, -8, -8, *[40, 11, 40, 11, 11] * 4, *range(12), *reversed(range(12))])
    shards = torch.where(torch.arange(VECTORS) % 3 == 0, 7, 2)
    shards[-12:] = torch.where(ids[-12:] % 2 == 0, -1, 2)
    ids[shards == -1], ids[shards == 2], ids[shards == 7] = 90, ids[shards == 2] % 2, 50 + ids[shards == 7] % 2
    return z.to(dtype), ids, shards


def of_one(form: str, dtype: torch.dtype, temperature: float, sharded: bool) -> tuple[Tensor, Tensor]:
    """Loss and gradient of all vectors on one process."""
    z, ids, shards = given(dtype)
    z.requires_grad_()
    parts = [shards == shard for shard in shards.unique()] if sharded else [torch.ones(VECTORS, dtype=torch.bool)]
    losses = [image_aware_loss(z[part], ids[part], temperature, form) * part.sum() for part in parts]
    loss = torch.stack(losses).sum() / VECTORS
    (gradient,) = torch.autograd.grad(loss, z)
    return loss.detach(), gradient


def of_several(form: str, dtype: torch.dtype, temperature: float, sharded: bool, upstream: float) -> dict[str, Tensor]:
    """Loss and gradient of this process's vectors."""
    z, ids, shards = given(dtype)
    share = VECTORS // distributed.world_size()
    own = slice(distributed.rank() * share, (distributed.rank() + 1) * share)
    z = z[own].requires_grad_()
    loss = distributed_image_aware_loss(z, ids[own], temperature, form, shards[own] if sharded else None)
    (upstream * loss).backward()
    assert z.grad is not None
    return {"loss": loss.detach(), "gradient": z.grad}


def lone() -> str:
    """The error where a vector of the last process has no positive."""
    ids = torch.zeros(3, dtype=torch.int64)
    ids[0] = 5 if distributed.rank() == distributed.world_size() - 1 else 0
    try:
        distributed_image_aware_loss(torch.randn(3, 2), ids)
    except UserError as error:
        return str(error)
    return ""


def work(rank: int, root: str) -> None:
    across.block_size = lambda device: BLOCK
    for processes in PROCESSES:
        if rank < processes:
            with joined(rank, Path(root), processes):
                found: dict[Any, Any] = {case: of_several(*case, upstream=rank + 0.5) for case in CASES}
                found["lone"] = lone()
                torch.save(found, f"{root}/{processes}-{rank}.pt")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[Any, Any]]]:
    """Of each number of processes, what each of them computed."""
    root = tmp_path_factory.mktemp("gloo")
    in_processes(work, str(root), processes=max(PROCESSES))
    return {count: [torch.load(root / f"{count}-{rank}.pt") for rank in range(count)] for count in PROCESSES}


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("processes", PROCESSES)
def test_value_and_gradient_are_those_of_one_process(
    found: dict[int, list[dict[Any, Any]]], processes: int, case: tuple[Any, ...]
) -> None:
    loss, gradient = of_one(*case)
    tolerance = TOLERANCES[case[1]]
    results = [process[case] for process in found[processes]]
    for result in results:
        torch.testing.assert_close(result["loss"], loss, rtol=tolerance, atol=tolerance)
        assert torch.equal(result["loss"], results[0]["loss"])
    # Each process gets the sum over processes of what each makes of the loss, as by distributed.gather.
    upstream = sum(rank + 0.5 for rank in range(processes))
    theirs = torch.cat([result["gradient"] for result in results]) / upstream
    torch.testing.assert_close(theirs, gradient, rtol=tolerance, atol=tolerance * float(gradient.abs().max()))


@pytest.mark.parametrize("processes", PROCESSES)
def test_a_vector_without_positive_is_an_error_on_every_process(
    found: dict[int, list[dict[Any, Any]]], processes: int
) -> None:
    for process in found[processes]:
        assert f"1 of {3 * processes} vectors have no positive" in process["lone"]


def test_the_first_shard_is_of_one_process_only() -> None:
    _, ids, shards = given(torch.float64)
    assert set((shards == -1).nonzero()[:, 0].tolist()) <= set(range(36, 48))
    for shard in shards.unique():
        assert int(ids[shards == shard].bincount(minlength=100)[ids[shards == shard]].min()) >= 2
