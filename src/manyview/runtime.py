"""The machine that work runs on: device, precision, threads, the C library's memory, and talkative libraries.

Importing it is cheap, as the command does so before it knows what it is asked for: PyTorch and OpenCV come when used.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING

from manyview.errors import UserError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bf16")
# What Linux calls a CPU's instructions for bf16. Those of ARM are left out: nothing was measured there.
_BF16_INSTRUCTIONS = frozenset({"amx_bf16", "avx512_bf16"})
# Parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1  # it takes C integers


def resolve_device(name: str, setting: str = "device") -> torch.device:
    """The device of that name, for training and for every measurement alike.

    Args:
        name: "auto" (CUDA if there is such a device, else Apple's Metal, else the CPU), "cpu", "cuda", "cuda:1" or
            "mps". Of several processes under torchrun, each gets the CUDA device of its own rank on the machine.
        setting: what the user calls it, for messages.

    Raises:
        UserError: it is unknown, or not there.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    own = f"cuda:{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ else None
    if name == "cuda" and own is not None:
        name = own
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f'unknown {setting} {name!r}: use "auto", "cpu", "cuda", "cuda:1" or "mps"') from None
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        raise UserError(f'the {setting} {name!r} is not available here: use "auto" or "cpu"')
    if device.type == "cuda" and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1 and str(device) != own:
        raise UserError(f'several processes need an accelerator each: use "cuda", not {name!r}')
    return device


def resolve_precision(name: str) -> str:
    """The precision of a measurement; "auto" is float32, so that figures from different machines can be compared.

    Raises:
        UserError: it is unknown.
    """
    precision = "float32" if name == "auto" else name
    if precision not in PRECISIONS:
        raise UserError(f'precision must be "auto", "float32" or "bf16", not {name!r}')
    return precision


def choose_precision(asked: str, device: torch.device) -> str:
    """The precision of training: as asked, else bf16 where the hardware multiplies it faster than float32.

    Args:
        asked: "auto", "float32" or "bf16".
        device: where it computes.
    """
    import torch

    if asked != "auto":
        return asked
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "bf16" if device.type == "cpu" and _cpu_multiplies_bf16() else "float32"


def _cpu_multiplies_bf16() -> bool:
    """Whether the CPU has instructions for it; without them bf16 is emulated, ten times slower than float32."""
    try:
        return not _BF16_INSTRUCTIONS.isdisjoint(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_one_thread() -> None:
    """Let PyTorch and OpenCV compute on the calling thread alone from now on."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(0)


@contextmanager
def single_thread() -> Iterator[None]:
    """Let PyTorch and OpenCV compute on the calling thread alone while entered.

    Steps as small as a linear classifier's take many times as long on several threads.
    """
    import cv2
    import torch

    threads, others = torch.get_num_threads(), cv2.getNumThreads()
    use_one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(others)


def single_threads(count: int) -> ThreadPoolExecutor:
    """Threads of Python whose computations in PyTorch take one core each; the caller's take as many as before."""
    import torch

    before = torch.get_num_threads()
    started = Barrier(count + 1)

    def start() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # a thread takes up the number when it first needs it, and keeps it then
        started.wait()

    pool = ThreadPoolExecutor(count, "manyview-core", initializer=start)
    for _ in range(count):
        pool.submit(int)
    started.wait()
    torch.set_num_threads(before)  # it is also what threads of others start with
    return pool


def keep_freed_memory(block: int, total: int) -> bool:
    """Let glibc keep what is freed for the next who asks, instead of giving it back to the system at once.

    A network on a CPU asks for blocks of a hundred megabytes, layer after layer. By default each comes anew from the
    system, which clears it page by page: a fifth of a ResNet-18's time at 224 pixels.

    Args:
        block: the largest block that is kept, in bytes.
        total: at most so many bytes are kept at the end of the heap.

    Returns:
        whether there is a glibc that does so.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, min(block, _MOST)) and mallopt(_TRIM_THRESHOLD, min(total, _MOST)))


@contextmanager
def silenced(library: str) -> Iterator[None]:
    """While entered, show no warning, and of the logger of that name only errors."""
    logger = logging.getLogger(library)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
