"""Runs the cases, each in a process of its own that sees one core and the sources of one checkout."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from benchmarks.equality.cases import RESUMES, Case
from benchmarks.equality.values import CHECKPOINTS, Values, read_folder

LIMIT = 600  # seconds of one command
FAILED = "failed"
_HEAVY = 2**20  # bytes of a file that is removed when its hashes are known and nobody needs it
_ALONE = {
    **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")},
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "MPLBACKEND": "Agg",
    "NO_COLOR": "1",
    "COLUMNS": "120",
}


@dataclass(frozen=True)
class Workspace:
    """The folder and the checkout that the cases run in.

    Attributes:
        out: the working folder of the commands, which holds data/, made/ and logs/.
        source: the checkout whose ``src`` is imported.
        inputs: another such folder, if what the cases need is to be read from there.
    """

    out: Path
    source: Path
    inputs: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **_ALONE, "PYTHONPATH": str(self.source / "src")}

    @property
    def read_from(self) -> str:
        return "made" if self.inputs is None else str(self.inputs / "made")

    def check(self) -> None:
        """Make sure that the sources are those of the checkout, and not of an installed package.

        Raises:
            SystemExit: they are not.
        """
        command = [sys.executable, "-c", "import manyview; print(manyview.__file__)"]
        done = subprocess.run(command, cwd=self.out, env=self.environment, capture_output=True, text=True)
        if not done.stdout.strip().startswith(str(self.source / "src")):
            raise SystemExit(f"{self.source} is not what is imported, but {done.stdout or done.stderr}")


def run_all(
    cases: Mapping[str, Case], workspace: Workspace, jobs: int, report: Callable[[str], None] = print
) -> dict[str, Values]:
    """The values of each case, in the order of the cases, whatever the order in which they finish."""
    results: dict[str, Values] = {}
    needed = {name for case in cases.values() for name in case.needs} if workspace.inputs is None else set()
    with ThreadPoolExecutor(jobs) as pool:
        futures: dict[str, Future[Values]] = {}
        for name, case in cases.items():  # each after those that it needs, so a waiting one holds up no other
            before = [futures[other] for other in case.needs if other in futures and workspace.inputs is None]
            futures[name] = pool.submit(_run, case, workspace, before, name in needed, report)
        for name, future in futures.items():
            results[name] = future.result()
    return results


def _run(
    case: Case, workspace: Workspace, before: Sequence[Future[Values]], needed: bool, report: Callable[[str], None]
) -> Values:
    wait(before)
    began = time.monotonic()
    folder = workspace.out / "made" / case.name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        values = _values(case, workspace, folder)
    except (OSError, ValueError, LookupError, pickle.UnpicklingError) as error:
        values = {FAILED: f"{type(error).__name__}: {error}"}
    if not needed:
        _remove_weights(folder)
    outcome = f"FAILED: {values[FAILED]}" if FAILED in values else f"{len(values)} values"
    report(f"{case.name}: {outcome}, after {time.monotonic() - began:.0f} s")
    return values


def _values(case: Case, workspace: Workspace, folder: Path) -> Values:
    if case.name in RESUMES:
        _copy_unfinished(workspace.out / workspace.read_from / RESUMES[case.name], folder)
    folder.mkdir(parents=True, exist_ok=True)
    code = _call(case, workspace)
    return {FAILED: f"exit code {code}"} if code else read_folder(folder)


def _call(case: Case, workspace: Workspace) -> int:
    """Exit code of the command; what it prints is in logs/."""
    command = [sys.executable, "-m", "manyview", *case.arguments(f"made/{case.name}", workspace.read_from)]
    log = workspace.out / "logs" / f"{case.name}.txt"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as file:
        file.write(" ".join(["$ python", *command[1:]]) + "\n")
        file.flush()
        try:
            done = subprocess.run(
                command,
                cwd=workspace.out,
                env=workspace.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=LIMIT,
            )
        except subprocess.TimeoutExpired:
            file.write(f"\ncut off after {LIMIT} s\n")
            return -1
    return done.returncode


def _copy_unfinished(run: Path, to: Path) -> None:
    """A run as it was before its last checkpoint."""
    shutil.copytree(run, to)
    newest = max(file.stem for file in (to / CHECKPOINTS).glob("*.safetensors"))
    for file in [*(to / CHECKPOINTS).glob(f"{newest}.*"), to / "health.json"]:
        file.unlink(missing_ok=True)


def _remove_weights(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > _HEAVY:
            path.unlink()
