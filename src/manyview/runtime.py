"""Which device and which precision measurements use."""

from __future__ import annotations

import os

import torch

from manyview.errors import UserError

PRECISIONS = ("float32", "bf16")


def resolve_device(name: str) -> torch.device:
    """The device of that name, "auto" being a CUDA accelerator if there is one.

    Of several processes under torchrun, each gets the accelerator of its own place on the machine.

    Raises:
        UserError: it is unknown, or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    own = f"cuda:{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ else None
    if name == "cuda" and own is not None:
        name = own
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f'unknown device {name!r}: use "auto", "cpu", "cuda", "cuda:1" or "mps"') from None
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        raise UserError(f'the device {name!r} is not available here: use "auto" or "cpu"')
    if device.type == "cuda" and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1 and str(device) != own:
        raise UserError(f'several processes need an accelerator each: use "cuda", not {name!r}')
    return device


def resolve_precision(name: str) -> str:
    """The precision of that name; "auto" is float32, so that figures from different machines can be compared.

    Raises:
        UserError: it is unknown.
    """
    precision = "float32" if name == "auto" else name
    if precision not in PRECISIONS:
        raise UserError(f'precision must be "auto", "float32" or "bf16", not {name!r}')
    return precision
