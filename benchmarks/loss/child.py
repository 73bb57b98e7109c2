"""A process that computes one loss and its gradient whenever it is asked to, and says what that took."""

from __future__ import annotations

import resource
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.loss.contestants import CONTESTANTS
from manyview.runtime import single_thread

_REFERENCES, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def serve(pipe: Connection, name: str, count: int, dim: int, device: str) -> None:
    """Send the figures of a step for each thing received, until that is None."""
    (contestant,) = (each for each in CONTESTANTS if each.name == name)
    where = torch.device(device)
    with single_thread():
        warm = contestant.prepare(64, where)
        warm(torch.randn(64, dim, device=where, requires_grad=True)).backward()
        z = torch.randn(count, dim, generator=torch.Generator().manual_seed(0)).to(where).requires_grad_()
        loss = contestant.prepare(count, where)
        while pipe.recv() is not None:
            pipe.send(step(loss, z))


def step(loss: Any, z: torch.Tensor) -> dict[str, float]:
    """Loss, seconds of loss and gradient, and bytes at their peak beyond what was held before."""
    before = start_of_peak(z.device)
    began = seconds(z.device)
    value = loss(z)
    value.backward()
    taken = seconds(z.device) - began
    result = {"loss": float(value.detach()), "seconds": taken, "extra_bytes": peak(z.device) - before}
    z.grad = None
    return result


def seconds(device: torch.device) -> float:
    """This process's time on its core, or the clock where the work is done elsewhere."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def start_of_peak(device: torch.device) -> int:
    """Bytes held now, from which on the peak counts."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _REFERENCES.exists():
        _REFERENCES.write_text("5")  # Linux: the peak begins anew
    return peak(device)


def peak(device: torch.device) -> int:
    """Bytes held at the peak."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        return int(_STATUS.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
