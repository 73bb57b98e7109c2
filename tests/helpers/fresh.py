"""Programs in a Python of their own without the seconds that imports take: forked of one that has done only that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# What a child runs is outside of any function, so that errors, signals and the end are Python's own.
_SERVER = """
import gc, json, os, signal, sys, warnings
import torch.utils.data, manyview.images.loading.loader, manyview.runs.signals

gc.freeze()  # or the end of each child would go through the objects of all imports, for a second of a core
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()

signal.alarm(100)
request = json.loads(line)
for number, name in enumerate((os.devnull, request["out"], request["err"])):
    os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
os.environ.update(request["environment"])
sys.argv[1:] = request["arguments"]
warnings.simplefilter("ignore")
exec(request["program"], {"__name__": "__main__"})
"""


@dataclass(frozen=True)
class Done:
    """How a program ended, its status as of ``subprocess``, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def run_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run a program with arguments and changes of the environment; a hundred seconds end it by SIGALRM."""
    folder = tmp_path_factory.mktemp("programs")
    command = [sys.executable, "-c", _SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:

        def run(program: str, *arguments: str, environment: Mapping[str, str] = os.environ) -> Done:
            files = {"out": folder / "out", "err": folder / "err"}
            for file in files.values():
                file.unlink(missing_ok=True)
            request: dict[str, Any] = {"program": program, "arguments": arguments, "environment": dict(environment)}
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps({**request, **{name: str(file) for name, file in files.items()}}) + "\n")
            server.stdin.flush()
            return Done(int(server.stdout.readline()), *(_text(file) for file in files.values()))

        yield run


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
