"""Forked processes, so that imports are paid once: their output goes to a file, and a mistake of a user's is known."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from manyview.errors import UserError

REFUSED = 7
"""Exit status of a child that raised a ``UserError``."""


class Child:
    """A forked process in a process group of its own, with its loader's workers."""

    def __init__(self, work: Callable[[], Any], log: Path) -> None:
        self.log = log
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            _run_and_exit(work, log)

    def wait(self, timeout: float | None = None) -> int | None:
        """Status as a shell would show it, or None if it still runs; the process is not reaped."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            flags = os.WEXITED | os.WNOWAIT | (0 if end is None else os.WNOHANG)
            status = os.waitid(os.P_PID, self.pid, flags)
            if status is not None:
                return status.si_status if status.si_code == os.CLD_EXITED else -status.si_status
            if end is not None and time.monotonic() >= end:
                return None
            time.sleep(0.001)

    def clear_away(self) -> None:
        """End what is left of the group, whose number the unreaped process still reserves."""
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _run_and_exit(work: Callable[[], Any], log: Path) -> None:
    status = 99
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        work()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 98
    except KeyboardInterrupt:
        status = 130
    except UserError as error:
        os.write(2, f"refused: {error}\n".encode())
        status = REFUSED
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)
