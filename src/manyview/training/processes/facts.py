"""What the processes of a run are compared by before they train: the images, the labels, where they start."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from manyview.config import PretrainConfig
from manyview.images import ImageFiles, UnreadableImage
from manyview.images.sources.opening import read_whole
from manyview.runs import TrainingCheckpoint
from manyview.runtime import resolve_device
from manyview.training.initial.weights import InitialWeights
from manyview.training.targets import Targets

_SAMPLE = 64  # images whose contents are compared


def data_facts(config: PretrainConfig, data: tuple[ImageFiles, Targets | None]) -> dict[str, object]:
    """The type of device; number, names, sizes and a sample of the images; the labels."""
    files, targets = data
    return {
        "the device": resolve_device(config.training.device, "training.device").type,
        "the number of images": len(files),
        "the fingerprint of names and sizes of the images": files.fingerprint()[:12],
        "the fingerprint of the contents of some images": sampled_contents(files)[:12],
        "the fingerprint of the labels": targets.fingerprint[:12] if targets else None,
    }


def start_facts(
    device: str,
    precision: str,
    module: nn.Module | None,
    start: tuple[TrainingCheckpoint | None, list[str], InitialWeights | None],
) -> dict[str, object]:
    """The precision, the checkpoint or what a run without one starts from, and on a CPU the number of threads."""
    checkpoint, _, initial = start
    own = module_fingerprint(module)[:12] if module is not None and checkpoint is None else None
    return {
        "the precision": precision,
        "the number of compute threads": torch.get_num_threads() if device == "cpu" else None,
        "the checkpoint": f"that of step {checkpoint.step}" if checkpoint else None,
        "the state in the checkpoint": _digest(checkpoint.state)[:12] if checkpoint else None,
        "the fingerprint of the initial weights": initial.sha256[:12] if initial else None,
        "the fingerprint of the module": own,
    }


def sampled_contents(files: ImageFiles, count: int = _SAMPLE) -> str:
    """SHA-256 over the contents of some images, evenly distributed among all; in hexadecimal.

    Args:
        files: the images; those that cannot be read count as equal.
        count: number of images.
    """
    digest = hashlib.sha256()
    for number in range(min(count, len(files))):
        path = files.path(number * len(files) // min(count, len(files)))
        try:
            digest.update(hashlib.sha256(read_whole(path)).digest())
        except UnreadableImage:
            digest.update(b"unreadable")
    return digest.hexdigest()


def module_fingerprint(module: nn.Module) -> str:
    """SHA-256 over the names and values of a module's parameters and buffers, in hexadecimal."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, torch.Tensor):
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _digest(state: Any) -> str:
    return hashlib.sha256(repr(sorted(state.items())).encode()).hexdigest()
