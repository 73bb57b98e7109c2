"""From data in the layouts of other tools to weights in a detector: three commands, each right at the first try."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyview.cli.main import main
from manyview.scenes import write_scenes
from tests.helpers.narrow import narrowed

SIDE = 48
SPLITS = {"train": 6, "val": 2}
TINY = ("--device", "cpu", "--workers", "0", "--beside", "none")
PRETRAIN = (
    "--recipe",
    "simsiam",
    "--backbone",
    "timm/test_resnet",
    "--view-size",
    "32",
    "--batch-size",
    "4",
    "--steps",
    "1",
)
SETTINGS = ("--set", "data.workers=0", "--set", "training.device=cpu", "--set", "method.projection_dim=16")
TUNE = ("--architecture", "fpn", "--iterations", "1", "--batch-size", "2", "--short-side", "32", "--max-side", "48")
FEW = ("--regions", "8", "--test-proposals", "8", "--precise-batches", "0")

Run = Callable[..., str]
Scene = tuple[Path, list[tuple[str, list[float]]]]
"""An image, and the class and box (left, top, width, height in pixels) of each object."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Scene]]:
    """Rendered scenes of each split."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, sum(SPLITS.values()), val_share=SPLITS["val"] / sum(SPLITS.values()), size=(SIDE, SIDE))
    found: dict[str, list[Scene]] = {}
    for split in SPLITS:
        content: dict[str, Any] = json.loads((folder / f"instances_{split}.json").read_text())
        names = {each["id"]: each["name"] for each in content["categories"]}
        found[split] = [
            (
                folder / "images" / image["file_name"],
                [(names[o["category_id"]], o["bbox"]) for o in content["annotations"] if o["image_id"] == image["id"]],
            )
            for image in content["images"]
        ]
    return found


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command in this process, whose exit status must be 0 or the one given: what it prints."""

    def call(*words: object, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["manyview", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "80")
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        assert (caught.value.code or 0) == status, err
        return f"{out}{err}"

    return call


def put(file: Path, content: str | Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copy(content, file)
    else:
        file.write_text(content)


def classes(scenes: dict[str, list[Scene]]) -> list[str]:
    return sorted({name for part in scenes.values() for _, objects in part for name, _ in objects})


def yolo(root: Path, scenes: dict[str, list[Scene]], images: dict[str, str]) -> None:
    """Images of each split in ``images[split]``, with label files where that has "images" as "labels"."""
    names = classes(scenes)
    for split, part in scenes.items():
        for image, objects in part:
            put(root / images[split] / image.name, image)
            boxes = [
                (names.index(name), (left + width / 2, top + height / 2, width, height))
                for name, (left, top, width, height) in objects
            ]
            lines = [" ".join(map(str, (number, *(side / SIDE for side in box)))) for number, box in boxes]
            put(root / images[split].replace("images", "labels") / f"{image.stem}.txt", "\n".join(lines))


def roboflow(root: Path, scenes: dict[str, list[Scene]]) -> tuple[Path, list[object]]:
    yolo(root, scenes, {"train": "train/images", "val": "valid/images"})
    names = classes(scenes)
    put(root / "data.yaml", f"train: ../train/images\nval: ../valid/images\nnc: {len(names)}\nnames: {names}\n")
    return root / "train/images", ["--train-labels", root / "data.yaml"]


def coco128(root: Path, scenes: dict[str, list[Scene]]) -> tuple[Path, list[object]]:
    yolo(root, scenes, {"train": "images/train2017", "val": "images/val2017"})
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(classes(scenes)))
    text = f"path: ../datasets/coco128\ntrain: images/train2017\nval: images/val2017\ntest:\nnames:\n{names}"
    put(root / "coco128.yaml", text)
    return root / "images/train2017", ["--train-labels", root / "coco128.yaml"]


def voc(root: Path, scenes: dict[str, list[Scene]]) -> tuple[Path, list[object]]:
    for split, part in scenes.items():
        put(root / f"ImageSets/Main/{split}.txt", "".join(f"{image.stem}\n" for image, _ in part))
        for image, objects in part:
            put(root / "JPEGImages" / image.name, image)
            written = "".join(
                f"<object><name>{name}</name><bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
                f"<xmax>{left + width}</xmax><ymax>{top + height}</ymax></bndbox></object>"
                for name, (left, top, width, height) in objects
            )
            put(root / f"Annotations/{image.stem}.xml", f"<annotation>{written}</annotation>")
    lists = [root / f"ImageSets/Main/{split}.txt" for split in scenes]
    return root / "JPEGImages", ["--images", root / "JPEGImages", "--train-labels", lists[0], "--val-labels", lists[1]]


@pytest.mark.parametrize("layout", [roboflow, coco128, voc])
@narrowed(8)
def test_boxes_in_three_commands(
    tmp_path: Path, scenes: dict[str, list[Scene]], run: Run, layout: Callable[..., tuple[Path, list[object]]]
) -> None:
    images, labels = layout(tmp_path / layout.__name__, scenes)
    run("pretrain", images, "--out", tmp_path / "run", *PRETRAIN, *SETTINGS)
    said = run("detect", tmp_path / "run", *labels, "--out", tmp_path / "boxes", *TUNE, *FEW, *TINY)
    objects = {split: sum(len(found) for _, found in part) for split, part in scenes.items()}
    [row] = [line for line in said.splitlines() if line.startswith("│all")]
    assert [int(cell) for cell in row.strip("│").split("│")[1:]] == [objects["train"], 6, objects["val"], 2]
    assert "validation images are also training images" not in said
    new = next((tmp_path / layout.__name__).rglob("*.jpg")).parent
    run("detect", "--predict", tmp_path / "boxes", "--images", new, "--out", tmp_path / "found.json", *TINY[:4])
    found = json.loads((tmp_path / "found-images.json").read_text())
    assert [each["name"] for each in found["categories"]] == classes(scenes)


def test_a_table_of_ones_own_in_three_commands(tmp_path: Path, scenes: dict[str, list[Scene]], run: Run) -> None:
    names = classes(scenes)
    for split, part in scenes.items():
        rows = [["file", *names]]
        for image, objects in part:
            put(tmp_path / "pictures" / image.name, image)
            shown = {name for name, _ in objects}
            rows.append([f"pictures/{image.name}", *(str(int(name in shown)) for name in names)])
        put(tmp_path / f"{split}.csv", "".join(",".join(row) + "\n" for row in rows))
    tables = ["--train-labels", tmp_path / "train.csv", "--val-labels", tmp_path / "val.csv"]
    run("pretrain", tmp_path / "pictures", "--out", tmp_path / "run", *PRETRAIN, *SETTINGS)
    few = ("--neighbours", "2", "--size", "32", "--resamples", "0", *TINY)
    said = run("knn", tmp_path / "run", "--images", tmp_path, *tables, "--out", tmp_path / "knn", *few)
    assert all(name in said for name in names)
    run("export", tmp_path / "run", "--to", "timm", "--out", tmp_path / "backbone.safetensors")
    assert (tmp_path / "backbone.safetensors").is_file()


def test_images_of_both_splits_are_said_and_all_splits_are_checked(
    tmp_path: Path, scenes: dict[str, list[Scene]], run: Run, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "coco128"
    coco128(root, scenes)
    copied = sorted((root / "images/train2017").iterdir())[0]
    put(root / "images/val2017/copy.jpg", copied)
    put(root / "labels/val2017/copy.txt", "0 .5 .5 .5 .5\n")
    text = (root / "coco128.yaml").read_text()
    put(root / "more.yaml", text.replace("val: images/val2017", "val: [images/val2017, copy.txt]"))
    put(root / "copy.txt", f"{copied}\n")
    monkeypatch.chdir(tmp_path)
    said = run("check", root, "--labels", root / "more.yaml", "--no-pace", "--recipe", "simsiam", status=1)
    rows = [" ".join(line.split()) for line in said.splitlines()]
    assert any(row.startswith("│more.yaml (train) │ 6 │ 0 │") for row in rows)
    assert any(row.startswith("│more.yaml (val) │ 4 │ 0 │") for row in rows)
    assert "name the same images, 1 in all" in " ".join(said.split())
    few = ("--neighbours", "2", "--size", "32", "--resamples", "0", *TINY)
    said = " ".join(run("knn", weights, "--train-labels", root / "more.yaml", *few).split())
    assert "2 of 4 validation images are also training images, 1 of them as identical files of another name" in said
    assert f"(val2017/copy.jpg = train2017/{copied.name}): none votes for itself." in said
