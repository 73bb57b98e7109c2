"""The import of Lightning Fabric."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import manyview.fabric
assert "torchmetrics" not in sys.modules, "imported"
from lightning_fabric.utilities import imports
assert imports._TORCHMETRICS_GREATER_EQUAL_1_0_0 is True, "as if it were not installed"
import torchmetrics
assert torchmetrics.Metric, "no longer to be had"
"""


def test_torchmetrics_is_not_imported_and_still_can_be() -> None:
    """By an attribute of the release that the tests run; with another, the last line alone counts."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
