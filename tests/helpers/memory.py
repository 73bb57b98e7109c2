"""How much memory a piece of code takes at its peak."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")

reads_peak_memory = pytest.mark.skipif(not STATUS.exists(), reason="peak memory is read from /proc")

# resource.getrusage would give the peak of the process that started this one, where that is higher.
_PEAK = "lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) * 1024"


def extra_memory(prepare: str, work: str, *arguments: object) -> int:
    """Bytes by which the peak of a new process of Python rises in ``work``, after ``prepare``; Linux only."""
    # At its end a Python would search the objects of all imports for garbage, for a second of a core.
    end = "print(peak() - before, flush=True)\nos._exit(0)"
    code = f"import os, sys\npeak = {_PEAK}\n{prepare}\nbefore = peak()\n{work}\n{end}"
    words = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
