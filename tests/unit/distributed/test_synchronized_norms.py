"""Batch norms over two and four processes, held against PyTorch's on the whole batch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from manyview.distributed import SynchronizedBatchNorm, synchronize_norms
from tests.helpers.processes import in_processes, joined

# Rows of each of four processes; of two, those of the first two and of the last two.
EVEN, UNEVEN, EMPTY = (3, 3, 3, 3), (1, 4, 2, 5), (0, 7, 3, 2)
CASES: dict[str, tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = {
    "2d": (nn.BatchNorm2d(5), (5, 3, 4), EVEN),
    "1d": (nn.BatchNorm1d(5), (5,), EVEN),
    "1d of sequences": (nn.BatchNorm1d(5, momentum=None), (5, 6), EVEN),
    "uneven": (nn.BatchNorm2d(5, eps=1e-3, momentum=0.3), (5, 3, 2), UNEVEN),
    "nothing on one": (nn.BatchNorm1d(5, momentum=None), (5,), EMPTY),
    "no scale": (nn.BatchNorm1d(5, affine=False), (5,), EVEN),
    "no shift": (nn.BatchNorm1d(5, bias=False), (5,), EVEN),
    "no running statistics": (nn.BatchNorm2d(5, track_running_stats=False), (5, 2, 2), UNEVEN),
    "with an activation": (BatchNormAct2d(5, act_layer=nn.SiLU), (5, 3, 4), EVEN),
    "with a ReLU in place": (nn.Sequential(nn.BatchNorm2d(5), nn.ReLU(inplace=True)), (5, 3, 4), EVEN),
    "channels last": (nn.BatchNorm2d(5).to(memory_format=torch.channels_last), (5, 3, 4), EVEN),
}
STEPS = 3


def made(name: str, dtype: torch.dtype) -> nn.Module:
    network = copy.deepcopy(CASES[name][0]).to(dtype)
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return network


def passed(name: str, rank: int, processes: int, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """This process's values, gradients and statistics after some steps, then its values in eval mode."""
    _, shape, rows = CASES[name]
    network = made(name, dtype)
    if processes > 1:
        network = synchronize_norms(network)
        assert any(isinstance(module, SynchronizedBatchNorm) for module in network.modules())
    per = len(rows) // processes
    first, last = sum(rows[: rank * per]), sum(rows[: (rank + 1) * per])
    found: dict[str, Any] = {"values": [], "gradients": []}
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        x = 5 + 2 * torch.randn(sum(rows), *shape, generator=generator, dtype=torch.float64)
        weights = torch.randn(x.shape, generator=generator, dtype=torch.float64)[first:last]
        own = x[first:last].to(dtype).requires_grad_()
        y = network(own)
        (y.double() * weights * y.double()).sum().backward()
        found["values"].append(y.detach().clone())
        found["gradients"].append(own.grad)
    found["parameters"] = [parameter.grad for parameter in network.parameters()]
    found["state"] = network.state_dict()
    if "no running" not in name:
        found["eval"] = network.eval()(own).detach()
    return found


def half(rank: int, processes: int) -> list[Tensor]:
    """Values of a bf16 batch in a float32 norm, as under autocast, and of a bf16 norm."""
    x = torch.randn(8, 5, 4, 4, generator=torch.Generator().manual_seed(1)).bfloat16()
    own = x[rank * 8 // processes : (rank + 1) * 8 // processes].requires_grad_()
    norm = nn.BatchNorm2d(5)
    y = (synchronize_norms(norm) if processes > 1 else norm)(own)
    y.float().square().mul(torch.arange(5.0).view(-1, 1, 1)).sum().backward()
    assert own.grad is not None
    return [y.detach(), own.grad]


def work(rank: int, root: str) -> None:
    for processes in (2, 4):
        if rank >= processes:
            continue
        with joined(rank, Path(root), processes):
            found = {name: passed(name, rank, processes) for name in CASES}
            found["float32"] = passed("uneven", rank, processes, torch.float32)
            found["half"] = {"values": half(rank, processes)}
            with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
                synchronize_norms(nn.BatchNorm1d(3))(torch.ones(int(rank == 0), 3))
        torch.save(found, f"{root}/{processes}-{rank}.pt")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """What each process found, by their number."""
    folder = tmp_path_factory.mktemp("norms")
    in_processes(work, str(folder), processes=4)
    return {
        processes: [torch.load(folder / f"{processes}-{rank}.pt") for rank in range(processes)] for processes in (2, 4)
    }


def everyones(parts: list[dict[str, Any]], key: str) -> list[Tensor]:
    return [torch.cat(steps) for steps in zip(*(part[key] for part in parts), strict=True)]


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_statistics_are_those_of_the_whole_batch(
    name: str, processes: int, found: dict[int, list[dict[str, Any]]]
) -> None:
    parts, alone = [each[name] for each in found[processes]], passed(name, 0, 1)
    exact = {"rtol": 1e-12, "atol": 1e-11}

    assert all(value.abs().max() > 0.1 for value in alone["gradients"])
    torch.testing.assert_close(everyones(parts, "values"), alone["values"], **exact)
    torch.testing.assert_close(everyones(parts, "gradients"), alone["gradients"], **exact)
    # Each process's own, for DistributedDataParallel to average.
    sums = [sum(gradients) for gradients in zip(*(part["parameters"] for part in parts), strict=True)]
    torch.testing.assert_close(sums, alone["parameters"], **exact)
    for part in parts:
        torch.testing.assert_close(part["state"], alone["state"], **exact)
    if "eval" in alone:
        torch.testing.assert_close(torch.cat([part["eval"] for part in parts]), alone["eval"], **exact)


@pytest.mark.parametrize("processes", [2, 4])
def test_float32_is_as_exact_as_pytorchs(processes: int, found: dict[int, list[dict[str, Any]]]) -> None:
    parts, exact = [each["float32"] for each in found[processes]], passed("uneven", 0, 1)
    theirs = passed("uneven", 0, 1, torch.float32)
    for key in ("values", "gradients"):
        for ours, other, true in zip(everyones(parts, key), theirs[key], exact[key], strict=True):
            assert (ours - true).abs().max() < 2 * (other - true).abs().max() + 1e-6


@pytest.mark.parametrize("processes", [2, 4])
def test_half_precision_is_rounded_once(processes: int, found: dict[int, list[dict[str, Any]]]) -> None:
    values, gradients = everyones([each["half"] for each in found[processes]], "values")
    expected, theirs = half(0, 1)
    assert values.dtype == gradients.dtype == torch.bfloat16
    torch.testing.assert_close(values, expected, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(gradients, theirs, rtol=2e-2, atol=2e-2)


def test_alone_it_is_the_norm_it_was_made_from() -> None:
    norm, x = nn.BatchNorm2d(5), torch.randn(4, 5, 3, 3)
    ours = SynchronizedBatchNorm(copy.deepcopy(norm))
    assert torch.equal(ours(x), norm(x))
    assert ours.state_dict().keys() == norm.state_dict().keys()
    assert all(torch.equal(value, norm.state_dict()[key]) for key, value in ours.state_dict().items())
