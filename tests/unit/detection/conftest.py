from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.narrow import narrow
from tests.helpers.shapes import write_shapes

__all__ = ["narrow"]


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The labels of five pictures of shapes, which lie beside them; for reading only."""
    return write_shapes(tmp_path_factory.mktemp("shapes"), 5)
