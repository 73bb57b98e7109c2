"""A detector with masks learns two pictures by heart."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.narrow import narrowed
from tests.helpers.shapes import tune_tiny, write_shapes


def test_boxes_and_masks_of_two_pictures_are_learned(tmp_path: Path) -> None:
    """Half as wide as usual, all of three seeds end at 1."""
    labels = write_shapes(tmp_path / "shapes", 2)
    sizes = {"short_side": 64, "regions": 8, "test_proposals": 10, "batch_size": 2}
    schedule = {"iterations": 42, "learning_rate": 0.025, "eval_every": None, "precise_batches": 10}
    with narrowed(2):
        result = tune_tiny(labels, tmp_path / "run", architecture="fpn", masks=True, **sizes, **schedule)
    assert result["results"]["box"]["AP50"] > 0.8
    assert result["results"]["mask"]["AP50"] > 0.8
    assert result["results"]["voc"]["AP50"] > 0.8
