"""Runs that are killed: forks one process for each piece of a run, so that the imports are paid once."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import manyview.runs.files as files
from manyview.runs import RunFolder
from manyview.training.loop import Training
from tests.helpers.children import Child
from tests.helpers.tiny import train_tiny, write_images

EPOCHS, STEPS_PER_EPOCH = 6, 4
STEPS = EPOCHS * STEPS_PER_EPOCH
EVERY_STEP = {"training.checkpoint_minutes": 1e-6}
KILLS = 12


class Driver:
    """The scenarios, all against one uninterrupted run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = write_images(folder / "images", 18)
        (self.images / "03.jpg").write_bytes((self.images / "03.jpg").read_bytes()[:400])
        (self.images / "11.jpg").write_text("no image")
        self.random = random.Random(0)
        self.logs = 0
        self.failures: list[str] = []

    def piece(
        self,
        out: Path,
        workers: int,
        extra: dict[str, Any],
        patch: Callable[[], None] | None = None,
        *,
        quiet: bool = True,
    ) -> Child:
        """Start a run, or resume it where there is one; unless it is quiet, its weights are checked at its end."""

        def work() -> None:
            if patch is not None:
                patch()
            train_tiny(
                self.images,
                out,
                settings={"data.workers": workers, "data.max_bad_fraction": 0.2, "monitor.every": 2, **extra},
                resume=(out / "config.json").is_file(),
                quiet=quiet,
                epochs=EPOCHS,
            )

        self.logs += 1
        return Child(work, self.folder / f"log-{self.logs:03d}.txt")

    def finish(self, out: Path, extra: dict[str, Any], workers: int = 0) -> float:
        """Run to the end; returns the seconds it took."""
        began = time.monotonic()
        child = self.piece(out, workers, extra)
        status = child.wait()
        seconds = time.monotonic() - began
        child.clear_away()
        if status != 0:
            self.failures.append(f"{out.name}: status {status}: {child.log.read_text()[-2000:]}")
        return seconds

    def same(self, out: Path, than: str = "reference") -> dict[str, bool]:
        """Which files of a run are those of the uninterrupted one, byte by byte."""
        reference = self.folder / than
        last = f"checkpoints/step-{STEPS:09d}"
        names = ("backbone.safetensors", last + ".safetensors", last + ".json", "skipped.csv")
        equal = {name: (out / name).read_bytes() == (reference / name).read_bytes() for name in names}
        leftovers = [str(path) for path in out.rglob("*.tmp")]
        return {**equal, "metrics.jsonl": _metrics(out) == _metrics(reference), "no leftovers": not leftovers}

    def reference(self) -> dict[str, Any]:
        self.finish(self.folder / "reference", {})
        self.seconds = self.finish(self.folder / "timed", EVERY_STEP, workers=2)
        return {"seconds": self.seconds, "timed": self.same(self.folder / "timed")}

    def random_kills(self) -> dict[str, Any]:
        """Pieces of random length, in seconds and in steps, with random numbers of workers."""
        kills: list[int] = []
        workers: list[int] = []
        finished = []
        while len(kills) < KILLS:
            out = self.folder / f"random-{len(finished)}"
            while True:
                workers.append(self.random.choice((0, 1, 2)))
                child = self.piece(out, workers[-1], EVERY_STEP, quiet=False)
                if len(kills) >= KILLS:
                    status = child.wait()
                elif len(kills) % 2:
                    status = self.wait_for_steps(child, out)
                else:
                    status = child.wait(self.random.uniform(0.0, 0.6 * self.seconds))
                if status is None:
                    os.kill(child.pid, signal.SIGKILL)
                    status = child.wait()
                child.clear_away()
                if status == 0:
                    break
                if status != -signal.SIGKILL:
                    self.failures.append(f"{out.name}: status {status}: {child.log.read_text()[-2000:]}")
                    break
                kills.append(_newest_step(out))
            finished.append(self.same(out))
        return {"kills_after_step": kills, "workers": workers, "same": finished}

    def wait_for_steps(self, child: Child, out: Path) -> int | None:
        """Wait for a random number of further steps and a moment more; the status of a piece that ends before.

        Beside other work the time that a piece takes to start varies by more than that of all steps.
        """
        step = _newest_step(out) + self.random.randint(1, 4)
        while (status := child.wait(0.02)) is None and _newest_step(out) < step:
            pass
        return child.wait(self.random.uniform(0.0, 0.05)) if status is None else status

    def optimizers(self) -> dict[str, Any]:
        """Each of the others, killed twice amid the run."""
        found = {}
        for name in ("adamw", "lars"):
            extra = {"training.optimizer": name, "training.warmup_steps": 3, "training.schedule_by": "step"}
            self.finish(self.folder / f"reference-{name}", extra)
            out = self.folder / name
            for step in (3, 10):
                child = self.piece(out, 0, extra | EVERY_STEP)
                while _newest_step(out) < step and child.wait(0.001) is None:
                    pass
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
                child.clear_away()
            at = _newest_step(out)
            self.finish(out, extra | EVERY_STEP)
            found[name] = {"killed_at": at, "same": self.same(out, f"reference-{name}")}
        return found

    def kills_while_saving(self) -> dict[str, Any]:
        """Death before each flush, rename and removal of a save, and in the middle of a file; then at the last save."""
        out = self.folder / "saving"
        deaths: dict[str, list[str]] = {"amid the run": [], "at the last step": []}
        for torn in ("backbone.safetensors", "step-*.safetensors", "step-*.json"):
            deaths["amid the run"].append(self._die(out, lambda torn=torn: _die_in_file(torn), f"in {torn}"))
        for name, at in (("amid the run", None), ("at the last step", STEPS)):
            for event in range(40):
                mark = self.folder / "event.txt"
                mark.unlink(missing_ok=True)
                died = self._die(out, lambda event=event, at=at, mark=mark: _die_at_event(event, at, mark), "")
                if not died:
                    break
                deaths[name].append(mark.read_text())
                if mark.read_text() == "end of save":
                    break
        self.finish(out, EVERY_STEP)
        return {"deaths": deaths, "same": self.same(out)}

    def _die(self, out: Path, patch: Callable[[], None], what: str) -> str | bool:
        child = self.piece(out, 0, EVERY_STEP, patch)
        status = child.wait()
        child.clear_away()
        if status not in (0, -signal.SIGKILL):
            self.failures.append(f"{out.name}: status {status}: {child.log.read_text()[-2000:]}")
        return (what or True) if status == -signal.SIGKILL else False

    def signals(self) -> dict[str, Any]:
        """SIGTERM, then SIGINT, to the whole process group, as a terminal sends them."""
        out = self.folder / "signals"
        statuses, steps, words = [], [], []
        for number in (signal.SIGTERM, signal.SIGINT):
            before = _logged_step(out)
            child = self.piece(out, 2, {}, quiet=False)
            while _logged_step(out) <= before and child.wait(0.001) is None:
                pass
            os.killpg(child.pid, number)
            statuses.append(child.wait())
            child.clear_away()
            steps.append(_newest_step(out))
            words.append(child.log.read_text())
        self.finish(out, {}, workers=1)
        return {"statuses": statuses, "steps": steps, "words": words, "same": self.same(out)}

    def two_processes(self) -> dict[str, Any]:
        """A second process on the folder of a living one, and a third after its death, whose workers end with it."""
        out = self.folder / "locked"
        first = self.piece(out, 2, EVERY_STEP)
        while _newest_step(out) < 1 and first.wait(0.001) is None:
            pass
        os.kill(first.pid, signal.SIGSTOP)
        workers = _children(first.pid)
        second = self.piece(out, 0, EVERY_STEP)
        refused, words = second.wait(), second.log.read_text()
        second.clear_away()
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        third = self.piece(out, 0, EVERY_STEP)
        while _newest_step(out) < STEPS and third.wait(0.001) is None:
            alive = [pid for pid in workers if _is_alive(pid)]
            if _newest_step(out) > 2:
                break
        resumed = third.wait()
        third.clear_away()
        first.clear_away()
        return {
            "refused": refused, "words": words, "resumed": resumed, "orphans": len(alive), "same": self.same(out)
        }  # fmt: skip


