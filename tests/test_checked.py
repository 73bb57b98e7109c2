"""Annotations of the package are executed in every test: shapes, dtypes, and all other types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jaxtyping
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError
from torch import Tensor

import manyview
from manyview.runs.provenance import differences
from tests.helpers.checked import FIRST, ONE_OF, begin_test, checked

Matrix = Float[Tensor, "rows columns"]


@checked
def same_size(x: Matrix, others: tuple[Matrix, ...]) -> Float[Tensor, " rows"]:
    return x.sum(1) if len(x) > 1 else torch.zeros(5)


@checked
def twice(count: int) -> str:
    return "a" * 2 * count if count else None  # type: ignore[return-value]


@checked
def counted(count: int) -> Iterator[int]:
    yield from range(count)


@checked
def applied(work: Callable[[Matrix], int] | None) -> None:
    pass


@checked
@dataclass(frozen=True)
class Sized:
    count: int
    x: Matrix | None = None

    @checked
    def joined(self, other: Sized, name: str) -> Sized:
        return other


X = torch.zeros(3, 2)
WRONG_SHAPES: dict[str, Callable[[], Any]] = {
    "two sizes": lambda: same_size(X, (torch.zeros(4, 2),)),
    "a result": lambda: same_size(X[:1], (X[:1],)),
    "a dtype": lambda: same_size(X.long(), ()),
    "a field": lambda: Sized(1, torch.zeros(3)),
    "the package's": lambda: manyview.losses.negative_cosine_similarity(X, torch.zeros(4, 2)),
}
WRONG_TYPES: dict[str, Callable[[], Any]] = {
    "an argument": lambda: twice("3"),  # type: ignore[arg-type]
    "a result": lambda: twice(0),
    "of a generator": lambda: list(counted("3")),  # type: ignore[arg-type]
    "of a method": lambda: Sized(1).joined(Sized(2), 3),  # type: ignore[arg-type]
    "the package's": lambda: differences("before", {}),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("wrong", WRONG_SHAPES)
def test_a_wrong_shape_is_found(wrong: str) -> None:
    with pytest.raises(TypeCheckError):
        WRONG_SHAPES[wrong]()


@pytest.mark.parametrize("wrong", WRONG_TYPES)
def test_a_wrong_type_is_found(wrong: str) -> None:
    with pytest.raises(BeartypeCallHintViolation):
        WRONG_TYPES[wrong]()


def test_what_is_right_goes_through() -> None:
    assert same_size(X, (X, X)).shape == (3,)
    assert twice(2) == "aaaa"
    assert list(counted(2)) == [0, 1]
    assert applied(None) is None  # type: ignore[func-returns-value]
    assert Sized(1, X).joined(Sized(2), "b").count == 2


def test_only_functions_of_arrays_are_checked_by_jaxtyping() -> None:
    """Which takes many times as long; an array may hide in an alias, a tuple or a function's arguments."""
    by_jaxtyping = {
        each.__name__: "jaxtyping" in each.strict().__code__.co_filename for each in (same_size, applied, twice)
    }
    assert by_jaxtyping == {"same_size": True, "applied": True, "twice": False}
    assert twice.__annotations__ == {"count": "int", "return": "str"}


def test_a_loop_is_checked_at_first_and_then_at_times() -> None:
    def found(calls: int) -> list[int]:
        wrong = []
        for call in range(1, calls + 1):
            try:
                assert twice(0) is None
            except BeartypeCallHintViolation:
                wrong.append(call)
        return wrong

    assert found(FIRST + 2 * ONE_OF) == [*range(1, FIRST + 1), 60, 80]
    begin_test()
    assert found(1) == [1]


def test_all_of_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert twice(0) is None
    assert same_size(X, (torch.zeros(4, 2),)).shape == (3,)
