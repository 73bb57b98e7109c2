"""Signals that ask a run to stop: Ctrl-C, SIGTERM, SIGHUP, and SIGUSR1 and SIGUSR2, by which schedulers give notice."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
STOPPING = tuple(signal.Signals(getattr(signal, name)) for name in _NAMES if hasattr(signal, name))
"""The signals that ask for a stop, as far as the system has them; loader processes ignore them."""

# Ctrl-C reaches torchrun and its processes alike, and torchrun sends it on to them, which is no second Ctrl-C.
_FORWARDED = 3.0
# Seconds that a second Ctrl-C waits for Python.
_PATIENCE = 2.0
_SHOW_CURSOR = b"\x1b[?25h"
_open: list[StopRequest] = []


def stop_requested() -> bool:
    """Whether a signal was recorded that is still to be acted on."""
    return any(stop.signal is not None for stop in _open)


class StoppingError(Exception):
    """A stop is requested, and what is awaited does not come; ``StopRequest`` makes it the signal's own exception.

    Attributes:
        number: of the signal, where another process received it.
    """

    def __init__(self, number: int | None = None) -> None:
        super().__init__()
        self.number = number


class StopRequest:
    """Context manager that records the first signal of ``STOPPING``, and says so at once.

    A second Ctrl-C has its usual effect; other signals are only recorded, as a scheduler repeats them or sends one
    after the other: it ends by SIGKILL what does not stop in time. SIGHUP stays ignored where it is (nohup).

    Args:
        announcement: what is done until the stop, as in "Stopping after this step, and saving"; None: say nothing.
        may_exit: whether a second Ctrl-C ends the process even where Python cannot react, in a long computation or in
            wait for a lost process; for a command, not for a library.
    """

    def __init__(self, announcement: str | None = None, *, may_exit: bool = False) -> None:
        self.signal: signal.Signals | None = None
        self._announcement = announcement
        self._may_exit = may_exit
        self._since = 0.0
        self._acts_at_once = False
        self._noted = self._heard = self._again = self._quitting = False
        self._lock = threading.RLock()
        self._previous: dict[signal.Signals, Any] = {}
        self._listener: _Listener | None = None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if number != getattr(signal, "SIGHUP", None) or signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
            if os.name == "posix":
                self._listener = _Listener(self._hear)
        _open.append(self)
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._put_back()
        _open.remove(self)
        if isinstance(error, StoppingError):
            self.act(error.number)

    @contextlib.contextmanager
    def acting_at_once(self, at_once: bool = True) -> Iterator[None]:
        """Do not wait for the end of what is done meanwhile, once everything is saved.

        Args:
            at_once: whether to do so.

        Raises:
            KeyboardInterrupt, SystemExit: as by ``act``, also if a signal was recorded before.
        """
        if at_once and self.signal is not None:
            self.act()
        self._acts_at_once = at_once
        try:
            yield
        finally:
            self._acts_at_once = False

    def act(self, number: int | None = None) -> None:
        """Raise the exception of the recorded signal, once everything is saved.

        Args:
            number: of the signal, where another process received it; unset: as recorded.

        Raises:
            KeyboardInterrupt: the signal was SIGINT.
            SystemExit: it was another one; the exit status is 128 and its number, as in a shell: 143 after SIGTERM.
        """
        number = number or self.signal or signal.SIGTERM
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler, in the main thread as soon as Python goes on; of two at once it may see one."""
        first, self._noted = not self._noted, True
        self._record(number)
        if self._acts_at_once:
            self.act()
        if self._again or (not first and number == signal.SIGINT and not self._is_forwarded()):
            self._quitting = True
            self._put_back()
            raise KeyboardInterrupt

    def _hear(self, number: int) -> None:
        """The same at once, in the listener's thread."""
        first, self._heard = not self._heard, True
        self._record(number)
        if first or number != signal.SIGINT or self._is_forwarded():
            return
        self._again = True
        if self._may_exit:
            time.sleep(_PATIENCE)
            if not self._quitting and self._listener is not None:
                _say(_SHOW_CURSOR if os.isatty(2) else b"")
                os._exit(128 + signal.SIGINT)

    def _record(self, number: int) -> None:
        with self._lock:
            if self.signal is not None:
                return
            self.signal, self._since = signal.Signals(number), time.monotonic()
        if self._announcement is not None:
            again = "press Ctrl-C again to quit at once"
            what = again if number == signal.SIGINT else f"as {self.signal.name} asks"
            _say(f"\n{self._announcement}; {what}.\n".encode())

    def _is_forwarded(self) -> bool:
        return "TORCHELASTIC_RUN_ID" in os.environ and time.monotonic() - self._since < _FORWARDED

    def _put_back(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)


class _Listener:
    """A thread that hears of signals at once, where the main thread is in a long computation.

    Python's handlers wait for the main thread to return from it, which for a large step takes minutes. What C knows of
    a signal goes to a file descriptor (``signal.set_wakeup_fd``), unless someone else has taken that, as asyncio does.

    Args:
        hear: called in the thread, with the number of each signal.
    """

    def __init__(self, hear: Callable[[int], None]) -> None:
        self._hear = hear
        self._receiving, self._sending = os.pipe()
        os.set_blocking(self._sending, False)
        before = signal.set_wakeup_fd(self._sending, warn_on_full_buffer=False)
        self._taken = before != -1
        if self._taken:
            signal.set_wakeup_fd(before)
        self._thread = threading.Thread(target=self._listen, name="manyview-signals", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while (number := os.read(self._receiving, 1)[0]) != 0:
            if number in STOPPING:
                self._hear(number)
        os.close(self._receiving)

    def close(self) -> None:
        """End the thread."""
        if not self._taken:
            signal.set_wakeup_fd(-1)
        os.write(self._sending, b"\0")
        os.close(self._sending)


def _say(text: bytes) -> None:
    """Write to standard error, in a signal's handler, where a stream may be in use."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        try:
            os.write(sys.stderr.fileno(), text)
        except (OSError, ValueError, AttributeError):  # as in a notebook
            sys.stderr.write(text.decode())
