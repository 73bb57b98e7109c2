"""Loader processes as this process sees them: sockets, what each is at, and what is said when one is lost."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from multiprocessing import queues, util
from typing import Any

from torch.utils.data import Dataset, get_worker_info

from manyview.errors import LoadingError, UserError
from manyview.images.loading.sharing import SharedObjects
from manyview.runs.progress import spell
from manyview.runs.signals import StoppingError, stop_requested

SILENT = 600.0  # seconds that a worker may be at one image
_STOPPING = 5.0  # seconds that a requested stop waits for a batch
_DYING = 5.0  # seconds that a process may take to end after its connections
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_LOST = 70  # exit status of a worker that cannot send a batch
_TIMED_OUT = "DataLoader timed out after"  # how PyTorch ends each look at the queue; no item's error begins so
_NONE = "--workers 0; pretrain: --set data.workers=0"  # how messages tell users to load in the process itself
_NO_FILES = "Too many open files"  # how PyTorch's error begins where no further batch can be received
# A Unix socket's path may have 107 bytes on Linux and 103 on macOS, with /pymp-xxxxxxxx/listener-xxxxxxxx at its end.
_LONGEST_FOLDER = 103 - 32
_SHORT_FOLDERS = ("/tmp", "/dev/shm", "/var/tmp")


def ensure_short_socket_paths() -> None:
    """Where the temporary folder's path is too long for sockets, by which workers send tensors, choose another one.

    Raises:
        UserError: none of the usual short folders can be written.
    """
    usual = tempfile.gettempdir()
    if os.name == "nt" or len(os.fsencode(usual)) <= _LONGEST_FOLDER:
        return
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    if len(os.fsencode(config.get("tempdir") or usual)) <= _LONGEST_FOLDER + 16:
        return  # chosen for earlier workers
    config["tempdir"] = None
    for folder in _SHORT_FOLDERS:
        tempfile.tempdir = folder
        try:
            util.get_temp_dir()  # kept for all processes that this one starts, and removed at its end
            return
        except OSError:
            continue
        finally:
            tempfile.tempdir = usual
    raise UserError(
        f"the path of the temporary folder, {usual}, is too long for the sockets of loader processes, and none of "
        f"{', '.join(_SHORT_FOLDERS)} can be written: set TMPDIR to a folder with a path of at most "
        f"{_LONGEST_FOLDER} bytes, or load without processes ({_NONE})"
    )


class Outstanding(Iterator[list[tuple[int, Any]]]):
    """The keys of batches on their way to the workers, numbered, with what each worker is at.

    Args:
        batches: keys of the items of each batch.
        name: what an item is called in messages, by its key.
        workers: number of processes; batch b is worker b's, modulo their number.
        context: how they are started, "fork" or "spawn".
    """

    def __init__(
        self, batches: Iterable[Sequence[Any]], name: Callable[[Any], str], workers: int, context: str
    ) -> None:
        self._batches, self._name, self._workers = iter(batches), name, workers
        self._at = multiprocessing.get_context(context).RawArray("q", [-1] * workers)
        self._sent: deque[list[tuple[int, Any]]] = deque()
        self._items = 0
        self._received = 0

    def __next__(self) -> list[tuple[int, Any]]:
        """The next batch to be sent."""
        keys = list(next(self._batches))
        self._sent.append(list(enumerate(keys, start=self._items)))
        self._items += len(keys)
        return self._sent[-1]

    def noting(self, dataset: Dataset[Any]) -> Dataset[Any]:
        """The data set, whose workers note in shared memory which item each is at."""
        return _Noting(dataset, self._at)

    def receive(self) -> None:
        """Note that the next batch has come."""
        self._sent.popleft()
        self._received += 1

    @property
    def awaited(self) -> int:
        """Index of the worker whose batch is awaited."""
        return self._received % self._workers

    def at(self, worker: int) -> int:
        """Number of the item that a worker is at, or was last; -1 before its first."""
        return int(self._at[worker])

    def where(self, worker: int) -> str:
        """In words what a worker is at."""
        for batch in self._sent:
            for number, key in batch:
                if number == self.at(worker):
                    return f"at {self._name(key)}"
        return "between two batches" if self.at(worker) >= 0 else "before its first image"


class _Noting(Dataset[Any]):
    """A data set that notes in shared memory which item each worker is at."""

    def __init__(self, dataset: Dataset[Any], at: Any) -> None:
        self._dataset, self._at = dataset, at

    def __getitem__(self, numbered: tuple[int, Any]) -> Any:
        number, key = numbered
        worker = get_worker_info()
        assert worker is not None, "only workers load these items"
        self._at[worker.id] = number
        return self._dataset[key]


class LossReport:
    """How a worker that cannot send a batch says why, before it ends.

    Args:
        context: how workers are started, "fork" or "spawn".
    """

    def __init__(self, context: str) -> None:
        self._received, self._send = multiprocessing.get_context(context).Pipe(duplex=False)

    def write(self, reason: str) -> None:
        """Report why, in a worker; short enough to be written at once."""
        self._send.send(reason[:1000])

    def read(self) -> str | None:
        """The first reason reported, if any."""
        return self._received.recv() if self._received.poll() else None


def end_with_parent(parent: int, *, by_kernel: bool) -> None:
    """Let this worker end with the process that started it, whatever it is at: they ignore the signals that stop it.

    Args:
        parent: that process.
        by_kernel: whether Linux may kill this worker at once when the *thread* that started it ends (prctl(2),
            PR_SET_PDEATHSIG); otherwise, and on other systems, the worker ends within two seconds, once it gets a core.
    """
    if by_kernel and sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).prctl(_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    if os.name != "nt":  # where getppid stays
        threading.Thread(target=watch, daemon=True).start()


def end_where_sending_fails(report: LossReport) -> None:
    """Let this worker end where its batch cannot be sent: the queue's thread would drop it, and nobody would know."""

    def end(error: BaseException, _: Any) -> None:
        report.write(f"{type(error).__name__}: {error}")
        os._exit(_LOST)

    queues.Queue._on_queue_feeder_error = staticmethod(end)  # type: ignore[attr-defined]


