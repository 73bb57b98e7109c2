"""How much memory a piece of code takes at its peak."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

from tests.helpers import processes

STATUS = Path("/proc/self/status")

reads_peak_memory = pytest.mark.skipif(not STATUS.exists(), reason="peak memory is read from /proc")

# resource.getrusage would give the peak of the process that started this one, where that is higher.
_PEAK = "lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) * 1024"


def extra_memory(prepare: str, work: str, *arguments: object, forked: bool = True) -> int:
    """Bytes by which the peak of a new process rises in ``work``, after ``prepare``; Linux only.

    It is forked of the one that all tests' processes are forked of, where that has begun, as it imports nothing anew
    and has computed nothing either; else, and unless ``forked``, it is one of Python's own. What a forked process reads
    of its libraries for the first time counts, some megabytes.
    """
    words = [*map(str, arguments)]
    code = f"import sys\npeak = {_PEAK}\n{prepare}\nbefore = peak()\n{work}\n"
    if forked and processes.has_begun():
        with tempfile.NamedTemporaryFile() as file:
            processes.in_processes(_measure, code, file.name, words, processes=1)
            return int(Path(file.name).read_text())
    # At its end Python would search the objects of all imports for garbage, for a second of a core.
    end = "import os\nprint(peak() - before, flush=True)\nos._exit(0)"
    command = [sys.executable, "-W", "ignore", "-c", f"{code}{end}", *words]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _measure(rank: int, code: str, file: str, arguments: list[str]) -> None:
    sys.argv[1:] = arguments
    warnings.simplefilter("ignore")
    names: dict[str, object] = {"__name__": "__main__"}
    exec(f"{code}peak_was = peak()", names)
    assert isinstance(names["peak_was"], int)
    assert isinstance(names["before"], int)
    Path(file).write_text(str(names["peak_was"] - names["before"]))
