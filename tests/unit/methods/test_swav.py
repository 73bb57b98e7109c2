"""SwAV: Sinkhorn-Knopp, the swapped loss and a step by hand in float64, queue, frozen prototypes, settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from manyview.backbones import wrap_backbone
from manyview.config import ConfigError, PretrainConfig, parse_assignment, resolve
from manyview.distributed import gather
from manyview.errors import UserError
from manyview.methods import METHODS, MethodBatch, Moment
from manyview.methods.swav import SwAV, sinkhorn_knopp
from manyview.recipes import recipe_settings
from references import clustering as reference
from tests.helpers.processes import in_processes, joined
from tests.helpers.tiny import photos, train_tiny

__all__ = ["photos"]

IMAGES, PROTOTYPES, DIM, HIDDEN, QUEUE = 3, 4, 5, 7, 12
SMALL = [f"method.prototypes={PROTOTYPES}", f"method.dim={DIM}", f"method.hidden_dim={HIDDEN}"]
MULTI_CROP = ((2, 9), (4, 7))
PAIRS = ((4, 9),)


def configured(*texts: str) -> PretrainConfig:
    base = {"data": {"images": "photos"}, **recipe_settings("swav")}
    return resolve(base, [parse_assignment(text) for text in texts])


def build(*texts: str) -> SwAV:
    torch.manual_seed(0)
    config = configured(*SMALL, *([] if any("queue=" in text for text in texts) else ["method.queue=0"]), *texts)
    method = METHODS["swav"].build(wrap_backbone(nn.Conv2d(3, 4, 3, stride=2), 9), config)
    assert isinstance(method, SwAV)
    method.double().after_step(moment(0.0))  # unit length in float64, too
    return method


def seen(sizes: tuple[tuple[int, int], ...], number: int = 0, epoch: float = 0.0) -> MethodBatch:
    """Groups of views, each with a count and a size."""
    generator = torch.Generator().manual_seed(number)
    groups = tuple(
        torch.randn(IMAGES, count, 3, size, size, generator=generator, dtype=torch.float64) for count, size in sizes
    )
    return MethodBatch(groups, torch.arange(IMAGES), lambda count: torch.arange(count), moment(epoch))


def moment(epoch: float) -> Moment:
    return Moment(round(epoch * 100), 10_000, 100)


def projections(method: SwAV, batch: MethodBatch) -> np.ndarray:
    """The head by hand, with its norm over the views of all groups together: (images, views, dim) of unit length."""
    w1, b1, gain, shift, w2, b2 = (parameter.detach().numpy() for parameter in method.projector.parameters())
    pooled = [method.backbone(group.flatten(0, 1)).mean((2, 3)).detach().numpy() for group in batch.groups]
    h = np.concatenate(pooled) @ w1.T + b1
    h = (h - h.mean(axis=0)) / np.sqrt(h.var(axis=0) + 1e-5) * gain + shift
    z = np.maximum(h, 0) @ w2.T + b2
    z = z / np.sqrt((z**2).sum(axis=1, keepdims=True))
    rows, parts = 0, []
    for group in batch.groups:
        count = group.shape[1]
        parts.append(z[rows : rows + IMAGES * count].reshape(IMAGES, count, -1))
        rows += IMAGES * count
    return np.concatenate(parts, axis=1)


def expected_loss(
    z: np.ndarray, prototypes: np.ndarray, sizes: tuple[tuple[int, int], ...], queue: Any = None
) -> float:
    """From unit projections: codes of the first, then of the second views of all pairs, each with its queue."""
    targets, c = sizes[0][0], prototypes
    q = np.zeros((IMAGES, targets, PROTOTYPES))
    for half in (0, 1):
        rows = z[:, half:targets:2].reshape(-1, DIM)
        together = rows if queue is None else np.concatenate([rows, queue[half]])
        q[:, half::2] = reference.codes(together @ c.T, 0.05, 3)[: len(rows)].reshape(IMAGES, -1, PROTOTYPES)
    p = np.exp(z @ c.T / 0.1)
    return reference.swapped(q, p / p.sum(axis=-1, keepdims=True), len(sizes))


# --- codes


@pytest.mark.parametrize(("rows", "prototypes"), [(12, 5), (4, 9), (6, 6)])
@pytest.mark.parametrize("iterations", [1, 3])
def test_codes_are_those_of_the_definition(rows: int, prototypes: int, iterations: int) -> None:
    scores = torch.randn(rows, prototypes, generator=torch.Generator().manual_seed(0)).double().tanh()
    expected = reference.codes(scores.numpy(), 0.05, iterations)

    np.testing.assert_allclose(sinkhorn_knopp(scores, 0.05, iterations).numpy(), expected, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(sinkhorn_knopp(scores.float(), 0.05, iterations).numpy(), expected, rtol=1e-3, atol=1e-6)


def test_codes_share_the_prototypes_out_evenly() -> None:
    scores = torch.randn(60, 7, generator=torch.Generator().manual_seed(1)).double().tanh()
    codes = sinkhorn_knopp(scores, 0.05, 2000)
    np.testing.assert_allclose(codes.sum(dim=1).numpy(), 1, rtol=1e-12)
    np.testing.assert_allclose(codes.sum(dim=0).numpy(), 60 / 7, rtol=1e-6)


def test_hard_codes_of_distant_prototypes_are_finite() -> None:
    scores = torch.tensor([[0.9, -0.9, 0.2], [0.9, -0.8, 0.3]])
    codes = sinkhorn_knopp(scores, 0.01, 3)
    np.testing.assert_allclose(codes.numpy(), reference.codes(scores.double().numpy(), 0.01, 3), atol=1e-5)


def work(rank: int, root: str) -> None:
    scores = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double().tanh()
    with joined(rank, Path(root)):
        torch.save(sinkhorn_knopp(gather(scores[4 * rank : 4 * rank + 4]), 0.05, 3), Path(root) / f"{rank}.pt")


def test_codes_of_two_processes_are_those_of_all_rows(tmp_path: Path) -> None:
    scores = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double().tanh()
    in_processes(work, str(tmp_path))
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt").numpy()
        np.testing.assert_allclose(found, reference.codes(scores.numpy(), 0.05, 3), rtol=1e-9)


# --- the loss and a step


@pytest.mark.parametrize("sizes", [PAIRS, MULTI_CROP, ((4, 9), (2, 7))], ids=["pairs", "multi-crop", "blocks first"])
def test_the_loss_is_that_of_the_definition(sizes: tuple[tuple[int, int], ...]) -> None:
    method, batch = build(), seen(sizes)
    z = projections(method, batch)

    result = method(batch)

    assert result["loss"].item() == pytest.approx(expected_loss(z, method.prototypes.weight.detach().numpy(), sizes))
    assert result["z"].shape == (IMAGES * sizes[0][0], DIM)
    assert 0 < result["entropy"].item() < np.log(PROTOTYPES)


def test_a_step_follows_the_numerical_gradient() -> None:
    """Central differences of the definition, with the codes held, in the prototypes and in the last layer's bias."""
    method, batch = build(), seen(MULTI_CROP)
    method(batch)["loss"].backward()
    z = projections(method, batch)
    start = method.prototypes.weight.detach().numpy().copy()
    targets = 2
    q = np.zeros((IMAGES, targets, PROTOTYPES))
    for half in (0, 1):
        q[:, half] = reference.codes(z[:, half] @ start.T, 0.05, 3)

    def loss_at(c: np.ndarray, z: np.ndarray) -> float:
        p = np.exp(z @ c.T / 0.1)
        return reference.swapped(q, p / p.sum(axis=-1, keepdims=True), 2)

    gradient = method.prototypes.weight.grad
    assert gradient is not None
    for row, column in ((0, 0), (2, 3), (3, 4)):
        change = np.zeros_like(start)
        change[row, column] = 1e-6
        numerical = (loss_at(start + change, z) - loss_at(start - change, z)) / 2e-6
        assert gradient[row, column].item() == pytest.approx(numerical, rel=1e-5, abs=1e-9)
    last = method.projector.layers[-1]
    assert isinstance(last, nn.Linear)
    assert last.bias.grad is not None
    for entry in (0, 4):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                last.bias[entry] += sign * 1e-6
                values.append(loss_at(start, projections(method, batch)))
                last.bias[entry] -= sign * 1e-6
        assert last.bias.grad[entry].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-8)


