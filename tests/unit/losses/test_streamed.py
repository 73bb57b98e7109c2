"""The loss in blocks is the loss from the whole similarity matrix, in value and gradient, in far less memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from manyview.errors import UserError
from manyview.losses import FORMS, anchor_terms, image_aware, image_aware_loss, streamed
from references import contrastive
from tests.helpers.memory import extra_memory, reads_peak_memory

Loss = Callable[..., Tensor]
every_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(params=[3, 7, 64])
def in_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the loss compute in blocks from then on."""

    def switch() -> None:
        monkeypatch.setattr(image_aware, "DENSE", 0)
        monkeypatch.setattr(image_aware, "block_size", lambda device: request.param)

    return switch


def batch(
    seed: int, *, ordered: bool = False, dtype: torch.dtype = torch.float64, images: int = 9
) -> tuple[Tensor, Tensor]:
    """Vectors of unequal lengths; each image has its own number of views, in order of the images or not."""
    random = np.random.default_rng(seed)
    views = random.integers(2, 6, size=images)
    ids = np.repeat(random.choice(1000, images, replace=False) - 500, views)
    z = random.normal(size=(len(ids), 5)) * random.uniform(0.1, 30, size=(len(ids), 1))
    return torch.from_numpy(z).to(dtype), torch.from_numpy(ids if ordered else random.permutation(ids))


def value_and_gradient(loss: Loss, z: Tensor, ids: Tensor, temperature: float, form: str) -> tuple[Tensor, Tensor]:
    z = z.detach().clone().requires_grad_()
    value = loss(z, ids, temperature, form)
    # An own weight for each anchor, where there is more than the mean.
    weights = torch.linspace(-1, 2, value.numel(), dtype=value.dtype).reshape(value.shape) if value.ndim else 1.0
    (value * weights).sum().backward()
    assert z.grad is not None
    return value.detach(), z.grad


@every_form
@pytest.mark.parametrize("temperature", [0.01, 0.3])
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "shuffled"])
@pytest.mark.parametrize("loss", [image_aware_loss, anchor_terms])
def test_value_and_gradient_are_those_of_the_whole_matrix(
    loss: Loss, ordered: bool, temperature: float, form: str, in_blocks: Callable[[], None]
) -> None:
    cases = [batch(seed, ordered=ordered) for seed in range(3)]
    if loss is anchor_terms:
        cases = [(torch.nn.functional.normalize(z, dim=1), ids) for z, ids in cases]
    whole = [value_and_gradient(loss, z, ids, temperature, form) for z, ids in cases]
    in_blocks()
    for (z, ids), (value, gradient) in zip(cases, whole, strict=True):
        found, found_gradient = value_and_gradient(loss, z, ids, temperature, form)
        torch.testing.assert_close(found, value, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found_gradient, gradient, rtol=1e-10, atol=1e-10 * float(gradient.abs().max()))


@every_form
@pytest.mark.parametrize("temperature", [0.01, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_float32_is_as_exact_as_the_whole_matrix(
    dtype: torch.dtype, temperature: float, form: str, in_blocks: Callable[[], None]
) -> None:
    z, ids = batch(4, dtype=dtype)
    value, gradient = value_and_gradient(image_aware_loss, z, ids, temperature, form)
    in_blocks()
    with torch.autocast("cpu", torch.bfloat16):  # the backward pass, too
        found, found_gradient = value_and_gradient(image_aware_loss, z, ids, temperature, form)
    assert (found.dtype, found_gradient.dtype) == (torch.float32, dtype)
    torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-5)
    # The last bit of a half-precision gradient may round to either side.
    tolerance = max(1e-5, float(torch.finfo(dtype).eps) if dtype != torch.float32 else 0)
    torch.testing.assert_close(found_gradient, gradient, rtol=tolerance, atol=1e-5 * float(gradient.abs().max()))


@every_form
def test_it_equals_the_definition(form: str, in_blocks: Callable[[], None]) -> None:
    in_blocks()
    z, ids = batch(6)
    expected = contrastive.image_aware_terms(z.numpy(), ids.numpy(), 0.07, form)
    assert image_aware_loss(z, ids, 0.07, form).item() == pytest.approx(expected.mean(), rel=1e-11)
    variable = z.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: image_aware_loss(x, ids, 0.3, form), variable, fast_mode=True)


