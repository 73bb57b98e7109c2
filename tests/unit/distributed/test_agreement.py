"""Comparison of processes: sentences, and a process that does not come."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from torch import distributed as dist

from manyview.distributed import agree, agreement, printed_once
from manyview.errors import UserError


def test_alone_nothing_is_compared() -> None:
    assert agree(lambda: 3, lambda _: pytest.fail("not needed")) == 3
    with pytest.raises(UserError, match=r"^wrong$") as caught, printed_once():
        raise UserError("wrong")
    assert not caught.value.shared


def test_what_differs_is_named_with_the_ranks() -> None:
    same = {"a": "1", "b": "2"}
    assert agreement.differences([same, same, same]) == ""
    assert agreement.differences([same, {**same, "b": "3"}, same, same]) == (
        "the processes differ: b is 2 on ranks 0, 2 and 3, 3 on rank 1; start all of them with the same command, files "
        "and versions"
    )
    others = [{**same, "a": str(rank > 0), "c": "x"} for rank in range(4)]
    assert "a is False on rank 0, True on ranks 1 to 3; start" in agreement.differences(others)
    assert "b is 2 on rank 0, missing on rank 1" in agreement.differences([same, {"a": "1"}])
    many = [{str(key): str(rank) for key in range(8)} for rank in range(2)]
    assert "4 is 0 on rank 0, 1 on rank 1; and 3 more; start" in agreement.differences(many)


def test_errors_are_told_once_with_the_ranks_that_have_them() -> None:
    assert agreement._errors([None, None]) == ""
    assert agreement._errors(["no folder", "no folder"]) == "no folder"
    assert agreement._errors([None, "no folder", "no folder"]) == "on ranks 1 and 2: no folder"
    assert agreement._errors(["one", "two"]) == "on rank 0: one; on rank 1: two"


@pytest.fixture
def first_of_two(monkeypatch: pytest.MonkeyPatch) -> dist.Store:
    """The store of two processes, of which this is the first; the other one's is what the test makes it."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    variables = {"RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
    for name, value in {**variables, "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():
        monkeypatch.setenv(name, str(value))
    return dist.PrefixStore("manyview", store)


def test_a_process_that_does_not_come_is_named(first_of_two: dist.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "_PATIENCE", timedelta(seconds=0.2))
    with pytest.raises(UserError, match="rank 1 of 2 processes did not come within"):
        agree(lambda: 3, lambda _: {})


def test_only_an_error_of_all_is_printed_by_the_first_alone(
    first_of_two: dist.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "_SAME_ERROR", timedelta(seconds=0.2))
    for number, (other, shared) in enumerate((("full", True), ("another", False), (None, False)), start=1):
        if other is not None:
            first_of_two.set(f"error/{number}/1", other)
            first_of_two.set(f"error/{number}/read/1", "")
        with pytest.raises(UserError) as caught, printed_once():
            raise UserError("full")
        assert caught.value.shared is shared


def test_errors_reach_the_others(first_of_two: dist.Store) -> None:
    def other() -> None:
        first_of_two.set("agreement/1/1", '{"error": "no photos"}')
        first_of_two.set("agreement/1/read/1", "")

    thread = threading.Thread(target=other)
    thread.start()
    with pytest.raises(UserError, match=r"^on rank 1: no photos$") as caught:
        agree(lambda: 3, lambda _: {})
    thread.join()
    assert caught.value.shared
