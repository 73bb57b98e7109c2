"""What decides the last bits of a result besides settings and data: threads, instructions, switches of libraries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from manyview.errors import UserError

# Those that only set the number of threads are left out: it is recorded, and set, itself.
_VARIABLES = (
    *("OMP_DYNAMIC", "OMP_THREAD_LIMIT", "MKL_DYNAMIC", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS"),
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"),
    *("ATEN_CPU_CAPABILITY", "OPENCV_CPU_DISABLE", "OPENCV_IPP", "JSIMD_FORCENONE"),
    *("CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
)
_LIMIT = "OMP_THREAD_LIMIT"
_MOST = 4096  # more threads than any machine runs: the record is damaged


def environment() -> dict[str, Any]:
    """The number of threads, the CPU's instructions, and what libraries were told, as plain data.

    Sums are taken in an order that depends on all of these, so that results differ in their last bits. They do not
    depend on the number of cores: eight threads give the same bits on two.
    """
    import torch

    mkldnn = torch.backends.mkldnn
    found: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": bool(mkldnn.is_available() and getattr(mkldnn, "enabled", True)),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
    if torch.cuda.is_available():
        found["cuda"] = {
            "version": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "gpu": torch.cuda.get_device_name(),
        }
    return found


def check_threads(count: int) -> None:
    """Refuse a limit below the number of threads of PyTorch, with which it waits forever for those that do not come.

    Raises:
        UserError: ``OMP_THREAD_LIMIT`` is lower.
    """
    limit = os.environ.get(_LIMIT, "")
    if limit.isdecimal() and int(limit) < count:
        raise UserError(
            f"{count} threads compute, but {_LIMIT}={limit} in the environment allows no more than {limit}, and "
            f"PyTorch would wait forever: unset {_LIMIT}, or begin with training.threads={limit}"
        )


def recorded_threads(about: Mapping[str, Any]) -> int | None:
    """Number of threads in a ``provenance``; None if an earlier version wrote it, or it is no number."""
    noted = about.get("environment")
    count = noted.get("threads") if isinstance(noted, Mapping) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 < count <= _MOST else None


def restore_threads(about: Mapping[str, Any]) -> None:
    """Compute with as many threads as when the work was started, whose results depend on their number.

    Args:
        about: ``provenance`` of the start; without a number of threads nothing is set.

    Raises:
        UserError: PyTorch does not take that number here.
    """
    count = recorded_threads(about)
    if count is None:
        return
    check_threads(count)
    import torch

    torch.set_num_threads(count)
    if torch.get_num_threads() != count:
        raise UserError(
            f"this was started with {count} compute threads, on which its results depend, but PyTorch takes only "
            f"{torch.get_num_threads()} here: resume it where it ran, or start anew"
        )
