"""Named tensors in the two kinds of file that every PyTorch library reads, and back from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manyview.backbones import Backbone
from manyview.runs import atomic_write, write_tensors

SUFFIXES = (".pth", ".pt", ".safetensors")


def own_weights(backbone: Backbone, rename: Callable[[str], str] = str) -> dict[str, Tensor]:
    """The backbone's weights on the CPU under other names, none of them sharing memory with another."""
    return {
        rename(name): tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in backbone.state_dict().items()
    }


def write_state(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write bare named tensors: safetensors, or what ``torch.load`` reads with ``weights_only=True``, by the suffix."""
    if path.suffix == ".safetensors":
        write_tensors(path, tensors, {"format": "pt"})
    else:
        write_torch(path, dict(tensors))


def write_torch(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain data with PyTorch."""
    atomic_write(path, lambda temporary: torch.save(content, temporary))


def read_state(path: Path) -> dict[str, Tensor]:
    """What ``write_state`` wrote, as other people's programs read it."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    content: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def load_line(path: str) -> tuple[str, str]:
    """The import and the expression that give a file's tensors, for lines to paste."""
    if path.endswith(".safetensors"):
        return "from safetensors.torch import load_file", f'load_file("{path}")'
    return "import torch", f'torch.load("{path}", weights_only=True)'
