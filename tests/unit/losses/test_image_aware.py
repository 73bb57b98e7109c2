from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from manyview.errors import UserError
from manyview.losses import anchor_terms, distributed_image_aware_loss, image_aware_loss
from references import contrastive

FORMS = ("outside", "in", "out")


def batch(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of unequal lengths; each image has its own number of views, in shuffled order."""
    random = np.random.default_rng(seed)
    views = random.integers(2, 6, size=random.integers(1, 6))
    ids = random.permutation(np.repeat(random.choice(1000, len(views), replace=False), views))
    z = random.normal(size=(len(ids), random.integers(2, 12))) * random.uniform(0.1, 30, size=(len(ids), 1))
    return z, ids


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(12))
def test_each_form_equals_its_definition(form: str, seed: int) -> None:
    z, ids = batch(seed)
    temperature = (0.07, 0.3, 1.0)[seed % 3]
    expected = contrastive.image_aware_terms(z, ids, temperature, form)
    loss = image_aware_loss(torch.from_numpy(z), torch.from_numpy(ids), temperature, form)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(expected.mean(), rel=1e-11, abs=1e-11)
    terms = anchor_terms(torch.from_numpy(contrastive.unit(z)), torch.from_numpy(ids), temperature, form)
    np.testing.assert_allclose(terms.numpy(), expected, rtol=1e-10, atol=1e-11)


def test_four_sevenths_of_supcon_pull_as_hard_as_four_of_the_papers() -> None:
    """Recipe sup-matched against paper, with eight views of an image: exactly so where all positives are as near."""
    random = np.random.default_rng(0)
    z = torch.from_numpy(random.normal(size=(6, 5)).repeat(8, axis=0)).requires_grad_()
    ids = torch.arange(6).repeat_interleave(8)
    matched, papers, supcon = (
        torch.autograd.grad(weight * image_aware_loss(z, ids, 0.3, form), z)[0]
        for weight, form in ((4 / 7, "out"), (4, "outside"), (4, "out"))
    )
    torch.testing.assert_close(matched, papers, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(supcon, 7 * papers, rtol=1e-9, atol=1e-14)


def test_the_defaults_are_the_papers() -> None:
    z, ids = batch(3)
    expected = contrastive.image_aware_terms(z, ids, 0.3, "outside").mean()
    assert image_aware_loss(torch.from_numpy(z), torch.from_numpy(ids)).item() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_forms_are_related_as_the_equations_say(seed: int) -> None:
    z, ids = batch(seed)
    unit = torch.from_numpy(contrastive.unit(z))
    outside, l_in, l_out = (anchor_terms(unit, torch.from_numpy(ids), 0.3, form) for form in FORMS)
    count = torch.tensor([(ids == own).sum() - 1 for own in ids], dtype=torch.float64)
    torch.testing.assert_close(outside, (l_in - count.log()) / count, rtol=0, atol=1e-12)
    assert bool((l_in <= l_out + 1e-12).all())
    assert bool((l_in < l_out - 1e-6).any())


@pytest.mark.parametrize("seed", range(6))
def test_gradient_of_an_anchors_own_term_is_the_second_form_of_eq_2(seed: int) -> None:
    z, ids = batch(seed + 20)
    z = contrastive.unit(z)
    i, temperature = seed % len(z), 0.3
    # Only anchor i's own term: the terms of other anchors, which also contain z_i, are left out.
    variable = torch.from_numpy(z).requires_grad_()
    anchor_terms(variable, torch.from_numpy(ids), temperature)[i].backward()
    assert variable.grad is not None
    gradient = variable.grad[i].numpy()
    np.testing.assert_allclose(gradient, contrastive.anchor_gradient(z, ids, i, temperature), rtol=1e-9, atol=1e-12)
    if len(set(ids)) > 1:
        printed = contrastive.printed_anchor_gradient(z, ids, i, temperature)
        assert np.linalg.norm(printed - gradient) > 0.1 * np.linalg.norm(gradient)


def test_gradient_equals_finite_differences() -> None:
    z, ids = batch(7)
    for form in FORMS:
        variable = torch.from_numpy(contrastive.unit(z)).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda x, form=form: image_aware_loss(x, torch.from_numpy(ids), 0.3, form), variable, fast_mode=True
        )


@pytest.mark.parametrize("dim", [128, 2048])
def test_random_vectors_give_the_known_figure(dim: int) -> None:
    z = torch.randn(1024, dim, generator=torch.Generator().manual_seed(0))
    assert image_aware_loss(z, torch.arange(128).repeat(8)).item() == pytest.approx(0.713, abs=1.5e-3)


def test_perfect_clusters_give_the_known_figure() -> None:
    # The vertices of a simplex: views of an image coincide, images are as far apart as they all can be.
    corners = torch.eye(128, dtype=torch.float64) - 1 / 128
    loss = image_aware_loss(corners.repeat(8, 1), torch.arange(128).repeat(8)).item()
    assert loss == pytest.approx(0.257, abs=5e-4)


def test_a_single_image_has_nothing_to_separate() -> None:
    z, ids = torch.randn(5, 3, dtype=torch.float64), torch.zeros(5, dtype=torch.int64)
    assert image_aware_loss(z, ids).item() == pytest.approx(0, abs=1e-12)
    assert image_aware_loss(z, ids, form="in").item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("form", FORMS)
def test_small_temperatures_stay_finite(form: str) -> None:
    # The image's two views are opposite and the others close: exp(-1/.01) underflows in float32.
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.01], [-1.0, 0.01]], requires_grad=True)
    loss = image_aware_loss(z, torch.tensor([0, 0, 1, 1]), 0.01, form)
    loss.backward()
    expected = contrastive.image_aware_terms(z.detach().numpy(), np.array([0, 0, 1, 1]), 0.01, form).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert loss.item() > 100
    assert z.grad is not None
    assert bool(z.grad.isfinite().all())
    assert bool(z.grad.any())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    z, ids = batch(5)
    half = torch.from_numpy(z).to(dtype)
    loss = image_aware_loss(half, torch.from_numpy(ids))
    assert loss.dtype == torch.float32
    expected = contrastive.image_aware_terms(half.double().numpy(), ids, 0.3, "outside").mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -0.3, float("nan")])
def test_temperature_must_be_above_zero(temperature: float) -> None:
    with pytest.raises(UserError, match="temperature must be above 0"):
        image_aware_loss(torch.eye(4), torch.tensor([0, 0, 1, 1]), temperature)


def test_a_lonely_view_is_an_error() -> None:
    with pytest.raises(UserError, match=r"1 of 3 vectors have no positive: .* image 7 has one"):
        image_aware_loss(torch.eye(3), torch.tensor([2, 7, 2]))


def test_an_unknown_form_is_an_error() -> None:
    with pytest.raises(UserError, match="form is 'inside'; choose \"outside\""):
        image_aware_loss(torch.eye(4), torch.tensor([0, 0, 1, 1]), form="inside")


def test_nearly_perfect_clusters_keep_their_small_loss() -> None:
    """-log(S_P/S_A) of 1e-40 is not the difference of two equal logarithms."""
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    loss = image_aware_loss(z, torch.tensor([0, 0, 1, 1]), 0.02).item()
    assert loss == pytest.approx(2 * math.exp(-100), rel=1e-9)


def test_autocast_does_not_lower_the_precision() -> None:
    z, ids = batch(9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = image_aware_loss(torch.from_numpy(z).float(), torch.from_numpy(ids))
    expected = contrastive.image_aware_terms(z, ids, 0.3, "outside").mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("loss", [image_aware_loss, anchor_terms, distributed_image_aware_loss])
def test_arrays_and_lists_give_what_tensors_give(loss: Callable[..., Tensor]) -> None:
    z = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(3)))
    ids = torch.tensor([7, 7, 2, 2, 7, 2])
    expected = loss(z, ids)
    assert torch.equal(loss(z.numpy(), ids.numpy()), expected)
    assert torch.equal(loss(z.tolist(), ids.tolist()), expected)
    mapped, other_way = z.numpy().copy(), np.asfortranarray(z.numpy())
    mapped.flags.writeable = False
    assert all(torch.equal(loss(each, ids.numpy()), expected) for each in (mapped, other_way))
    assert loss(z.double().numpy(), ids.tolist()).dtype == torch.float64
    rows = z.clone().requires_grad_()
    loss(list(rows.unbind()), ids.tolist()).sum().backward()
    whole = z.clone().requires_grad_()
    loss(whole, ids).sum().backward()
    assert torch.equal(rows.grad, whole.grad)


@pytest.mark.parametrize(
    ("z", "ids", "message"),
    [
        ([[1.0, 2.0], [3.0]], [0, 0], "z must hold rows of equally many numbers"),
        ([1.0, 2.0], [0, 0], r"z must hold rows of equally many numbers, one a vector: an array of shape \(2,\)"),
        (None, [0, 0], r"z must hold rows of equally many numbers, one a vector: an array of shape \(\)"),
        ([torch.ones(2), torch.ones(3)], [0, 0], "not all of one shape"),
        (torch.ones(2, 3, 4), torch.tensor([0, 0]), r"\(vectors, dim\), not \(2, 3, 4\)"),
        (torch.ones(2, 4), torch.tensor([[0], [0]]), r"image_ids must be of shape \(vectors,\), not \(2, 1\)"),
        ([[1.0, 2.0]] * 2, ["a.jpg", "a.jpg"], r"names become numbers with numpy\.unique"),
        ([[1.0, 2.0]] * 2, [0.5, 0.5], "a whole number for each vector, not float64"),
        ([[1.0, 2.0]] * 2, [[0], [0]], r"not int64 of shape \(2, 1\)"),
    ],
)
def test_what_is_no_list_of_vectors_is_refused(z: Any, ids: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        inspect.unwrap(image_aware_loss)(z, ids)
