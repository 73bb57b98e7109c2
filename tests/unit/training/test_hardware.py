"""Launch of Lightning Fabric."""

from __future__ import annotations

import logging

import pytest

from manyview.config import resolve
from manyview.config.resolve import Assignment
from manyview.training.settle import start_hardware


def test_fabric_says_nothing_of_what_is_asked_of_it(caplog: pytest.LogCaptureFixture) -> None:
    asked = [Assignment("training.precision", "bf16", ""), Assignment("data.images", "photos", "")]
    logger = logging.getLogger("lightning_fabric")
    before = logger.level
    logger.addHandler(caplog.handler)
    try:
        start_hardware(resolve({}, asked))
    finally:
        logger.removeHandler(caplog.handler)

    assert caplog.messages == []
    assert logger.level == before