@every_form
def test_a_single_image_and_vectors_without_length(form: str, in_blocks: Callable[[], None]) -> None:
    z, ids = batch(2)
    z[3] = 0
    cases = [(z, ids), (z, torch.zeros_like(ids))]
    whole = [value_and_gradient(image_aware_loss, *case, 0.3, form) for case in cases]
    in_blocks()
    for case, (value, gradient) in zip(cases, whole, strict=True):
        found, found_gradient = value_and_gradient(image_aware_loss, *case, 0.3, form)
        torch.testing.assert_close(found, value)
        # In vectors shorter than 1e-12 the gradient is divided by that.
        torch.testing.assert_close(found_gradient, gradient, rtol=1e-9, atol=1e-9)


def test_nearly_perfect_clusters_keep_their_small_loss(in_blocks: Callable[[], None]) -> None:
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64).repeat(3, 1)
    ids = torch.tensor([0, 0, 1, 1]).repeat(3)
    in_blocks()
    value, gradient = value_and_gradient(image_aware_loss, z, ids, 0.02, "outside")
    assert value.item() == pytest.approx(6 / 5 * np.exp(-100) / 5, rel=1e-9)
    assert bool(gradient.isfinite().all())


def test_the_same_errors(in_blocks: Callable[[], None]) -> None:
    in_blocks()
    with pytest.raises(UserError, match=r"1 of 3 vectors have no positive: .* image 7 has one"):
        image_aware_loss(torch.eye(3), torch.tensor([2, 7, 2]))
    with pytest.raises(UserError, match="temperature must be above 0"):
        image_aware_loss(torch.eye(4), torch.tensor([0, 0, 1, 1]), 0.0)


def test_a_second_derivative_is_refused(in_blocks: Callable[[], None]) -> None:
    in_blocks()
    z, ids = batch(3)
    z.requires_grad_()
    with pytest.raises(UserError, match="can be differentiated once"):
        torch.autograd.grad(image_aware_loss(z, ids), z, create_graph=True)


def test_vectors_that_are_not_finite_give_no_finite_loss(in_blocks: Callable[[], None]) -> None:
    in_blocks()
    z, ids = batch(3)
    z[1, 2] = torch.nan
    assert image_aware_loss(z, ids).isnan()


@pytest.mark.parametrize("block", [2, 5])
def test_of_two_blocks_that_mirror_each_other_one_is_computed(block: int) -> None:
    """And every pair of an anchor and a vector is in one block."""
    z, ids = batch(1)
    for own in (slice(0, len(z)), slice(4, 15), slice(0, 0)):
        seen = torch.zeros(len(z), len(z), dtype=torch.int64)
        problem = streamed.Problem(ids, ids, 0.3, "out", block)
        for one in streamed._blocks(z, own, problem):
            seen[one.rows, one.columns] += 1
            if one.mirrored:
                seen[one.columns, one.rows] += 1
        expected = torch.zeros_like(seen)
        expected[own] = 1
        assert torch.equal(seen, expected)


def test_small_batches_keep_the_whole_matrix_and_their_bits() -> None:
    """Runs of up to 4096 vectors a step end in the same weights as before there were blocks."""
    z, ids = torch.randn(4096, 2), torch.arange(4096) // 2
    assert type(image_aware_loss(z.requires_grad_(), ids).grad_fn.next_functions[0][0]).__name__ != "_StreamedBackward"
    more = torch.cat((z, z[:2]))
    terms = anchor_terms(torch.nn.functional.normalize(more, dim=1), torch.cat((ids, ids[:2])))
    assert type(terms.grad_fn).__name__ == "_StreamedBackward"


@reads_peak_memory
def test_memory_is_for_the_vectors_not_for_their_pairs() -> None:
    """A matrix of 6000 x 6000 takes 137 MiB, of which the loss would hold several; the vectors take .4."""
    prepare = """
import torch
from manyview.losses import image_aware_loss
torch.set_num_threads(1)
def step(count):
    z = torch.randn(count, 16, requires_grad=True)
    image_aware_loss(z, torch.arange(count) // 2).backward()
step(4098)
"""
    assert extra_memory(prepare, "step(6000)") < 32 * 2**20
