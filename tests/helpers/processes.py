"""Two processes that work together."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from manyview import distributed


@contextmanager
def joined(rank: int, folder: Path) -> Iterator[None]:
    """One of two processes that meet in a folder; with one thread, and warnings as errors."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        yield
    finally:
        distributed.leave()


def threads() -> list[str]:
    """Names of this process's threads; Linux only."""
    return [(thread / "comm").read_text().strip() for thread in Path("/proc/self/task").iterdir()]
