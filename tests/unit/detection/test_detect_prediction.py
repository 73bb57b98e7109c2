"""Detecting in new images: the files it writes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from manyview.detection.predict import predict
from manyview.errors import UserError
from manyview.runs import write_tensors
from tests.helpers.shapes import tune_tiny

pytestmark = pytest.mark.usefixtures("narrow")


@pytest.fixture(scope="module")
def run(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector with masks, hardly trained: it finds something everywhere."""
    out = tmp_path_factory.mktemp("runs") / "masks"
    sizes = {"short_side": 32, "regions": 4, "test_proposals": 6}
    tune_tiny(shapes, out, architecture="fpn", masks=True, iterations=2, eval_every=None, **sizes)
    return out


@pytest.fixture
def images(shapes: Path, tmp_path: Path) -> Path:
    """Three images in two folders, and a file that is none."""
    folder = tmp_path / "new"
    (folder / "more").mkdir(parents=True)
    shutil.copy(shapes.parent / "01.png", folder / "b.png")
    shutil.copy(shapes.parent / "02.png", folder / "more" / "c.png")
    Image.fromarray(np.zeros((40, 70), dtype=np.uint8)).save(folder / "gray.jpg")
    (folder / "a.jpg").write_bytes(b"no image")
    return folder


def detect(run: Path, images: Path, out: Path, **options: Any) -> dict[str, Any]:
    return predict(run, images=images, out=out, device="cpu", **{"workers": 0, "score_threshold": 0.05, **options})


def test_the_files_fit_together(run: Path, images: Path, tmp_path: Path) -> None:
    result = detect(run, images, tmp_path / "found" / "new.json", draw=2)
    about = json.loads((tmp_path / "found" / "new-images.json").read_text())
    named = {entry["id"]: entry["file_name"] for entry in about["images"]}
    assert sorted(named.values()) == ["b.png", "gray.jpg", "more/c.png"]
    sizes = {entry["file_name"]: (entry["width"], entry["height"]) for entry in about["images"]}
    assert sizes["gray.jpg"] == (70, 40)
    assert [entry["name"] for entry in about["categories"]] == ["disc", "square", "triangle"]
    [skipped] = result["skipped"]
    assert skipped.startswith("a.jpg: ")
    found = json.loads((tmp_path / "found" / "new.json").read_text())
    assert result["objects"] == len(found) > 0
    assert {entry["image_id"] for entry in found} <= set(named)
    assert result["photographs"] == 3
    assert result["drawn"].startswith("Drawn: 2 images")
    with Image.open(result["picture"]) as picture:
        assert picture.width >= 400
    assert sorted(file.name for file in Path(result["pictures"]).iterdir()) == ["001-b.png", "002-gray.png"]


def test_what_is_written_is_bounded_and_what_is_not_is_counted(run: Path, images: Path, tmp_path: Path) -> None:
    every = detect(run, images, tmp_path / "all.json", score_threshold=0)
    found = json.loads((tmp_path / "all.json").read_text())
    assert every["below"] == every["beyond"] == 0
    assert "Left out" not in every["kept"]
    scores = sorted((entry["score"] for entry in found), reverse=True)
    assert scores[-1] < 0.05  # below what average precision takes
    least = scores[3]
    few = detect(run, images, tmp_path / "few.json", score_threshold=least - 1e-5, detections=1, draw=3)
    kept = json.loads((tmp_path / "few.json").read_text())
    assert len({entry["image_id"] for entry in kept}) == len(kept) == few["objects"]
    assert min(entry["score"] for entry in kept) >= least
    assert few["objects"] + few["beyond"] == 4
    below = sum(0.05 <= score < least - 1e-5 for score in scores)
    assert few["below"] == below
    assert "at most 1 an image." in few["kept"]
    assert f"{few['beyond']} as too many in their image (--detections)" in few["kept"]
    assert few["drawn"] == (
        f"Drawn: 3 images; none above 0.5 in any of them, best {scores[0]:.2f}: --draw-threshold "
        f"{int(scores[0] * 100) / 100:g} draws that."
    )


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools itself
def test_pycocotools_takes_them(run: Path, images: Path, tmp_path: Path) -> None:
    result = detect(run, images, tmp_path / "new.json")
    coco = COCO(result["images"])
    loaded = coco.loadRes(result["results"])
    for annotation in loaded.loadAnns(loaded.getAnnIds()):
        image = coco.imgs[annotation["image_id"]]
        assert loaded.annToMask(annotation).shape == (image["height"], image["width"])
        assert 0.05 <= annotation["score"] <= 1


