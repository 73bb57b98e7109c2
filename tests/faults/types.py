"""The types of faults: those of a living run, and those of one that stands still before it is resumed.

A fault is drawn from a seed and a number alone. One of a living run gives a patch or a signal; one of a run that stands
still changes a copy of a snapshot, or the surroundings of what resumes it.
"""

from __future__ import annotations

import errno
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.faults import injections

_CHECKPOINTED = ("pretrain", "measured", "linear", "detect", "pair")
_ALONE = ("pretrain", "measured", "linear", "detect")
_TRAINED = ("pretrain", "measured")


@dataclass(frozen=True)
class Live:
    """What happens to a living run.

    Attributes:
        patch: made by each process before it works, given its rank.
        signals: sent at a moment, to the process of rank ``victim``.
        moment: when, in parts of the duration of an undisturbed run.
        victim: rank that patch and signals are for; None for all.
        workers: loader processes.
        hangs: whether it is expected to wait until it is killed.
    """

    patch: Callable[[], None] | None = None
    signals: tuple[signal.Signals, ...] = ()
    moment: float = 0.0
    victim: int | None = None
    workers: int = 0
    hangs: bool = False


@dataclass(frozen=True)
class Still:
    """What happens to a run that stands still, and to what resumes it.

    Attributes:
        damage: done to the folder; returns what was done, in words.
        patch: made by the process that resumes.
        settings: of the resumed run.
        workers: loader processes.
        moved: whether the folder is moved.
        finished: whether the run was finished, instead of stopped.
    """

    damage: Callable[[Path], str] | None = None
    patch: Callable[[], None] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    workers: int = 0
    moved: bool = False
    finished: bool = False


@dataclass(frozen=True)
class FaultType:
    """A type of faults.

    Attributes:
        name: in words.
        draw: makes one from random draws, the number of file operations of an undisturbed run, and its images.
        on: workloads that it can disturb.
    """

    name: str
    draw: Callable[[random.Random, int], Live | Still]
    on: tuple[str, ...]


def _kill(*signals: signal.Signals) -> Callable[[random.Random, int], Live]:
    return lambda draws, events: Live(
        signals=signals, moment=draws.uniform(0.05, 1.1), workers=draws.choice((0, 0, 1)), victim=None
    )


def _kill_one(draws: random.Random, events: int) -> Live:
    return Live(signals=(signal.SIGKILL,), moment=draws.uniform(0.2, 1.0), victim=draws.randrange(2))


def _before_write(draws: random.Random, events: int) -> Live:
    return Live(partial(injections.die_before, draws.randrange(events)))


def _amid_write(draws: random.Random, events: int) -> Live:
    return Live(partial(injections.die_with_half_a_file, draws.randrange(events)))


def _lost_worker(draws: random.Random, events: int) -> Live:
    return Live(partial(_die_at_read, draws.randrange(8)), workers=1)


def _limited(draws: random.Random, events: int) -> Live:
    return Live(partial(injections.limit_files, int(10 ** draws.uniform(2, 6))))


def _slow(draws: random.Random, events: int) -> Live:
    return Live(partial(injections.slow_reads, draws.randrange(99)), workers=draws.choice((0, 1)))


def _hung(draws: random.Random, events: int) -> Live:
    return Live(partial(_hang, draws.randrange(8)), workers=draws.choice((0, 1)), hangs=True)


def _full(draws: random.Random, events: int) -> Live:
    number = draws.choice((errno.ENOSPC, errno.EDQUOT))
    return Live(partial(injections.fail_from, draws.randrange(events), number, 10**6))


def _denied(draws: random.Random, events: int) -> Live:
    number = draws.choice((errno.EACCES, errno.EROFS, errno.EIO))
    return Live(partial(injections.fail_from, draws.randrange(events), number, draws.choice((1, 2, 10**6))))


