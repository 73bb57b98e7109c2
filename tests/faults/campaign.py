"""A campaign of faults: each disturbs a run of seconds, which is then resumed and compared with an undisturbed one.

Fault ``number`` of a seed depends on these two alone, but for moments, which the machine's speed decides.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import time
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tests.faults.injections import die_before, on_file_events
from tests.faults.types import TYPES, FaultType, Live, Still
from tests.faults.workloads import Data, Workload, free_port, rank_of, workloads
from tests.helpers.children import REFUSED, Child

PATIENCE = 240.0  # seconds for a process that is not expected to hang
HANGS_FOR = 4.0  # seconds after which a process whose read hangs is killed
LEFT_BEHIND = 20.0  # seconds for the other of two processes to end
ATTEMPTS = 3
SNAPSHOTS = 4
STOPPED = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGINT, 0)
# Files whose loss costs what only they held; all else must be equal.
EXPLAINED = {
    "metrics.jsonl": "lines of the log that were damaged are lost, and reported",
    "best.safetensors": "the best weights of an earlier step are in no checkpoint; reported",
    "best.json": "a report that a finished run does not write again",
}


@dataclass
class Outcome:
    """The end of a fault.

    Attributes:
        number: of the fault.
        type: its name.
        workload: what it disturbed.
        end: "equal"; "refused" (in a sentence, and equal once the fault is undone); "explained" (equal but for what a
            damaged file alone held); "wrong", "lost", "traceback" or "hang" otherwise.
        what: what happened, in words.
        said: last line of each process.
        seconds: that it took.
    """

    number: int
    type: str
    workload: str
    end: str
    what: str
    said: list[str]
    seconds: float


class Campaign:
    """Undisturbed runs, snapshots of stopped ones, and faults against them.

    Args:
        folder: for all files; emptied of those of each fault that ended well.
        seed: of all draws.
        only: workloads; empty for all.
    """

    def __init__(self, folder: Path, seed: int, only: tuple[str, ...] = ()) -> None:
        torch.set_num_threads(1)
        self.folder, self.seed = folder, seed
        data = Data(folder / "data")
        data.folder.mkdir(parents=True, exist_ok=True)
        data.make()
        self.workloads = {name: each for name, each in workloads(data).items() if not only or name in only}
        self.logs = 0
        self.seconds: dict[str, float] = {}
        self.events: dict[str, int] = {}
        self.expected: dict[str, dict[str, Any]] = {}
        self.snapshots: dict[str, list[Path]] = {}

    def prepare(self, name: str) -> None:
        """An undisturbed run of a workload and snapshots of stopped ones, once."""
        if name in self.expected:
            return
        workload, mark = self.workloads[name], self.folder / f"events-{name}"
        out = self.folder / f"undisturbed-{name}"
        began = time.monotonic()
        statuses, said = self._work(workload, out, Live(lambda: on_file_events(lambda *_: _tally(mark))))
        assert set(statuses) == {0}, said
        self.seconds[name] = time.monotonic() - began
        self.events[name] = max(mark.stat().st_size // workload.processes, 1) if mark.exists() else 1
        self.expected[name] = workload.result(out)
        self.snapshots[name] = []
        for index in range(SNAPSHOTS if workload.processes == 1 else 0):
            stopped = self.folder / f"snapshot-{name}-{index}"
            event = self.events[name] * (2 * index + 3) // (2 * SNAPSHOTS + 3)
            self._work(workload, stopped, Live(lambda event=event: die_before(event)))
            if workload.has_begun(stopped) and not workload.is_done(stopped):
                self.snapshots[name].append(stopped)

    def fault(self, number: int) -> Outcome:
        """Disturb, resume, compare."""
        type_, draws = self.choose(number)
        workload = self.workloads[draws.choice([name for name in type_.on if name in self.workloads])]
        self.prepare(workload.name)
        began = time.monotonic()
        fault = type_.draw(draws, self.events[workload.name])
        out = self.folder / f"fault-{number}"
        shutil.rmtree(out, ignore_errors=True)
        if isinstance(fault, Live):
            end, what, said = self._live(workload, fault, out)
        else:
            end, what, said = self._still(workload, fault, out, draws)
        if end in ("equal", "refused", "explained"):
            shutil.rmtree(out, ignore_errors=True)
        return Outcome(number, type_.name, workload.name, end, what, said, round(time.monotonic() - began, 1))

    def choose(self, number: int) -> tuple[FaultType, random.Random]:
        """The type of a fault, each in turn, and the draws for the rest."""
        possible = [each for each in TYPES if any(name in self.workloads for name in each.on)]
        return possible[number % len(possible)], random.Random(f"{self.seed} {number}")

    def _live(self, workload: Workload, fault: Live, out: Path) -> tuple[str, str, list[str]]:
        statuses, said = self._work(workload, out, fault)
        what = f"ended with {', '.join(map(_status, statuses))}"
        refusals = [status for status in statuses if status not in STOPPED]
        if any(status != REFUSED for status in refusals) and workload.processes == 1:
            return ("hang" if None in statuses else "traceback"), what, said
        return self._resume(workload, out, Still(), what, said)

    def _still(self, workload: Workload, fault: Still, out: Path, draws: random.Random) -> tuple[str, str, list[str]]:
        snapshots = self.snapshots[workload.name]
        source = self.folder / f"undisturbed-{workload.name}" if fault.finished else draws.choice(snapshots)
        shutil.copytree(source, out)
        what = fault.damage(out) if fault.damage else "no file changed"
        if fault.moved:
            out = Path(shutil.move(out, out.with_name(f"{out.name}-moved")))
        end, what, said = self._resume(workload, out, fault, f"{source.name}: {what}", said=[])
        if end == "wrong" and any(f"of {name}" in what for name in EXPLAINED):
            end, what = self._explained(workload, out, what)
        if end == "lost":  # refused: it must be equal once the damage is undone
            shutil.rmtree(out)
            shutil.copytree(source, out)
            again, _, more = self._resume(workload, out, Still(), what, said)
            end, said = ("refused" if again == "equal" else "lost"), more
        return end, what, said

    def _resume(
        self, workload: Workload, out: Path, fault: Still, what: str, said: list[str]
    ) -> tuple[str, str, list[str]]:
        """Go on until the end, and compare."""
        for _ in range(ATTEMPTS):
            if workload.is_done(out):
                break
            live = Live(fault.patch, workers=fault.workers)
            statuses, words = self._work(workload, out, live, **fault.settings)
            said = [*said, *words]
            if set(statuses) == {0}:
                break
            if set(statuses) == {REFUSED} and workload.is_done(out):
                break
            if set(statuses) == {REFUSED}:
                return "lost", f"{what}; refused", said
            return ("hang" if None in statuses else "traceback"), f"{what}; {list(map(_status, statuses))}", said
        different = self._differences(workload, out)
        return ("wrong" if different else "equal"), f"{what}; differs: {different}" if different else what, said

    def _differences(self, workload: Workload, out: Path) -> list[str]:
        try:
            found = workload.result(out)
        except (OSError, ValueError, LookupError) as error:
            return [f"{type(error).__name__}: {error}"]
        expected = self.expected[workload.name]
        return [name for name in expected if found[name] != expected[name]]

    def _explained(self, workload: Workload, out: Path, what: str) -> tuple[str, str]:
        """Whether a run whose log or best weights were damaged lacks these alone."""
        found, expected = workload.result(out), self.expected[workload.name]
        alone = {"log"} if "of metrics.jsonl" in what else {"best.safetensors", "best.json", "files"}
        others = [name for name in expected if found[name] != expected[name] and name not in alone]
        foreign = [line for line in found.get("log", []) if line not in expected["log"]]
        return ("wrong" if others or foreign else "explained"), what

    def _work(self, workload: Workload, out: Path, live: Live, **settings: Any) -> tuple[list[int | None], list[str]]:
        """Start the processes of a workload, disturb them, and wait.

        Returns:
            the status of each, None for one that hangs; and the last line of each that did not end well.
        """
        port, children = free_port() if workload.processes > 1 else 0, []
        for rank in range(workload.processes):
            self.logs += 1
            log = self.folder / "logs" / f"{self.logs:04d}.txt"
            log.parent.mkdir(exist_ok=True)
            patch = live.patch if live.victim in (None, rank) else None

            def work(rank: int = rank, patch: Any = patch) -> None:
                warnings.simplefilter("ignore")
                if patch is not None:
                    patch()
                with rank_of(rank, workload.processes, port):
                    workload.run(out, workers=live.workers, **settings)

            children.append(Child(work, log))
        if live.signals:
            self._signal(workload, live, children)
        statuses = [self._await(child, live, alone=workload.processes == 1) for child in children]
        said = [line for child, status in zip(children, statuses, strict=True) if status and (line := _last(child.log))]
        for child in children:
            child.clear_away()
        return statuses, said

    def _signal(self, workload: Workload, live: Live, children: list[Child]) -> None:
        victims = children if live.victim is None else [children[live.victim]]
        victims[0].wait(live.moment * self.seconds[workload.name])
        for number in live.signals:
            for child in victims:
                if child.wait(0) is None:
                    os.kill(child.pid, number)
            if len(live.signals) > 1:
                victims[0].wait(0.05)

    def _await(self, child: Child, live: Live, *, alone: bool) -> int | None:
        """Wait for a process; one whose read hangs, or whose partner was killed, is ended in the end."""
        limit = HANGS_FOR if live.hangs else PATIENCE if alone or not live.signals else LEFT_BEHIND
        status = child.wait(limit)
        if status is None and (live.hangs or not alone):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            return child.wait(PATIENCE)
        return status


def _tally(mark: Path) -> None:
    with mark.open("ab") as file:
        file.write(b".")


def _status(status: int | None) -> str:
    if status is None:
        return "no end"
    return "a sentence" if status == REFUSED else signal.Signals(-status).name if status < 0 else f"status {status}"


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def summary(outcomes: list[Outcome]) -> dict[str, dict[str, int]]:
    """Number of each end by type of fault, and of all."""
    counts: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        for name in (outcome.type, "all"):
            counts.setdefault(name, Counter())[outcome.end] += 1
    return {name: dict(sorted(ends.items())) for name, ends in counts.items()}


def write_report(file: Path, seed: int, outcomes: list[Outcome], about: dict[str, Any]) -> None:
    """Write all ends as JSON."""
    content = {"seed": seed, "counts": summary(outcomes), "explained_by": EXPLAINED, **about}
    content["faults"] = [asdict(outcome) for outcome in outcomes]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n")