def test_workers_and_company_change_nothing(run: Path, images: Path, tmp_path: Path) -> None:
    detect(run, images, tmp_path / "none.json")
    detect(run / "detector.safetensors", images, tmp_path / "two.json", workers=2)
    assert (tmp_path / "none.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(images / "b.png", alone)
    detect(run, alone, tmp_path / "alone.json")
    number = {
        entry["file_name"]: entry["id"] for entry in json.loads((tmp_path / "none-images.json").read_text())["images"]
    }["b.png"]
    found = json.loads((tmp_path / "none.json").read_text())
    assert json.loads((tmp_path / "alone.json").read_text()) == [
        {**entry, "image_id": 1} for entry in found if entry["image_id"] == number
    ]


def test_another_side_gives_other_boxes(run: Path, images: Path, tmp_path: Path) -> None:
    detect(run, images, tmp_path / "own.json")
    detect(run, images, tmp_path / "larger.json", test_short_side=64)
    assert (tmp_path / "own.json").read_text() != (tmp_path / "larger.json").read_text()


def test_outputs_that_are_there_stay(run: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "found.png").write_text("mine")
    with pytest.raises(UserError, match=r"found\.png is already there"):
        detect(run, images, tmp_path / "found.json", draw=1)
    detect(run, images, tmp_path / "found.json")
    assert (tmp_path / "found.png").read_text() == "mine"
    with pytest.raises(UserError, match=r"found\.json is already there: choose another name"):
        detect(run, images, tmp_path / "found.json")


def test_what_could_not_be_written_is_written_the_next_time(
    run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise UserError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("manyview.detection.predict.write_results", full)
        with pytest.raises(UserError, match="the disk is full"):
            detect(run, images, tmp_path / "found.json")
    assert not list(tmp_path.glob("found*"))
    detect(run, images, tmp_path / "found.json")
    assert (tmp_path / "found-images.json").is_file()


def test_mistakes(run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "found.json"
    with pytest.raises(UserError, match=r"must name a \.json file"):
        detect(run, images, tmp_path / "found")
    with pytest.raises(UserError, match=r"there is no .*nowhere"):
        detect(tmp_path / "nowhere", images, out)
    for side in (0, 100_000):
        with pytest.raises(UserError, match="test_short_side must be from 32 to"):
            detect(run, images, out, test_short_side=side)
    with monkeypatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        with pytest.raises(UserError, match="made by one process"):
            detect(run, images, out)
    with pytest.raises(UserError, match="draw must be at least 0"):
        detect(run, images, out, draw=-1)
    for name, value in (("draw_threshold", 1.5), ("score_threshold", -0.1), ("detections", 0), ("workers", -1)):
        with pytest.raises(UserError, match=f"{name} must be "):
            detect(run, images, out, **{name: value})
    (tmp_path / "other.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match="is truncated or no safetensors file"):
        detect(tmp_path / "other.safetensors", images, out)
    write_tensors(tmp_path / "backbone.safetensors", {})
    with pytest.raises(UserError, match="holds no detector"):
        detect(tmp_path / "backbone.safetensors", images, out)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 1 images"):
        detect(run, bad, out)
    assert not list(tmp_path.glob("found*"))
