"""A campaign: many mutated files, read in child processes that are limited in time and memory.

Input number ``n`` of a seed depends on these two alone. What fails is written to a folder of its own, which
``python -m tests.fuzz --replay FOLDER`` reads again.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from manyview.imports import import_lightly
from tests.fuzz.image_seeds import image_seeds
from tests.fuzz.label_seeds import label_seeds, write_images
from tests.fuzz.mutations import mutate_bytes, mutate_text
from tests.fuzz.readers import Violation, check_image, check_labels

import_lightly("torchvision")  # once, for all child processes that decode by it

SECONDS = 10  # of processor time for one input
PATIENCE = 60  # seconds for one input that waits instead of computing
MEMORY = 384 * 2**20  # bytes by which the peak of resident memory may grow
ADDRESSES = 4 * 2**30  # bytes of address space beyond those of the start, at which allocation fails
BATCH = 250  # inputs read by one process
KEPT = 3  # inputs kept of one failure


@dataclass(frozen=True)
class Case:
    """A mutated file or folder, and how it is read.

    Attributes:
        seed: name of the sound file from which it was made.
        files: contents by relative name.
        given: the file or folder that the reader is given.
        options: of the reader of labels.
        choice: number that chooses among the treatments of problems.
    """

    seed: str
    files: Mapping[str, bytes]
    given: str
    options: Mapping[str, str] = field(default_factory=dict)
    choice: int = 0

    def write(self, folder: Path) -> None:
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)

    def described(self) -> dict[str, Any]:
        return {"seed": self.seed, "given": self.given, "options": dict(self.options), "choice": self.choice}


Read = Callable[[Case, Path], str]


def seed_names(only: str = "") -> list[str]:
    """Names of the sound files that begin so, images and labels in turn."""
    return [name for name in (*image_seeds(), *label_seeds()) if name.startswith(only)]


def make_case(seed: int, number: int, names: list[str], *, mutated: bool = True) -> Case:
    """Input ``number``, of the sound file ``number % len(names)``."""
    rng = np.random.default_rng([seed, number])
    name = names[number % len(names)]
    if name in image_seeds():
        data = image_seeds()[name]
        ending = {"jpeg": "jpg", "tiff": "tif"}.get(name.split()[0], name.split()[0])
        return Case(name, {f"a.{ending}": mutate_bytes(data, _others(name), rng) if mutated else data}, f"a.{ending}")
    sound = label_seeds()[name]
    files = dict(sound.files)
    for _ in range(int(rng.choice([1, 1, 2])) if mutated else 0):
        one = list(files)[int(rng.integers(len(files)))]
        files[one] = mutate_text(files[one], list(sound.files.values()), rng)
    return Case(name, files, sound.given, sound.options, int(rng.integers(4)))


def _others(name: str) -> list[bytes]:
    """Files of the same format, and of all."""
    seeds = image_seeds()
    return [*(data for other, data in seeds.items() if other.split()[0] == name.split()[0]), *seeds.values()]


def read_case(case: Case, images: Path) -> str:
    """Read it in a folder of its own; "pixels", "labels" or "refused".

    Raises:
        Violation: a reader did what it never may; or any other exception of a reader.
    """
    with tempfile.TemporaryDirectory(prefix="case-") as parent:
        folder = Path(parent) / "given"
        folder.mkdir()
        case.write(folder)
        if case.seed in image_seeds():
            return check_image(folder / case.given)
        return check_labels(folder, case.given, images, case.options, case.choice)


@dataclass(frozen=True)
class Failure:
    """An input that failed: its number, what happened in a line, and the traceback."""

    number: int
    what: str
    trace: str


@dataclass
class Report:
    """What a campaign found: inputs by outcome, failures by what happened, and the folders of those kept."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    folders: list[Path] = field(default_factory=list)