class Loading(Iterator[Any]):
    """A loader's iterator, whose processes end with the last item, an error, ``close``, or Python itself.

    The processes ignore the signals that Python sends at exit, and PyTorch ends them only when the iterator is
    garbage-collected. A traceback may keep it alive, and Python would then wait for the processes forever.

    Args:
        batches: PyTorch's iterator, which looks for a batch for a second at a time if it has workers.
        outstanding: of its workers, if it has any.
        report: of the same.
        shared: memory that they share with this process.
    """

    def __init__(
        self,
        batches: Iterator[Any],
        outstanding: Outstanding | None = None,
        report: LossReport | None = None,
        shared: SharedObjects | None = None,
    ) -> None:
        self._batches, self._outstanding, self._report, self._shared = batches, outstanding, report, shared
        self._workers: list[Any] = getattr(batches, "_workers", [])
        self._ignore_deaths()
        self._end = partial(_end, batches, self._workers, os.getpid())
        atexit.register(self._end)

    def __next__(self) -> Any:
        """The next batch.

        Raises:
            LoadingError: a worker died, could not send a batch, or was at one image for ``SILENT`` seconds.
            StoppingError: a stop is requested and the batch does not come.
        """
        try:
            batch = next(self._batches) if self._outstanding is None else self._await(self._outstanding)
        except BaseException as error:
            # Of silent workers each would be given five seconds, and then SIGTERM, which they ignore.
            if isinstance(error, (LoadingError, StoppingError, KeyboardInterrupt)):
                _kill(self._workers)
            self.close()
            raise
        return batch

    def _await(self, outstanding: Outstanding) -> Any:
        began = since = time.monotonic()
        worker = outstanding.awaited
        at = outstanding.at(worker)
        while True:
            try:
                batch = next(self._batches)
            except StopIteration:
                raise
            except Exception as error:
                self._refuse_dead(outstanding, error)
                if isinstance(error, RuntimeError) and str(error).startswith(_NO_FILES):
                    raise LoadingError(_unreceived("too many files are open")) from error
                if not isinstance(error, RuntimeError) or not str(error).startswith(_TIMED_OUT):
                    raise
                self._refuse_unpinned()
            else:
                outstanding.receive()
                return batch
            now = time.monotonic()
            if stop_requested() and now - began > _STOPPING:
                raise StoppingError
            if outstanding.at(worker) != at:
                at, since = outstanding.at(worker), now
            elif now - since > SILENT:
                raise LoadingError(
                    f"loader process {self.processes[worker]} has been {outstanding.where(worker)} for "
                    f"{spell(SILENT)}: see whether the file can be read and its disk answers, then go on"
                )

    def _refuse_dead(self, outstanding: Outstanding, error: Exception) -> None:
        """Raise a LoadingError if a worker has ended."""
        assert self._report is not None, "of the same workers"
        if isinstance(error, (OSError, EOFError)):  # a connection ends before its process is gone
            deadline = time.monotonic() + _DYING
            while time.monotonic() < deadline and all(worker.exitcode is None for worker in self._workers):
                time.sleep(0.01)
        for index, worker in enumerate(self._workers):
            if worker.exitcode is not None:
                where = outstanding.where(index)
                raise LoadingError(_loss(worker.pid, worker.exitcode, where, self._report.read())) from error

    def _refuse_unpinned(self) -> None:
        """Raise a LoadingError if the thread has ended by which batches reach page-locked memory.

        It ends where it cannot receive a batch, and PyTorch looks after it only where it waits without limit.
        """
        thread = getattr(self._batches, "_pin_memory_thread", None)
        if thread is not None and not thread.is_alive():
            raise LoadingError(_unreceived("its error is printed above"))

    def _ignore_deaths(self) -> None:
        """Keep PyTorch from raising an error wherever this process is when a worker dies: it is noticed here."""
        if getattr(self._batches, "_worker_pids_set", False):
            from torch.utils.data._utils import signal_handling

            signal_handling._remove_worker_pids(id(self._batches))  # type: ignore[attr-defined]
            self._batches._worker_pids_set = False  # type: ignore[attr-defined]

    @property
    def processes(self) -> list[int]:
        """Identifiers of the processes; none without workers."""
        return [worker.pid for worker in self._workers]

    def close(self) -> None:
        """End the processes."""
        self._end()
        atexit.unregister(self._end)
        if self._shared is not None:
            self._shared.release()

    def __del__(self) -> None:
        self.close()


