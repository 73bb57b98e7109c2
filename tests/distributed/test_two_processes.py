"""Two processes train as one would on their batches taken together."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from manyview import distributed
from manyview.config import ImageAwareConfig
from manyview.losses import symmetric_similarity
from manyview.methods.image_aware_term import image_aware_term
from tests.helpers.processes import in_processes, joined, threads

IMAGES, PAIRS = 4, 3
ORDER = torch.randperm(IMAGES * PAIRS, generator=torch.Generator().manual_seed(3))
OPTIONS = (
    ImageAwareConfig(),
    ImageAwareConfig(shards=2, vectors="projections", form="out", factor=2.5),
    ImageAwareConfig(stop_gradient=True, temperature=0.1),
)


class Heads(nn.Module):
    """A projection and a prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.projector = nn.Linear(5, 4)
        self.predictor = nn.Linear(4, 4)

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        z1, z2 = self.projector(x1), self.projector(x2)
        return self.predictor(z1), z1, self.predictor(z2), z2


def heads() -> Heads:
    torch.manual_seed(0)
    return Heads().double()


def step(model: nn.Module, rows: slice, options: ImageAwareConfig) -> Tensor:
    """This process's loss over its rows of the batch, with gradients left in the parameters."""
    generator = torch.Generator().manual_seed(1)
    x1, x2 = torch.randn(2, IMAGES * PAIRS, 5, generator=generator, dtype=torch.float64)
    ids = torch.arange(IMAGES).repeat_interleave(PAIRS)
    p1, z1, p2, z2 = model(x1[rows], x2[rows])
    similarity = symmetric_similarity(p1, z1, p2, z2)
    loss: Tensor = similarity + 4 * image_aware_term(options, (p1, z1), (p2, z2), ids[rows], ORDER)
    loss.backward()
    return loss.detach()


def gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def work(rank: int, root: str) -> None:
    folder = Path(root)
    with joined(rank, folder):
        torch.save(computed(rank), folder / f"{rank}.pt")
    (folder / f"{rank}.threads").write_text("\n".join(threads() if sys.platform == "linux" else []))


def computed(rank: int) -> dict[str, object]:
    """What the processes are held against one process by."""
    half = IMAGES * PAIRS // 2
    results = []
    for options in OPTIONS:
        model = nn.parallel.DistributedDataParallel(heads())
        loss = step(model, slice(rank * half, (rank + 1) * half), options)
        dist.all_reduce(loss)
        results.append((loss / 2, gradients(model)))
    gathered = [
        distributed.gather(torch.tensor([[rank, 10 * rank + column] for column in range(3)])),
        distributed.gather(torch.full((1, 2), rank + 0.5)),
    ]
    ranks = (distributed.rank(), distributed.world_size())
    made = distributed.from_first(lambda: ("by rank", rank))
    return {"results": results, "gathered": gathered, "ranks": ranks, "made": made}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left."""
    root = tmp_path_factory.mktemp("gloo")
    in_processes(work, str(root))
    return root


@pytest.fixture
def processes(folder: Path) -> list[dict[str, object]]:
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("index", range(len(OPTIONS)))
def test_loss_and_gradients_are_those_of_one_process(processes: list[dict[str, object]], index: int) -> None:
    model = heads()
    loss = step(model, slice(None), OPTIONS[index])
    expected = gradients(model)
    assert len(expected) == 4
    assert all(bool(gradient.any()) for gradient in expected)
    for process in processes:
        their_loss, theirs = process["results"][index]  # type: ignore[index]
        assert their_loss.item() == pytest.approx(loss.item(), rel=1e-10)
        torch.testing.assert_close(theirs, expected, rtol=1e-10, atol=1e-12)


def test_rows_come_in_order_of_the_processes(processes: list[dict[str, object]]) -> None:
    for rank, process in enumerate(processes):
        assert process["ranks"] == (rank, 2)
        numbers, floats = process["gathered"]  # type: ignore[misc]
        assert numbers.tolist() == [[0, 0], [0, 1], [0, 2], [1, 10], [1, 11], [1, 12]]
        assert floats.tolist() == [[0.5, 0.5], [1.5, 1.5]]


def test_what_the_first_process_makes_is_every_ones(processes: list[dict[str, object]]) -> None:
    assert [process["made"] for process in processes] == [("by rank", 0)] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="threads are listed by Linux only")
def test_the_group_ends_with_its_threads(folder: Path) -> None:
    """A thread of gloo that is still there when Python ends may abort the process."""
    for rank in range(2):
        names = (folder / f"{rank}.threads").read_text().splitlines()
        assert names
        assert not [name for name in names if "gloo" in name]


def test_one_process_is_the_identity() -> None:
    x = torch.randn(3, 2)
    assert distributed.gather(x) is x
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.from_first(lambda: 3) == 3
