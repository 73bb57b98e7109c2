from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from manyview.recipes.demonstration import Scale, run_demo
from manyview.scenes import write_scenes


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pretraining_on_scenes_is_ahead_of_random_initialization(tmp_path: Path) -> None:
    """A fraction of the views of ``make demo``, on a smaller network. No seed of published figures."""
    console = Console(file=io.StringIO(), width=200)
    scale = Scale(150, 100, view_size=48, batch_size=8, epochs=2, seed=7, backbone="timm/resnet10t")
    run_demo(None, tmp_path, scale, console)
    folder = tmp_path / "synthetic-7"
    results = json.loads((folder / "linear" / "metrics.json").read_text())["results"]
    assert results["pretrained"]["mAP"] > results["random_init"]["mAP"]
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "mAP over random init (95 % interval" in printed
    assert "rendered to be learned in minutes" in printed
    with Image.open(folder / "views.png") as picture:
        assert picture.width > 500


def test_a_folder_of_ones_own_without_labels_is_trained_on_and_drawn(tmp_path: Path) -> None:
    write_scenes(tmp_path / "mine", 12, val_share=0.0, size=(40, 32))
    for labels in (tmp_path / "mine").glob("*.csv"):
        labels.unlink()
    console = Console(file=io.StringIO(), width=200)
    scale = Scale(train=8, val=4, view_size=32, batch_size=4, epochs=1, backbone="timm/test_resnet")
    run_demo(tmp_path / "mine", tmp_path / "out", scale, console)
    (folder,) = (tmp_path / "out").iterdir()
    assert folder.name.startswith("mine-")
    assert len((folder / "photographs.txt").read_text().split()) == 8
    assert (folder / "views.png").is_file()
    assert not (folder / "linear").exists()
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "8 of the 12 images are used" in printed
    assert "There are no labels" in printed
