"""A detector with masks learns three pictures by heart."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.shapes import tune_tiny, write_shapes


def test_boxes_and_masks_of_three_pictures_are_learned(tmp_path: Path) -> None:
    labels = write_shapes(tmp_path / "shapes", 3)
    sizes = {"short_side": 64, "regions": 6, "test_proposals": 10, "batch_size": 3}
    schedule = {"iterations": 45, "learning_rate": 0.025, "eval_every": None, "precise_batches": 8}
    result = tune_tiny(labels, tmp_path / "run", architecture="fpn", masks=True, **sizes, **schedule)
    assert result["results"]["box"]["AP50"] > 0.9
    assert result["results"]["mask"]["AP50"] > 0.9
    assert result["results"]["voc"]["AP50"] > 0.9
