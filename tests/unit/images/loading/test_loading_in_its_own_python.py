"""Loading in a Python of its own: with its limits, its temporary folder, its signals and its end."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.helpers.fresh import Run, run_program

__all__ = ["run_program"]

linux = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks on this system")
def test_spawned_workers_begin_with_both_signals_blocked(run_program: Run) -> None:
    """In a Python of its own, as the resource tracker starts only once."""
    program = """
import multiprocessing, signal
from manyview.images.loading.loader import held_signals

before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
with held_signals(spawn=True):
    multiprocessing.get_context("spawn").Queue()
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1} <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
"""
    done = run_program(program)
    assert done.returncode == 0, done.stderr


_FILES = """
import resource, torch
from torch.utils.data import Dataset
from manyview.errors import LoadingError
from manyview.images.loading import load_in_workers

class Tensors(Dataset):
    def __getitem__(self, index):
        return torch.full((100,), index)

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    list(load_in_workers(Tensors(), [[index] for index in range(200)], workers=1, pin=False))
except LoadingError as error:
    print(error)
"""


@linux
def test_too_many_open_files_are_told(run_program: Run) -> None:
    """In a Python of its own, whose limit of open files is low."""
    found = run_program(_FILES)
    assert found.returncode == 0
    assert (
        "cannot be received (too many files are open): see whether the limit of open files (ulimit -n)" in found.stdout
    )


_STOPPED = """
import os, signal, sys, threading, time
from torch.utils.data import Dataset
from manyview.images.loading import loader, workers
from manyview.images.loading.loader import load_in_workers
from manyview.runs.signals import StopRequest

loader._POLL, workers._STOPPING = 0.05, 0.2

class Hangs(Dataset):
    def __getitem__(self, index):
        while index:
            time.sleep(1)
        return index

def send():
    while not batches._outstanding._received:
        time.sleep(0.01)
    time.sleep(0.3)  # by when the next is awaited
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))

batches = load_in_workers(Hangs(), ([n] for n in range(9)), workers=2, pin=False)
if sys.argv[2] == "request":
    with StopRequest():
        threading.Thread(target=send).start()
        list(batches)
else:
    threading.Thread(target=send).start()
    list(batches)
"""


@linux
@pytest.mark.parametrize(
    ("number", "how", "statuses"),
    [("SIGTERM", "request", (143,)), ("SIGTERM", "plain", (-15,)), ("SIGINT", "request", (130, -2, 1))],
)
def test_one_signal_ends_a_process_that_only_waits(
    run_program: Run, number: str, how: str, statuses: tuple[int, ...]
) -> None:
    process = run_program(_STOPPED, number, how)
    assert process.returncode in statuses, process.stderr


_LONG = """
import sys, tempfile, torch
from torch.utils.data import Dataset
from manyview.images.loading.loader import load_in_workers

class Tensors(Dataset):
    def __getitem__(self, index):
        return torch.full((300, 300), index)

for _ in range(2):
    batches = load_in_workers(Tensors(), ([n, n] for n in range(5)), workers=int(sys.argv[1]), pin=False)
    print([int(batch[0, 0, 0]) for batch in batches])
print(tempfile.gettempdir())
"""


@linux
@pytest.mark.parametrize(("length", "workers"), [(70, 1), (72, 2), (108, 1), (240, 2)])
def test_batches_arrive_however_long_the_temporary_folders_path_is(run_program: Run, length: int, workers: int) -> None:
    root = Path(tempfile.mkdtemp(dir="/tmp"))
    folder = root / ("t" * (length - len(str(root)) - 1))
    folder.mkdir()
    process = run_program(_LONG, str(workers), environment={"TMPDIR": str(folder)})
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == ["[0, 1, 2, 3, 4]", "[0, 1, 2, 3, 4]", str(folder)]
    folder.rmdir()  # empty again
    root.rmdir()


_PROGRAM = """
from torch.utils.data import Dataset
from manyview.images.loading.loader import load_in_workers

class Numbers(Dataset):
    def __len__(self):
        return 100
    def __getitem__(self, index):
        return index

def batches():
    for batch in load_in_workers(Numbers(), ([n] for n in range(100)), workers=1, pin=False):
        yield batch

def work():
    for batch in batches():
        raise RuntimeError("out of memory, say")

work()
"""


def test_an_error_that_nobody_catches_ends_python(run_program: Run) -> None:
    """The traceback keeps the generator, and so the loader, whose processes ignore SIGTERM."""
    process = run_program(_PROGRAM)
    assert process.returncode == 1
    assert process.stderr.strip().endswith("RuntimeError: out of memory, say")


_ORPHANS = """
import os, signal, time
from operator import itemgetter
from torch.utils.data import Dataset
from manyview.images.loading.loader import load_in_workers

class Hangs(Dataset):
    def __getitem__(self, index):
        if index > 3:
            time.sleep(0.2)  # until what came before is sent
            sum(range(10**10))  # as in a library that holds the interpreter: no thread of the worker gets its turn
        return os.getpid()

def work():
    batches = load_in_workers(Hangs(), ([n] for n in range(9)), workers=2, pin=False, collate=itemgetter(0))
    workers = [int(next(batches)) for _ in range(2)]
    print(*workers, flush=True)
    for worker in workers:
        os.kill(worker, signal.SIGTERM)  # which they ignore while it lives, as the other signals of a scheduler
        os.kill(worker, signal.SIGUSR1)
    time.sleep(0.5)
    assert not [worker for worker in workers if ended(worker)]
    os.kill(os.getpid(), signal.SIGKILL)

def ended(worker):
    with open(f"/proc/{worker}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] in "ZX"

work()
"""


def lives(process: int) -> bool:
    """Whether it is there, and not only to be taken note of."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends workers on Linux only")
def test_workers_end_with_their_parent(run_program: Run) -> None:
    parent = run_program(_ORPHANS)
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    orphans = [int(pid) for pid in parent.stdout.split()]
    assert len(orphans) == 2
    deadline = time.monotonic() + 20
    while any(lives(orphan) for orphan in orphans):
        assert time.monotonic() < deadline, "they live on"
        time.sleep(0.01)
