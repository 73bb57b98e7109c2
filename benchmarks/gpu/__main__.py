"""Runs the steps one after another, each in a process of its own and within its limit.

Only Python's standard library is imported here: the packages that the steps need may still be in --wheels.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.options import parse
from benchmarks.gpu.steps import LIMITS

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    environment = prepare(options.wheels)
    states = []
    for step in options.steps or LIMITS:
        began = time.monotonic()
        limit = 60 * dict(options.minutes).get(step, LIMITS[step])
        states.append(run(step, limit, arguments, environment, options.out / f"{step}.json"))
        print(f"{step}: {states[-1]} after {time.monotonic() - began:.0f} s", flush=True)
    return 0 if all(state == "done" for state in states) else 1


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