def _end(batches: Iterator[Any], workers: Sequence[Any], parent: int) -> None:
    if os.getpid() != parent:
        return  # a process that was forked meanwhile, and whose garbage this is
    if isinstance(sys.exc_info()[1], (KeyboardInterrupt, SystemExit)):
        _kill(workers)  # to each that is at a long item, PyTorch would give five seconds
    getattr(batches, "_shutdown_workers", lambda: None)()  # absent without workers
    _kill(workers)


def _kill(workers: Sequence[Any]) -> None:
    for worker in workers:
        if worker.is_alive():
            worker.kill()


def _unreceived(why: str) -> str:
    return (
        f"a batch of the loader processes cannot be received ({why}): see whether the limit of open files (ulimit -n) "
        f"and memory suffice, or load without processes ({_NONE})"
    )


def _loss(process: int, status: int, where: str, reason: str | None) -> str:
    if reason is not None:
        return (
            f"loader process {process} cannot send a batch ({reason}): see whether /dev/shm, the temporary "
            f"folder and the limit of open files suffice, or load without processes ({_NONE})"
        )
    if status == -signal.SIGKILL:
        return (
            f"loader process {process} was killed, {where}, as the system does where memory runs out: use fewer "
            "processes (--workers; pretrain: --set data.workers=...)"
        )
    how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return f"loader process {process} {how}, {where}: see whether the file is sound, take it out if not, and go on"
