"""Files of weights that no training has touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from manyview.backbones import build_backbone, save_backbone


def save_random(file: Path, name: str = "timm/test_resnet", *, seed: int = 0, **options: Any) -> Path:
    """A file with the initial weights of a backbone; the global random generator stays as it was."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_backbone(build_backbone(name, **options), file, {})
    return file
