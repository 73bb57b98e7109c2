"""A loader's processes: how they start, and that they end with the iteration, whatever ends it."""

from __future__ import annotations

import atexit
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from manyview.images.workers import prepare_worker, prepare_yielding_worker, worker_count


def load_in_workers(dataset: Dataset[Any], *, workers: int | None, pin: bool, **how: Any) -> Loading:
    """A data set's items or batches in order, made ahead by other processes, which start at once.

    Args:
        dataset: what is loaded.
        workers: processes, 0 for none; None: by cores. What is loaded does not depend on it.
        pin: whether batches go to an accelerator: they then lie in page-locked memory, from which it copies faster.
            Otherwise the processes leave their cores to the network that computes there.
        how: what else ``DataLoader`` takes: which items, in what batches, put together how.
    """
    processes = worker_count(workers)
    with warnings.catch_warnings():
        # More workers than cores are somebody's own choice; PyTorch says so twice.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader: DataLoader[Any] = DataLoader(
            dataset,
            num_workers=processes,
            pin_memory=pin,
            generator=torch.Generator(),  # its draws are unused, and the user's generator stays as it is
            worker_init_fn=(prepare_worker if pin else prepare_yielding_worker) if processes else None,
            multiprocessing_context="fork" if processes and sys.platform == "linux" else None,
            **how,
        )
        return Loading(iter(loader))


class Loading(Iterator[Any]):
    """What a loader gives; its processes end with the last item, an error, ``close``, or Python itself.

    They ignore the signals that Python sends them when it ends, and PyTorch ends them only when their iterator is
    forgotten. An error's traceback may keep it, and Python would then wait for them forever.
    """

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._shut_down = getattr(batches, "_shutdown_workers", lambda: None)  # there is nothing without workers
        atexit.register(self._shut_down)

    def __next__(self) -> Any:
        """The next item or batch."""
        try:
            return next(self._batches)
        except BaseException:
            self.close()
            raise

    @property
    def processes(self) -> list[int]:
        """Identifiers of the processes; none without workers."""
        return [worker.pid for worker in getattr(self._batches, "_workers", [])]

    def close(self) -> None:
        """End the processes."""
        self._shut_down()
        atexit.unregister(self._shut_down)

    def __del__(self) -> None:
        self.close()
