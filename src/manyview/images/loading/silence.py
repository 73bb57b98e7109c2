"""A time limit for each item that this process loads itself, without workers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

from torch.utils.data import Dataset

from manyview.errors import LoadingError
from manyview.images.loading import workers
from manyview.runs.progress import spell


class TimedDataset(Dataset[Any]):
    """A data set whose items may take ``workers.SILENT`` seconds each, as those of workers may.

    A read from a disk that does not answer would block forever, and Python with it. The limit is kept by a timer
    (SIGALRM), so in the main thread only, and not where another timer runs or on Windows.

    Args:
        dataset: the data set.
        name: what an item is called in messages, by its key.
    """

    def __init__(self, dataset: Dataset[Any], name: Callable[[Any], str]) -> None:
        self._dataset, self._name = dataset, name

    def __getitem__(self, key: Any) -> Any:
        """The item.

        Raises:
            LoadingError: it takes too long.
        """
        if not _is_free():
            return self._dataset[key]
        before = signal.signal(signal.SIGALRM, _end)
        signal.setitimer(signal.ITIMER_REAL, workers.SILENT)
        try:
            return self._dataset[key]
        except _TooLongError:
            raise LoadingError(
                f"reading {self._name(key)} has taken {spell(workers.SILENT)}: see whether the file can be read and "
                "its disk answers, then go on"
            ) from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


class _TooLongError(BaseException):
    """Not an Exception, of which decoders make unreadable images."""


def _end(*_: Any) -> None:
    raise _TooLongError


def _is_free() -> bool:
    return (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
        and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    )
