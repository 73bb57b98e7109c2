"""Pictures of a third of the resolution, which take less time to draw and to compress."""

from __future__ import annotations

from importlib import import_module

import pytest

DRAWING = (
    "manyview.evaluation.compare.figure",
    "manyview.evaluation.probe.figure",
    "manyview.recipes.reproduce.figure",
    "manyview.report.common_objects.tables_and_curve",
    "manyview.report.sheet",
)


@pytest.fixture(autouse=True)
def coarse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every test below a conftest.py that imports this: what a picture shows is for tests without."""
    for name in DRAWING:
        monkeypatch.setattr(import_module(name), "_DPI", 50)
