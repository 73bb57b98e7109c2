"""Runtime environment: device, precision, threads, memory allocator, and logging of libraries.

It is cheap to import, as every command does so: PyTorch and OpenCV are imported when used.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING

from manyview.errors import UserError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bf16")
# CPU flags of bf16 instructions on Linux. Those of ARM are left out, as they were not measured.
_BF16_INSTRUCTIONS = frozenset({"amx_bf16", "avx512_bf16"})
# Parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1  # mallopt takes C integers
# Within which a command has imported what it needs.
_STARTING_SECONDS = 10.0
# How libraries say that memory is used up, where they have no class of error for it.
_OUT_OF_MEMORY = (
    *("out of memory", "can't allocate memory", "not enough memory", "Unable to allocate", "Cannot allocate memory"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "std::bad_alloc"),
)

_is_command = False


def run_as_command() -> None:
    """Note that this process is the command, and no one's notebook or program: it may be ended without a word.

    It makes no full garbage collections, which take long with the objects of large libraries: neither while these are
    imported, as their number would cause several, nor at exit, when all memory is freed anyway.
    """
    global _is_command
    if not _is_command:
        _postpone_full_collections(_STARTING_SECONDS)
        atexit.register(gc.freeze)
    _is_command = True


def _postpone_full_collections(seconds: float) -> None:
    """Collect garbage in the younger generations alone for some seconds; then the thresholds are as before."""
    usual, until = gc.get_threshold(), time.monotonic() + seconds

    def restore(phase: str, info: Mapping[str, int]) -> None:
        if time.monotonic() >= until and restore in gc.callbacks:
            gc.callbacks.remove(restore)
            gc.set_threshold(*usual)

    gc.set_threshold(*usual[:2], _MOST)
    gc.callbacks.append(restore)


def is_command() -> bool:
    """Whether this process is the command."""
    return _is_command


def resolve_device(name: str, setting: str = "device") -> torch.device:
    """Resolve a device name, for training and evaluations.

    Args:
        name: "auto" (CUDA if there is such a device, else Apple's Metal, else the CPU), "cpu", "cuda", "cuda:1" or
            "mps". Under torchrun with several processes, each gets the CUDA device of its local rank.
        setting: name of the setting, for messages.

    Raises:
        UserError: unknown or unavailable device.
    """
    import torch

    process_count()  # takes up srun's variables
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    own = f"cuda:{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ else None
    if name == "cuda" and own is not None:
        name = own
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f'unknown {setting} {name!r}: use "auto", "cpu", "cuda", "cuda:1" or "mps"') from None
    missing = _missing(device)
    if missing:
        raise UserError(f'the {setting} {name!r} is not available here ({missing}): use "auto" or "cpu"')
    if device.type == "cuda" and local_process_count() > 1 and str(device) != own:
        raise UserError(f'several processes need an accelerator each: use "cuda", not {name!r}')
    return device


def process_count() -> int:
    """Number of processes that torchrun, SLURM's srun or ``--devices`` has started to work together; 1 if alone.

    PyTorch and Fabric read torchrun's environment variables, which are made here of those of an srun with several
    tasks, once. A batch script that starts a command without srun has a single process, whatever its tasks.

    Raises:
        UserError: the tasks are not shared out evenly among the nodes.
    """
    if "WORLD_SIZE" not in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        os.environ.update(torchrun_variables(os.environ))
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_process_count() -> int:
    """How many of the ``process_count`` processes share this machine; all of them where the launcher does not say.

    Raises:
        UserError: as ``process_count``.
    """
    count = process_count()
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(count)))


def torchrun_variables(slurm: Mapping[str, str]) -> dict[str, str]:
    """The variables that torchrun would set in a task of srun, from those that srun sets in it.

    With ``--gpus-per-task`` a task sees only its own GPU, as a node of one process.

    Args:
        slurm: environment of the task: SLURM_STEP_NUM_TASKS, SLURM_PROCID, SLURM_LOCALID, SLURM_NODEID,
            SLURM_STEP_TASKS_PER_NODE ("4(x2)", "3,2"), SLURM_STEP_NODELIST ("node[07-09,12]"), SLURM_JOB_ID and
            SLURM_STEP_ID, of which the port follows. MASTER_ADDR and MASTER_PORT stay where they are set.

    Raises:
        UserError: the tasks are not shared out evenly among the nodes.
    """
    per_node = {re.sub(r"\(x\d+\)", "", part) for part in slurm["SLURM_STEP_TASKS_PER_NODE"].split(",")}
    if len(per_node) > 1:
        raise UserError(
            f"srun has started different numbers of tasks on the nodes ({slurm['SLURM_STEP_TASKS_PER_NODE']}): "
            "use --ntasks-per-node, so that all have the same"
        )
    alone = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": slurm["SLURM_PROCID"]}
    of_node = {
        "LOCAL_RANK": slurm["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": per_node.pop(),
        "GROUP_RANK": slurm["SLURM_NODEID"],
    }
    first = re.sub(r"\[([^,\]-]+)[^\]]*\]", r"\1", slurm["SLURM_STEP_NODELIST"]).split(",")[0]
    port = 15_000 + (int(slurm["SLURM_JOB_ID"]) * 7 + int(slurm.get("SLURM_STEP_ID", "0"))) % 15_000
    return {
        "MASTER_ADDR": slurm.get("MASTER_ADDR", first),
        "MASTER_PORT": slurm.get("MASTER_PORT", str(port)),
        "RANK": slurm["SLURM_PROCID"],
        "WORLD_SIZE": slurm["SLURM_STEP_NUM_TASKS"],
        **(alone if "SLURM_GPUS_PER_TASK" in slurm else of_node),
    }


def _missing(device: torch.device) -> str:
    """Why this machine has no such device; "" where it has."""
    import torch

    if device.type == "cuda" and not torch.cuda.is_available():
        return "PyTorch sees no CUDA device"
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        return f"there are only {torch.cuda.device_count()} CUDA devices"
    if device.type == "mps" and not torch.backends.mps.is_available():
        return "PyTorch sees no Metal device"
    return "" if device.type in ("cpu", "cuda", "mps") else "it is no device to compute on"


def resolve_precision(name: str) -> str:
    """Precision of an evaluation; "auto" is float32, so that results of different machines are comparable.

    Raises:
        UserError: unknown precision.
    """
    precision = "float32" if name == "auto" else name
    if precision not in PRECISIONS:
        raise UserError(f'precision must be "auto", "float32" or "bf16", not {name!r}')
    return precision


def choose_precision(asked: str, device: torch.device) -> str:
    """Precision of training; "auto" is bf16 where the hardware multiplies it faster than float32.

    Args:
        asked: "auto", "float32" or "bf16".
        device: training device.
    """
    import torch

    if asked != "auto":
        return asked
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "bf16" if device.type == "cpu" and _cpu_multiplies_bf16() else "float32"


def _cpu_multiplies_bf16() -> bool:
    """Whether the CPU has bf16 instructions; without them bf16 is emulated, ten times slower than float32."""
    try:
        return not _BF16_INSTRUCTIONS.isdisjoint(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the generators of PyTorch that a network on a device draws from: ``torch.manual_seed``, but fast on the CPU.

    That also seeds devices that are not there, or that are not used, and notes for each where it was called from.

    Args:
        seed: from 0 to 2^64 - 1.
        device: of the network.
    """
    import torch

    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up, that of the machine or of an accelerator."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in _OUT_OF_MEMORY)


def memory_limit(device: torch.device) -> int | None:
    """Bytes of memory that a device has, or this process may use; None if unknown."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    limits = []
    with contextlib.suppress(OSError, ValueError, AttributeError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):  # of a container
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limits += [limit for limit in resource.getrlimit(resource.RLIMIT_AS) if limit > 0]
    return min(limits, default=None)


def core_count() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_one_thread() -> None:
    """Limit PyTorch and OpenCV to the calling thread."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(0)


@contextmanager
def single_thread() -> Iterator[None]:
    """Context manager that limits PyTorch and OpenCV to the calling thread.

    Steps as small as a linear classifier's are many times slower on several threads.
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


def pool_of_single_threads(count: int) -> ThreadPoolExecutor:
    """Thread pool whose threads use one core each in PyTorch; the caller's thread count is unchanged.

    Args:
        count: number of threads.
    """
    import torch

    before = torch.get_num_threads()
    started = Barrier(count + 1)

    def start() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # a thread reads the number at its first use, and keeps it
        started.wait()

    pool = ThreadPoolExecutor(count, "manyview-core", initializer=start)
    for _ in range(count):
        pool.submit(int)
    started.wait()
    torch.set_num_threads(before)  # also the default of other new threads
    return pool


def keep_freed_memory(block: int, total: int) -> bool:
    """Let glibc keep freed memory for reuse instead of returning it to the system at once.

    A network on a CPU allocates blocks of a hundred megabytes, layer after layer. By default each is mapped anew by the
    system, which clears it page by page: a fifth of a ResNet-18's time at 224 pixels.

    Args:
        block: largest block that is kept, in bytes.
        total: most bytes that are kept free at the end of the heap.

    Returns:
        whether it was set, which only glibc supports.
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
    """Context manager that hides warnings, and messages below errors of the logger of that name."""
    logger = logging.getLogger(library)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