def _die_in_file(pattern: str) -> None:
    """From the third save on, death with half of a file written."""
    original = files.atomic_write
    saves = _count_saves()

    def torn(path: Path, content: Any) -> None:
        if path.match(pattern) and saves[0] >= 3:
            half = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            if callable(content):
                content(half)
                os.truncate(half, half.stat().st_size // 2)
            else:
                half.write_text(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        original(path, content)

    files.atomic_write = torn
    import manyview.runs.checkpoints as checkpoints

    checkpoints.atomic_write = torn


def _count_saves() -> list[int]:
    saves = [0]
    original = Training.save

    def save(self: Training) -> None:
        saves[0] += 1
        original(self)

    Training.save = save  # type: ignore[method-assign]
    return saves


def _die_at_event(event: int, step: int | None, mark: Path) -> None:
    """Death before the event-th operation on files of the first save (of that step, where one is given)."""
    seen, active = [0], [False]

    def count(name: str, target: object) -> None:
        if active[0]:
            if seen[0] == event:
                mark.write_text(f"{name} {Path(str(target)).name}")
                os.kill(os.getpid(), signal.SIGKILL)
            seen[0] += 1

    for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink")):
        _announce(owner, name, count)
    original = Training.save

    def save(self: Training) -> None:
        active[0] = step is None or self.step == step
        original(self)
        if active[0]:
            seen[0] = event
            count("end", "of save")

    Training.save = save  # type: ignore[method-assign]


def _announce(owner: Any, name: str, count: Callable[[str, object], None]) -> None:
    original = getattr(owner, name)

    def announced(*arguments: Any, **options: Any) -> Any:
        count(name, arguments[0])
        return original(*arguments, **options)

    setattr(owner, name, announced)


def _metrics(out: Path) -> list[dict[str, Any]]:
    records = RunFolder(out).read_metrics()
    timing = ("elapsed", "views_per_second", "waiting")
    return [{key: value for key, value in record.items() if key not in timing} for record in records]


def _newest_step(out: Path) -> int:
    names = sorted(path.stem for path in (out / "checkpoints").glob("step-*.json"))
    return int(names[-1].removeprefix("step-")) if names else 0


def _logged_step(out: Path) -> int:
    try:
        return int(json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"])
    except (OSError, IndexError, ValueError):
        return 0


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def drive(_: int, folder: Path) -> None:
    """Write ``results.json``, in a process without threads that has imported what runs do."""
    driver = Driver(folder)
    results = {}
    for scenario in ("reference", "random_kills", "optimizers", "kills_while_saving", "signals", "two_processes"):
        began, before = time.monotonic(), os.times()
        results[scenario] = getattr(driver, scenario)()
        after = os.times()
        cpu = sum(after[:4]) - sum(before[:4])
        print(f"{scenario}: {time.monotonic() - began:.1f} s, {cpu:.1f} s CPU", flush=True)
    results["failures"] = driver.failures
    (folder / "results.json").write_text(json.dumps(results, indent=1))