class Campaign:
    """Reads numbered inputs in child processes, one after the other.

    Args:
        make: the input of a number.
        out: folder for the inputs that failed.
        read: reads an input; may raise, crash, or not end.
        seconds: of processor time for one input.
        memory: bytes by which the peak of resident memory may grow.
    """

    def __init__(
        self,
        make: Callable[[int], Case],
        out: Path,
        *,
        read: Read = read_case,
        seconds: float = SECONDS,
        memory: int = MEMORY,
    ) -> None:
        self.make, self.out, self.read = make, out, read
        self.seconds, self.memory = seconds, memory
        self.report = Report()

    def run(self, numbers: range, until: float = float("inf")) -> Report:
        """Read these inputs, or as many as begin before a time on the monotonic clock."""
        with _images() as images:
            start = numbers.start
            while start < numbers.stop and time.monotonic() < until:
                batch = range(start, min(start + BATCH, numbers.stop))
                start = self._read_batch(batch, images)
        return self.report

    def _read_batch(self, batch: range, images: Path) -> int:
        """Read a batch in one process; returns the number after the last input that was read."""
        context = multiprocessing.get_context("fork")
        receiving, sending = context.Pipe(duplex=False)
        at = context.Value(ctypes.c_long, batch.start, lock=False)
        with tempfile.NamedTemporaryFile("r") as trace:
            child = context.Process(target=self._work, args=(batch, images, sending, at, trace.name))
            child.start()
            sending.close()
            waited, before = time.monotonic(), batch.start
            silent = False
            while True:
                if receiving.poll(0.5):
                    try:
                        outcome, failure = receiving.recv()
                    except EOFError:
                        break
                    self._note(outcome, failure)
                elif at.value != before:
                    waited, before = time.monotonic(), at.value
                elif time.monotonic() - waited > PATIENCE:
                    silent = True
                    child.kill()
            child.join()
            if child.exitcode == 0:
                return batch.stop
            what = self._death(child.exitcode or 0, silent)
            self._note("failed", Failure(at.value, what, trace.read()))
            return at.value + 1

    def _death(self, status: int, silent: bool) -> str:
        if silent:
            return f"hang: {PATIENCE} s of waiting"
        if -status == signal.SIGPROF:
            return f"hang: {self.seconds:g} s of processor time"
        return f"crash: the process ended by {signal.Signals(-status).name if status < 0 else f'status {status}'}"

    def _work(self, batch: range, images: Path, results: Any, at: Any, trace: str) -> None:
        """The child process."""
        with open(trace, "w") as stream, open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)  # libtiff and libjpeg write their remarks there
            faulthandler.enable(stream)
            warnings.simplefilter("error")
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            faulthandler.register(signal.SIGPROF, stream, all_threads=True, chain=True)
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + ADDRESSES
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for number in batch:
                at.value = number
                signal.setitimer(signal.ITIMER_PROF, self.seconds)
                outcome, failure = self._try(number, images)
                signal.setitimer(signal.ITIMER_PROF, 0)
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                if failure is None and (peak - start) * 1024 > self.memory:
                    grown = (peak - start) // 1024
                    outcome, failure = "failed", Failure(number, "memory: peak beyond the limit", f"{grown} MiB")
                    start = peak
                results.send((outcome, failure))
        results.close()

    def _try(self, number: int, images: Path) -> tuple[str, Failure | None]:
        try:
            return self.read(self.make(number), images), None
        except Violation as error:
            what = f"violation: {error}".splitlines()[0]
            return "failed", Failure(number, what, traceback.format_exc())
        except BaseException as error:
            return "failed", Failure(number, f"raised: {_described(error)}", traceback.format_exc())

    def _note(self, outcome: str, failure: Failure | None) -> None:
        self.report.outcomes[outcome] += 1
        if failure is None:
            return
        case = self.make(failure.number)
        what = f"{case.seed.split()[0]}: {_signature(failure)}"
        self.report.failures[what] += 1
        if self.report.failures[what] > KEPT:
            return
        folder = self.out / f"{case.seed.replace(' ', '-')}-{failure.number}"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "given").mkdir(parents=True)
        case.write(folder / "given")
        (folder / "case.json").write_text(json.dumps(case.described()))
        line = f"{sys.executable} -m tests.fuzz --replay {folder}"
        (folder / "what.txt").write_text(f"{line}\n\n{failure.what}\n\n{failure.trace}\n", errors="backslashreplace")
        self.report.folders.append(folder)


def load_case(folder: Path) -> Case:
    """An input that a campaign has written."""
    given = folder / "given"
    files = {path.relative_to(given).as_posix(): path.read_bytes() for path in given.rglob("*") if path.is_file()}
    return Case(files=files, **json.loads((folder / "case.json").read_text()))


@contextlib.contextmanager
def _images() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="images-") as folder:
        write_images(Path(folder))
        yield Path(folder)


def _described(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "manyview" in frame.filename] or frames
    return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}: {str(error)[:200]!r}"


def _signature(failure: Failure) -> str:
    """What distinguishes failures: the sentence without its numbers, quotes and paths."""
    if failure.what.startswith("raised"):
        _, where, line = failure.what.split(":")[:3]
        return f"{where}:{line.split()[0]}"
    words = [word for word in failure.what[:120].split() if "/" not in word and not any(map(str.isdigit, word))]
    return " ".join(words[:12])