def test_prototypes_keep_unit_length_and_rest_at_first() -> None:
    method = build("method.freeze_prototypes_epochs=0.5")
    optimizer = torch.optim.SGD(method.parameters(), lr=1.0, weight_decay=0.1)
    for epoch, moves in ((0.0, False), (0.49, False), (0.5, True)):
        batch = seen(MULTI_CROP, epoch=epoch)
        before = method.prototypes.weight.detach().clone()
        method(batch)["loss"].backward()
        method.after_backward(batch.moment)
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(batch.moment)
        after = method.prototypes.weight.detach()
        np.testing.assert_allclose(after.norm(dim=1).numpy(), 1, rtol=1e-12)
        assert torch.allclose(after, before, rtol=1e-12, atol=0) != moves


# --- the queue


def test_the_queue_starts_takes_part_once_full_and_forgets_the_oldest() -> None:
    """Six projections a step and half: two steps fill twelve."""
    method = build(f"method.queue={QUEUE}", "method.queue_start=1")
    prototypes = method.prototypes.weight.detach().numpy()
    kept: list[np.ndarray] = []
    for number, epoch in enumerate((0.99, 1.0, 1.01, 1.02, 1.03)):
        batch = seen(PAIRS, number, epoch)
        z = projections(method, batch)
        queue = np.concatenate(kept[-2:], axis=1) if len(kept) >= 2 else None
        assert method(batch)["loss"].item() == pytest.approx(expected_loss(z, prototypes, PAIRS, queue), rel=1e-9), (
            number
        )
        method.after_step(batch.moment)
        if epoch >= 1:
            kept.append(np.stack([z[:, half::2].reshape(-1, DIM) for half in (0, 1)]))
    assert len(kept) == 4
    rows = np.sort(np.concatenate(kept[-2:], axis=1), axis=1)
    np.testing.assert_allclose(np.sort(method.queue.numpy(), axis=1), rows, rtol=1e-9)


