"""Workers that die, cannot send, or say nothing end the iteration in one sentence, and sockets have short paths."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from manyview.errors import LoadingError, UserError
from manyview.images.loading import loader
from manyview.images.loading import workers as loader_processes
from manyview.images.loading.loader import load_in_workers
from manyview.images.loading.workers import Loading
from manyview.runs.signals import StopRequest

linux = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process looks after its workers twenty times a second."""
    monkeypatch.setattr(loader, "_POLL", 0.05)


class Images(Dataset[Any]):
    """Tensors, and at item 13 what a function does."""

    def __init__(self, at_13: Callable[[], Any]) -> None:
        self.at_13 = at_13

    def __getitem__(self, index: int) -> Any:
        return self.at_13() if index == 13 else torch.full((3,), index)


def loading(at_13: Callable[[], Any], workers: int = 2) -> Loading:
    batches = [range(first, first + 4) for first in range(0, 40, 4)]
    return load_in_workers(
        Images(at_13), batches, workers=workers, pin=False, collate=list, name=lambda index: f"image-{index}.jpg"
    )


def end_by(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def forever() -> None:
    while True:
        time.sleep(1)


def local() -> Any:
    """Something that pickle refuses."""
    return lambda: 0


def unlucky() -> Any:
    """Something whose pickling fails in its own way."""

    class Unlucky:
        def __reduce__(self) -> Any:
            raise OSError("AF_UNIX path too long")

    return Unlucky()


@linux
@pytest.mark.parametrize(
    ("at_13", "sentence"),
    [
        (end_by(signal.SIGKILL), "was killed, at image-13.jpg, as the system does where memory runs out"),
        (end_by(signal.SIGSEGV), "ended by SIGSEGV, at image-13.jpg"),
        (end_by(signal.SIGBUS), "ended by SIGBUS, at image-13.jpg"),
        (lambda: os._exit(3), "ended with status 3, at image-13.jpg"),
        (local, "cannot send a batch (AttributeError: Can't pickle local object"),
        (unlucky, "cannot send a batch (OSError: AF_UNIX path too long): see whether"),
    ],
    ids=["killed", "crashed", "no shared memory", "exited", "not picklable", "not sent"],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_lost_worker_is_told_with_the_image_that_it_was_at(
    at_13: Callable[[], Any], sentence: str, workers: int
) -> None:
    batches = loading(at_13, workers)
    began = time.monotonic()
    with pytest.raises(LoadingError) as raised:
        list(batches)
    assert sentence in str(raised.value)
    assert time.monotonic() - began < 60
    assert not multiprocessing.active_children()


@linux
def test_a_silent_worker_is_told_and_a_slow_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_processes, "SILENT", 1.0)
    with pytest.raises(LoadingError, match=r"has been at image-13\.jpg for 1 s"):
        list(loading(forever))
    assert not multiprocessing.active_children()
    slow = Images(lambda: torch.zeros(3))
    monkeypatch.setattr(slow, "at_13", lambda: torch.zeros(3))
    monkeypatch.setattr(Images, "__getitem__", lambda self, index: time.sleep(0.35) or torch.full((3,), index))
    batches = load_in_workers(slow, [range(4)], workers=1, pin=False, collate=list)
    assert len(list(batches)) == 1, "each of its images takes less than the limit"


@pytest.fixture
def no_timer() -> Iterator[None]:
    """The process without the timer that limits the duration of tests."""
    left, handler = signal.getitimer(signal.ITIMER_REAL)[0], signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, left)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
def test_without_workers_a_silent_read_is_told_too(no_timer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def blocked() -> None:
        try:
            read, _ = os.pipe()
            os.read(read, 1)
        except Exception as error:  # as a decoder does
            raise AssertionError("taken for an unreadable image") from error

    monkeypatch.setattr(loader_processes, "SILENT", 0.3)
    with pytest.raises(LoadingError, match=r"reading image-13\.jpg has taken 0 s: see whether the file can be read"):
        list(loading(blocked, workers=0))
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(loading(lambda: 0, workers=0)))  # which gets no timer
    thread.start()
    thread.join()
    assert len(found) == 10


@linux
def test_a_worker_that_dies_is_noticed_only_where_a_batch_is_awaited() -> None:
    batches = loading(lambda: torch.zeros(3))
    next(batches)
    os.kill(batches.processes[0], signal.SIGKILL)
    os.waitid(os.P_PID, batches.processes[0], os.WEXITED | os.WNOWAIT)
    for _ in range(5):
        time.sleep(0.02)  # PyTorch would raise an error here
    with pytest.raises(LoadingError, match="was killed"):
        list(batches)


def timed_out() -> Any:
    raise RuntimeError("reading the share timed out after 1 seconds")


@linux
def test_an_items_own_error_about_time_is_no_look_at_the_queue() -> None:
    with pytest.raises(RuntimeError, match="reading the share timed out after 1 seconds"):
        list(loading(timed_out))
    assert not multiprocessing.active_children()


@linux
def test_a_lost_thread_of_page_locked_memory_is_told() -> None:
    batches = loading(forever, workers=1)
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    batches._batches._pin_memory_thread = thread  # type: ignore[attr-defined]
    batches._batches._pin_memory_thread_done_event = threading.Event()  # type: ignore[attr-defined]
    with pytest.raises(LoadingError, match=r"cannot be received \(its error is printed above\)"):
        list(batches)
    assert not multiprocessing.active_children()


def test_without_a_short_folder_the_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/" + "t" * 150)
    monkeypatch.setattr(loader_processes, "_SHORT_FOLDERS", ("/nowhere",))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="set TMPDIR to a folder with a path of at most 71 bytes"):
        load_in_workers(Images(forever), [[0]], workers=1, pin=False)
    assert tempfile.gettempdir() == "/" + "t" * 150


def test_no_stop_is_requested_where_none_was() -> None:
    from manyview.runs.signals import stop_requested

    with StopRequest():
        assert not stop_requested()
    assert not stop_requested()
