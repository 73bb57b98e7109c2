"""Several processes that train together: what is compared between them, and their start by ``--devices``."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import manyview
from manyview.config import PretrainConfig
from manyview.config.resolve import flatten
from manyview.distributed.launcher import run_processes
from manyview.errors import UserError
from manyview.options.base import StrPath
from manyview.runtime import core_count, resolve_device

# Settings that each process may have its own of: files, whose contents are compared, and the loader.
_MAY_DIFFER = frozenset(
    {"data.images", "data.list", "data.labels", "data.workers", "backbone.init"}
    | {"monitor.eval_labels", "monitor.eval_val_labels"}
)


def compared(config: PretrainConfig, resume: bool) -> dict[str, object]:
    """What must be the same on all processes before they look at any file: settings and versions, by name."""
    settings = {item.key: item.value for item in flatten(config.model_dump(mode="json"), "")}
    versions = {"the version of manyview": manyview.__version__, "the version of PyTorch": str(torch.__version__)}
    return {key: value for key, value in settings.items() if key not in _MAY_DIFFER} | {"--resume": resume} | versions


def start_processes(images: StrPath | None, out: Path, device: str, options: Mapping[str, Any]) -> None:
    """Run ``pretrain`` in processes of their own, as many as ``devices``, and wait for them.

    Args:
        images: as for ``pretrain``.
        out: folder of the run.
        device: ``training.device``.
        options: of ``pretrain``.

    Raises:
        UserError: there are fewer GPUs, or the backbone is a module, which only this process has; or of a process.
    """
    count, gpus = options["devices"], torch.cuda.device_count()
    if options["backbone"] is not None and not isinstance(options["backbone"], str):
        raise UserError(
            "devices starts processes that do not have a module of your own: start your script several times instead, "
            f"by torchrun --nproc-per-node {count}"
        )
    if resolve_device(device, "training.device").type == "cuda" and count > gpus:
        raise UserError(
            f"--devices is {count}, but this machine has {gpus} CUDA {'device' if gpus == 1 else 'devices'}: use "
            f"--devices {gpus}, or training.device=cpu"
        )
    command, threads = [sys.executable, "-m", "manyview.recipes.process"], max(1, core_count() // count)
    run_processes(command, count, pickle.dumps((sys.argv, images, out, options)), threads)