def _file_of(draws: random.Random, out: Path) -> Path | None:
    """One of the files of a run, the same for the same draws."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != ".lock" and path.stat().st_size)
    files = [path for path in files if "tensorboard" not in path.relative_to(out).parts and path.suffix != ".tmp"]
    return draws.choice(files) if files else None


def _damage(act: Callable[[random.Random, Path], str], finished: bool = False) -> Callable[..., Still]:
    def draw(draws: random.Random, events: int) -> Still:
        seed = draws.random()

        def damage(out: Path) -> str:
            own = random.Random(seed)
            file = _file_of(own, out)
            return "nothing" if file is None else f"{act(own, file)} of {file.relative_to(out)}"

        return Still(damage, finished=finished)

    return draw


def _remove(draws: random.Random, file: Path) -> str:
    file.unlink()
    return "removal"


def _cut(draws: random.Random, file: Path) -> str:
    length = draws.randrange(file.stat().st_size)
    os.truncate(file, length)
    return f"cut at byte {length:,}"


def _flip(draws: random.Random, file: Path) -> str:
    data = bytearray(file.read_bytes())
    # Half of the flips in the first bytes, where headers are.
    bit = draws.randrange(8 * (len(data) if draws.random() < 0.5 else min(len(data), 2000)))
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)
    return f"flip of bit {bit:,}"


def _zeros(draws: random.Random, file: Path) -> str:
    data = bytearray(file.read_bytes())
    first = draws.randrange(len(data))
    data[first : first + 512] = bytes(len(data[first : first + 512]))
    file.write_bytes(data)
    return f"zeros from byte {first:,}"


def _threads(draws: random.Random, events: int) -> Still:
    return Still(patch=partial(torch.set_num_threads, draws.choice((2, 3))))


def _clock(draws: random.Random, events: int) -> Still:
    return Still(patch=partial(injections.shift_clock, draws.choice((-1e8, -3600, 3600, 1e8))))


def _elsewhere(draws: random.Random, events: int) -> Still:
    return Still(patch=partial(os.chdir, "/"), moved=True)


def _workers(draws: random.Random, events: int) -> Still:
    return Still(workers=draws.choice((1, 2)))


TYPES = (
    FaultType("SIGKILL at a random moment", _kill(signal.SIGKILL), _ALONE),
    FaultType("SIGTERM at a random moment", _kill(signal.SIGTERM), _ALONE),
    FaultType("SIGINT at a random moment", _kill(signal.SIGINT), _ALONE),
    FaultType("SIGINT twice", _kill(signal.SIGINT, signal.SIGINT), _ALONE),
    FaultType("killed before a write", _before_write, _ALONE),
    FaultType("killed amid a write", _amid_write, _ALONE),
    FaultType("a loader process killed", _lost_worker, _TRAINED),
    FaultType("one of two processes killed", _kill_one, ("pair",)),
    FaultType("disk full", _full, _ALONE),
    FaultType("writes fail", _denied, _ALONE),
    FaultType("files limited", _limited, _ALONE),
    FaultType("slow reads", _slow, _ALONE),
    FaultType("a read that hangs", _hung, _ALONE),
    FaultType("a file removed", _damage(_remove), _ALONE),
    FaultType("a file cut", _damage(_cut), _ALONE),
    FaultType("a bit flipped", _damage(_flip), _ALONE),
    FaultType("512 bytes zeroed", _damage(_zeros), _ALONE),
    FaultType("a file of a finished run cut", _damage(_cut, finished=True), _TRAINED),
    FaultType("a bit of a finished run flipped", _damage(_flip, finished=True), _TRAINED),
    FaultType("another number of threads", _threads, _ALONE),
    FaultType("the clock shifted", _clock, _ALONE),
    FaultType("the folder moved, another working folder", _elsewhere, _ALONE),
    FaultType("another number of loader processes", _workers, _ALONE),
)


def _die_at_read(index: int) -> None:
    injections.die_at_read(f"{index:02d}.jpg", os.getpid())


def _hang(index: int) -> None:
    for ending in ("jpg", "png"):
        injections.hang_at(f"{index:02d}.{ending}")
