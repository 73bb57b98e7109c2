"""Handling of Ctrl-C and SIGTERM as a request to stop after the current step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_open: list[StopRequest] = []


def stop_requested() -> bool:
    """Whether a signal was recorded that is still to be acted on."""
    return any(stop.signal is not None for stop in _open)


class StoppingError(Exception):
    """A stop is requested, and what is awaited does not come; ``StopRequest`` makes it the signal's own exception."""


class StopRequest:
    """Context manager that records the first SIGINT or SIGTERM; a second one has its usual effect."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        _open.append(self)
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._put_back()
        _open.remove(self)
        if isinstance(error, StoppingError):
            self.act()

    def act(self) -> None:
        """Raise the exception of the recorded signal, once everything is saved.

        Raises:
            KeyboardInterrupt: the signal was SIGINT.
            SystemExit: the signal was SIGTERM; the exit status is 143, as in a shell.
        """
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._put_back()

    def _put_back(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)
