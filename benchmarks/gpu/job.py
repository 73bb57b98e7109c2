"""Context of a step, and the process that runs one."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.options import parse
from benchmarks.images import jpegs, write_jpegs
from benchmarks.records import origin, write_json


class Job:
    """One step's run.

    Attributes:
        options: those of the command.
        device: the GPU, or with --tiny the available device.
        result: the results written so far.
        failed: parts that raised an error or did not pass.
    """

    def __init__(self, step: str, limit: float, arguments: Sequence[str]) -> None:
        self.options: argparse.Namespace = parse(arguments)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        about = origin("gpu", arguments)
        about["commit"] = self.options.commit or about["commit"]
        self.result: dict[str, Any] = {"step": step, "state": "not finished", "tiny": self.tiny, "origin": about}
        self.failed: list[str] = []
        self._file = self.options.out / f"{step}.json"
        self._end = time.monotonic() + limit
        self.options.work.mkdir(parents=True, exist_ok=True)

    @property
    def tiny(self) -> bool:
        """Whether sizes are small enough for a CPU to finish in seconds."""
        return bool(self.options.tiny)

    @property
    def seconds_left(self) -> float:
        return self._end - time.monotonic()

    def images(self, size: tuple[int, int], count: int) -> Path:
        """A folder of JPEGs of a size, the same for all steps that ask for it."""
        origin_name = "own" if self.options.photos else "synthetic"
        folder: Path = self.options.work / f"{origin_name}-{count}-of-{size[0]}x{size[1]}"
        if not folder.exists():
            write_jpegs(folder, jpegs(self.options.photos, size, count, enlarge=True))
        return folder

    def attempt(self, part: str, work: Callable[[], dict[str, Any]]) -> None:
        """Run one part and save its results or its error; the step continues."""
        try:
            self.save(part, work())
        except Exception as error:
            traceback.print_exc()
            self.save(part, {"passed": False, "error": f"{type(error).__name__}: {error}"})

    def save(self, part: str, figures: dict[str, Any]) -> None:
        """Save the results of one part at once, since a step may be cut off at any time.

        With --commit that commit also replaces those in the figures, which runs found by themselves.
        """
        self.result[part] = _with_commit(figures, self.options.commit) if self.options.commit else figures
        if figures.get("passed") is False:
            self.failed.append(part)
        write_json(self._file, self.result)
        summary = ", ".join(f"{name} {_short(value)}" for name, value in figures.items() if not isinstance(value, dict))
        print(f"{self.result['step']}, {part}: {summary}", flush=True)


def main(step: str, limit: str, *arguments: str) -> int:
    job = Job(step, float(limit), arguments)
    if job.device.type == "cpu" and not job.tiny:
        print("PyTorch sees no GPU here; with --tiny every step runs on a CPU", file=sys.stderr)
        return 2
    importlib.import_module(f"benchmarks.gpu.steps.{step}").run(job)
    if job.failed:
        print(f"{step}: {', '.join(job.failed)} failed", file=sys.stderr)
    return 1 if job.failed else 0


def _with_commit(figures: Any, commit: str) -> Any:
    if not isinstance(figures, dict):
        return figures
    return {name: commit if name == "commit" else _with_commit(value, commit) for name, value in figures.items()}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
