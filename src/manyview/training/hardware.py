"""Which device and which precision a run uses."""

from __future__ import annotations

from pathlib import Path

import torch

from manyview.errors import UserError

_BF16_INSTRUCTIONS = frozenset({"amx_bf16", "avx512_bf16"})
"""What Linux calls them. Those of ARM are left out: nothing was measured there."""


def choose_device(asked: str) -> torch.device:
    """The device asked for, or the best one there is.

    Raises:
        UserError: unknown device, or one this machine or this PyTorch lacks.
    """
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        device = torch.device("meta")  # which is none to train on
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"training.device {asked!r} is no device; choose auto, cpu, cuda, cuda:0 or mps")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("training.device is cuda, but PyTorch sees no CUDA device here; use auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"training.device is {asked}, but there are only {torch.cuda.device_count()} CUDA devices here")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("training.device is mps, but PyTorch has no Metal device here; use auto or cpu")
    return device


def choose_precision(asked: str, device: torch.device) -> str:
    """``float32`` or ``bf16``: as asked, else bf16 where the hardware multiplies it faster than float32."""
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
