"""Comparison of the processes of a run before anything else that communicates: what differs, in one sentence.

Processes that train on other images, settings or weights than their fellows would go on unnoticed, or wait for each
other forever where the number of steps differs. So each posts what it is about to do, or why it cannot, in the
key-value store by which process groups are made, which works whatever the device, and before there is a group.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from torch import distributed as dist

from manyview.distributed.group import initialized, rank, world_size
from manyview.errors import UserError, one_line

Item = TypeVar("Item")
Facts = Mapping[str, object]

_PATIENCE = timedelta(minutes=30)  # that of PyTorch's process groups
_SAME_ERROR = timedelta(seconds=5)
_NAMED, _LONGEST = 5, 80  # differences in a message, and characters of a value


def agree(make: Callable[[], Item], facts: Callable[[Item], Facts]) -> Item:
    """Make an object on every process, and check that all processes have made the same; on one process make it.

    All processes must call this together. There need be no process group yet: it is enough that torchrun's environment
    variables are there.

    Args:
        make: makes this process's object. Its ``UserError`` on any process is raised on all of them.
        facts: what must be the same, by name, as plain data that ``json`` can write.

    Raises:
        UserError: the same on all processes: what differs on which of them, or what is wrong on which of them.
    """
    if _count() == 1:
        return make()
    made: list[Item] = []
    try:
        made.append(make())
        own: dict[str, Any] = {"facts": {key: _plain(value) for key, value in facts(made[0]).items()}}
    except UserError as error:
        own = {"error": str(error)}
    found = _exchange(own)
    message = _errors([each.get("error") for each in found]) or differences([each.get("facts", {}) for each in found])
    if message:
        raise _shared(UserError(message))
    return made[0]


@contextmanager
def printed_once() -> Iterator[None]:
    """Context manager: mark a ``UserError`` that all processes raise at about the same time as shared by them."""
    try:
        yield
    except UserError as error:
        if _count() > 1 and not error.shared and not initialized_elsewhere():
            error.shared = _all_raise(str(error))
        raise


def differences(processes: Sequence[Mapping[str, str]]) -> str:
    """What differs on which process, in one sentence; "" if nothing does.

    Args:
        processes: the facts of each, in order of rank.
    """
    names = dict.fromkeys(itertools.chain.from_iterable(processes))
    found = []
    for name in names:
        ranks: dict[str, list[int]] = {}
        for number, facts in enumerate(processes):
            ranks.setdefault(facts.get(name, "missing"), []).append(number)
        if len(ranks) > 1:
            found.append(f"{name} is " + ", ".join(f"{value} on {_ranks(of)}" for value, of in ranks.items()))
    if not found:
        return ""
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return (
        f"the processes differ: {'; '.join(found[:_NAMED])}{more}; "
        "start all of them with the same command, files and versions"
    )


def _errors(errors: Sequence[str | None]) -> str:
    """The errors of the processes as one message; "" if there are none."""
    ranks: dict[str, list[int]] = {}
    for number, error in enumerate(errors):
        if error is not None:
            ranks.setdefault(error, []).append(number)
    if not ranks:
        return ""
    [first, of], *rest = ranks.items()
    if not rest and len(of) == len(errors):
        return first
    return "; ".join(f"on {_ranks(of)}: {error}" for error, of in ranks.items())


def _ranks(numbers: Sequence[int]) -> str:
    """Such as "rank 0", "ranks 0 and 2", "ranks 1 to 7"."""
    if len(numbers) == 1:
        return f"rank {numbers[0]}"
    first, *between, last = numbers
    if len(numbers) > 2 and last - first == len(numbers) - 1:
        return f"ranks {first} to {last}"
    return f"ranks {', '.join(map(str, [first, *between]))} and {last}"


def _plain(value: object) -> str:
    return one_line(value if isinstance(value, str) else json.dumps(value), _LONGEST)


def _shared(error: UserError) -> UserError:
    error.shared = True
    return error


def _count() -> int:
    return world_size() if initialized() else int(os.environ.get("WORLD_SIZE", "1"))


def _own_rank() -> int:
    return rank() if initialized() else int(os.environ["RANK"])


def initialized_elsewhere() -> bool:
    """Whether the processes have met otherwise than by environment variables, so that there is no store."""
    return "MASTER_ADDR" not in os.environ


def _exchange(own: dict[str, Any]) -> list[dict[str, Any]]:
    """What all processes post, in order of rank."""
    if initialized_elsewhere():
        parts: list[Any] = [None] * world_size()
        dist.all_gather_object(parts, own)
        return parts
    return [json.loads(text) for text in _posted("agreement", json.dumps(own), _PATIENCE)]


def _posted(purpose: str, text: str, patience: timedelta) -> list[str]:
    """The texts that all processes post, each time that they are called for one purpose, in order of rank.

    Raises:
        UserError: some do not come in time.
    """
    store, rounds = _store(os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"])
    rounds[purpose] += 1
    count, name = _count(), f"{purpose}/{rounds[purpose]}"
    store.set(f"{name}/{_own_rank()}", text)
    texts = []
    for number in range(count):
        key = f"{name}/{number}"
        try:
            store.wait([key], patience)
        except (dist.DistStoreError, dist.DistNetworkError):
            raise _late(number, count, patience) from None
        texts.append(store.get(key).decode())
    # The first process may keep the store, and must not end before the others have read.
    store.set(f"{name}/read/{_own_rank()}", "")
    if _own_rank() == 0:
        store.wait([f"{name}/read/{number}" for number in range(count)], patience)
    return texts


def _late(number: int, count: int, patience: timedelta) -> UserError:
    return UserError(
        f"rank {number} of {count} processes did not come within {patience.total_seconds() / 60:g} minutes: "
        "see what it printed, and start all of them anew"
    )


def _all_raise(message: str) -> bool:
    """Whether every process raises this error within a few seconds."""
    try:
        return set(_posted("error", message, _SAME_ERROR)) == {message}
    except (UserError, RuntimeError):  # others go on, or are lost
        return False


@cache
def _store(_address: str, _port: str) -> tuple[Any, Counter[str]]:
    """The store of this group of processes, which torchrun or the first process keeps, and how often it was used."""
    store, _, _ = next(dist.rendezvous("env://", timeout=_PATIENCE))  # type: ignore[attr-defined]
    return dist.PrefixStore("manyview", store), Counter()  # type: ignore[attr-defined]
