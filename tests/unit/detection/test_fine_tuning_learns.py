"""A detector with masks learns eight pictures by heart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.shapes import tune_tiny, write_shapes


@pytest.mark.timeout(900)
def test_boxes_and_masks_of_eight_pictures_are_learned(tmp_path: Path) -> None:
    labels = write_shapes(tmp_path / "shapes", 8)
    sizes = {"short_side": 64, "regions": 16, "test_proposals": 20, "batch_size": 4}
    schedule = {"iterations": 80, "learning_rate": 0.025, "eval_every": None, "precise_batches": 40}
    result = tune_tiny(labels, tmp_path / "run", architecture="fpn", masks=True, **sizes, **schedule)
    assert result["results"]["box"]["AP50"] > 0.9
    assert result["results"]["mask"]["AP50"] > 0.9
    assert result["results"]["voc"]["AP50"] > 0.9
