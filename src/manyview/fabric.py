"""Lightning Fabric, imported without what it does not use."""

from __future__ import annotations

from manyview.imports import import_lightly

import_lightly("lightning_fabric")

from lightning_fabric import Fabric  # noqa: E402
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment  # noqa: E402

__all__ = ["Fabric", "LightningEnvironment", "TorchElasticEnvironment"]
