"""Runs the steps one after another, each in a process of its own and within its limit.

Only Python's standard library is imported here: the packages that the steps need may still be in --wheels.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.gpu.options import parse
from benchmarks.gpu.steps import LIMITS, SHARES

ROOT = Path(__file__).resolve().parents[2]
_ENDING = 2  # seconds, to end a step and write its state


def main(arguments: Sequence[str]) -> int:
    start = time.monotonic()
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    environment = prepare(options.wheels)
    steps, states = planned(options), list[str]()
    for number, step in enumerate(steps):
        began = time.monotonic()
        limit = limit_of(steps[number:], dict(options.minutes), began - start)
        states.append(run(step, limit, arguments, environment, options.out / f"{step}.json"))
        print(f"{step}: {states[-1]} after {time.monotonic() - began:.0f} s", flush=True)
    return 0 if all(state == "done" for state in states) else 1


def planned(options: argparse.Namespace) -> list[str]:
    """The steps to run; with one budget for all, detection only where there are boxes for it or it is named."""
    everything = [step for step in LIMITS if None not in dict(options.minutes) or step != "detection" or options.boxes]
    return list(options.steps or everything)


def limit_of(steps: Sequence[str], minutes: Mapping[str | None, float], elapsed: float) -> float:
    """Seconds for the first of the steps that remain.

    Args:
        steps: it and those after it.
        minutes: given limits by step, and under None the budget for all steps.
        elapsed: seconds since the start.
    """
    step = steps[0]
    if step in minutes or None not in minutes:
        return 60 * minutes.get(step, LIMITS[step])
    left = max(1.0, 60 * minutes[None] - elapsed - _ENDING)
    return left * SHARES[step] / sum(SHARES[other] for other in steps)


def prepare(wheels: Path | None) -> dict[str, str]:
    """The environment of the steps: this checkout's sources first, then the wheels."""
    paths = [str(ROOT), str(ROOT / "src")]
    if wheels:
        target = tempfile.mkdtemp(prefix="wheels-")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", target]
        subprocess.run([*command, *map(str, sorted(wheels.glob("*.whl")))], check=True)
        paths.append(target)
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(filter(None, [*paths, inherited]))}


def run(step: str, limit: float, arguments: Sequence[str], environment: dict[str, str], file: Path) -> str:
    """Run a step to its end or its limit; return its state, which is also written to its result."""
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu.job", step, str(limit), *arguments]
    # A separate process group, so that the loader's processes end with a step that is cut off.
    process = subprocess.Popen(command, env=environment, process_group=0)
    try:
        code = process.wait(limit)
        state = "done" if code == 0 else f"failed with exit code {code}"
    except subprocess.TimeoutExpired:
        state = f"cut off at its limit of {limit:g} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    result = json.loads(file.read_text()) if file.is_file() else {"step": step}
    file.write_text(json.dumps({**result, "state": state}, indent=1) + "\n")
    return state


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
