"""What every function of vectors in ``manyview.losses`` promises, whichever it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor

from manyview import losses

IMAGES, VIEWS, DIM = 5, 4, 6
# Arguments that choose, by name, with all that can be chosen; every combination of a loss is a case.
CHOICES: dict[str, tuple[Any, ...]] = {"form": losses.FORMS, "stop_gradient": (True, False)}
SCALARS = {name for name in losses.__all__ if callable(getattr(losses, name)) and not name.endswith("_terms")}


def cases() -> list[Any]:
    found = []
    for name in sorted(SCALARS):
        options = [key for key in inspect.signature(getattr(losses, name)).parameters if key in CHOICES]
        chosen: list[dict[str, Any]] = [{}]
        for key in options:
            chosen = [{**one, key: value} for one in chosen for value in CHOICES[key]]
        found += [
            pytest.param(getattr(losses, name), one, id=f"{name}-{'-'.join(map(str, one.values()))}") for one in chosen
        ]
    return found


def vectors(loss: Callable[..., Tensor]) -> list[str]:
    """Its arguments that are rows of vectors: annotated as two-dimensional floats."""
    hints = get_type_hints(loss)
    names = list(inspect.signature(loss).parameters)
    types = {name: get_args(hints[name]) or (hints[name],) for name in names}
    return [name for name in names if any(len(getattr(each, "dim_str", "").split()) == 2 for each in types[name])]


def inputs(loss: Callable[..., Tensor], dtype: torch.dtype = torch.float64, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows = IMAGES * VIEWS
    given = {
        name: torch.randn(rows, DIM, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for name in vectors(loss)
    }
    if "image_ids" in inspect.signature(loss).parameters:
        given["image_ids"] = torch.arange(IMAGES).repeat_interleave(VIEWS)
    return given


def test_each_loss_is_found() -> None:
    assert {"image_aware_loss", "negative_cosine_similarity", "symmetric_similarity"} <= SCALARS
    for name in SCALARS:
        assert vectors(getattr(losses, name)), f"no argument of {name} is annotated as rows of vectors"


@pytest.mark.parametrize(("loss", "options"), cases())
def test_the_gradient_is_that_of_finite_differences(loss: Callable[..., Tensor], options: dict[str, Any]) -> None:
    given = inputs(loss)
    if options.get("stop_gradient"):  # of which finite differences know nothing
        pytest.skip("a stopped gradient is not that of the value")
    names = vectors(loss)

    def value(*rows: Tensor) -> Tensor:
        return loss(**{**given, **dict(zip(names, rows, strict=True))}, **options)

    assert torch.autograd.gradcheck(value, [given[name] for name in names])


@pytest.mark.parametrize(("loss", "options"), cases())
def test_the_value_is_a_scalar_of_the_rows_directions_in_any_order(
    loss: Callable[..., Tensor], options: dict[str, Any]
) -> None:
    given = inputs(loss)
    value = loss(**given, **options)
    assert value.shape == ()
    assert value.dtype == torch.float64

    order = torch.randperm(IMAGES * VIEWS, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(**{name: rows[order] for name, rows in given.items()}, **options), value)

    names = vectors(loss)
    longer = {name: rows * (2.0 + index) for index, (name, rows) in enumerate(given.items()) if name in names}
    torch.testing.assert_close(loss(**{**given, **longer}, **options), value)


@pytest.mark.parametrize(("loss", "options"), cases())
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_lower_precision_is_computed_in_float32(
    loss: Callable[..., Tensor], options: dict[str, Any], dtype: torch.dtype
) -> None:
    given = inputs(loss, dtype)
    exact = {name: rows.detach().double() if rows.is_floating_point() else rows for name, rows in given.items()}
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(**given, **options)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), loss(**exact, **options), rtol=1e-5, atol=1e-6)
    value.backward()
    gradients = [given[name].grad for name in vectors(loss)]
    assert any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)
    assert all(gradient is None or bool(gradient.isfinite().all()) for gradient in gradients)