def test_a_run_fills_its_queue_and_trains_its_prototypes(photos: Path, tmp_path: Path) -> None:
    multi = {"views.kind": "groups", "views.groups": [{"size": 16}, {"size": 8, "count": 4}], "training.epochs": 3}
    run = train_tiny(photos, tmp_path / "run", recipe="swav", view_size=None, epochs=None, settings=multi)
    last = load_file(str(run.path / "checkpoints" / "step-000000012.safetensors"))
    first = load_file(str(run.path / "checkpoints" / "step-000000008.safetensors"))
    assert last["model.enqueued"].item() == 48
    assert not torch.equal(last["model.prototypes.weight"], first["model.prototypes.weight"])
    np.testing.assert_allclose(last["model.queue"].norm(dim=2).numpy(), 1, rtol=1e-5)
    assert all("entropy" in record for record in run.read_metrics())


# --- settings


def test_the_learning_rate_follows_the_first_group() -> None:
    config = configured()
    assert [(group.size, group.count) for group in config.views.layout] == [(224, 2), (96, 6)]
    assert config.learning_rate == pytest.approx(0.6)
    assert config.method.positives(config.views) == (tuple(range(8)),)
    blocks = configured("views.groups=[{source='blocks',count=2},{size=96,count=2}]")
    assert blocks.method.pairs(blocks.views) == 4
    single = configured("views.kind=blocks")
    assert single.method.positives(single.views) == ((0, 1), (2, 3), (4, 5), (6, 7))


def test_a_queue_of_one_step_is_refused() -> None:
    config = configured("method.queue=200")
    with pytest.raises(
        UserError, match=r"method\.queue is 200, but one step gives 256 projections, .*queue=1024, or 0"
    ):
        config.method.check(config, 1000)
    off = configured("method.queue=0")
    off.method.check(off, 1000)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (("method.queue=0", "method.queue_start=3"), "method.queue_start .* has no effect because method.queue is 0"),
        (("views.groups=[{count=3}]",), r"views\.groups\[0\]\.count is 3, but method\.name is swav"),
        (("method.queue=-1",), "method.queue .* must be greater than or equal to 0"),
    ],
)
def test_mistakes(texts: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        configured(*texts)


def test_what_is_too_short_or_too_small_is_said() -> None:
    assert configured().method.remarks(configured(), 200.0) == []
    short = configured().method.remarks(configured(), 10.0)
    assert len(short) == 2
    assert short[0].startswith("The run has 10 epochs, so that the queue, which starts after 15, is not used")
    assert "codes are computed over 256 projections" in short[1]


def test_remedies_are_what_the_run_does_not_use_yet() -> None:
    config = configured()
    method = build("method.prototypes=400")
    harder, fewer, rate = method.remedies(config)
    assert harder == "harder codes (method.epsilon=0.03)"
    assert fewer == "fewer prototypes (method.prototypes=100)"
    assert "training.base_learning_rate" in rate
    assert len(build("method.epsilon=0.02").remedies(config)) == 1
