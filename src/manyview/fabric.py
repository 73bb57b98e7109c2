"""Lightning Fabric, without torchmetrics, which it imports for nothing but the version.

That import takes as long as all others of a run together (with it come torchvision's operators and, where it is
installed, transformers), in every process that is started.
"""

from __future__ import annotations

import sys
from importlib import metadata
from types import ModuleType

_NAME = "torchmetrics"


def _with_version_only() -> ModuleType:
    """A module that has the version of torchmetrics and nothing else."""
    module = ModuleType(_NAME)
    module.__version__ = metadata.version(_NAME)  # type: ignore[attr-defined]
    return module


if _NAME in sys.modules:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
else:
    sys.modules[_NAME] = _with_version_only()
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    finally:
        del sys.modules[_NAME]

__all__ = ["Fabric", "LightningEnvironment", "TorchElasticEnvironment"]
