"""Shards in the place of a folder, under each verb that reads images: the results are those of the loose files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pytest

from manyview.cli.main import main
from manyview.images.sources import shard_index
from tests.helpers.narrow import narrow
from tests.helpers.shards import write_shards
from tests.helpers.small_verbs import COMPUTING, DETECTOR, SCALE
from tests.helpers.tiny import COUNT, photos

__all__ = ["narrow", "photos"]

SOURCES = ("folder of tar", "pattern of Parquet", "folder of Arrow", "address")
# One of them each, as what a verb does with images is the same for all.
VERBS = {
    "linear": "folder of Arrow",
    "linear-sgd": "pattern of Parquet",
    "knn": "address",
    "probe": "folder of tar",
    "embed": "pattern of Parquet",
    "neighbours": "folder of Arrow",
    "check-weights": "folder of tar",
    "views": "address",
    "detect": "pattern of Parquet",
    "reproduce": "address",
    "check": "folder of tar",
}
TABLE = """
title = "One row"
[evaluations.gamp]
metrics = ["mAP"]
[evaluations.other]
verb = "knn"
data = "other"
options = {neighbours = 3, resamples = 0}
metrics = ["mAP"]
[[rows]]
name = "blocks"
recipe = "paper"
"""


class Given(NamedTuple):
    """Sources of the same images by name, and a folder of label files and weights."""

    sources: dict[str, str]
    folder: Path
    weights: Path

    def labels(self, source: str, ending: str = "csv") -> list[object]:
        """The options of labeled images."""
        files = [self.folder / f"{part}.{ending}" for part in ("train", "val")]
        return ["--images", self.sources[source], "--train-labels", files[0], "--val-labels", files[1]]


@pytest.fixture(scope="module")
def given(photos: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    folder = tmp_path_factory.mktemp("given")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANYVIEW_CACHE", str(folder / "cache"))
        shard_index.collect.cache_clear()
        shards = {ending: write_shards(photos, folder / ending, ending) for ending in (".tar", ".parquet", ".arrow")}
        system = fsspec.filesystem("memory")
        for file in shards[".tar"].iterdir():
            system.pipe(f"/verbs/{file.name}", file.read_bytes())
        paths = (shards[".tar"], shards[".parquet"] / "*.parquet", shards[".arrow"])
        sources = dict(zip(SOURCES, (*map(str, paths), "memory://verbs/{000000,000001}.tar"), strict=True))
        write_labels(folder)
        (folder / "mine.toml").write_text(TABLE)
        (folder / "tiny.toml").write_text(SCALE)
        yield Given({"loose": str(photos), **sources}, folder, weights)
        system.rm("/verbs", recursive=True)


def write_labels(folder: Path) -> None:
    """Of three in four images for training and of the others, as CSV and as COCO's JSON with a box each."""
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(("cat", "dog"))]
    for part, rows in (("train", range(12)), ("val", range(12, COUNT))):
        lines = [f"{index:02d}.jpg,{('cat', 'dog', '')[index % 3]}\n" for index in rows]
        (folder / f"{part}.csv").write_text("image,labels\n" + "".join(lines))
        images = [{"id": index, "file_name": f"{index:02d}.jpg", "width": 64, "height": 48} for index in rows]
        boxes = [
            {"id": index + 1, "image_id": index, "category_id": 1 + index % 2, "bbox": [8, 8, 32, 24], "area": 768}
            | {"iscrowd": 0}
            for index in rows
        ]
        content = {"images": images, "annotations": boxes, "categories": categories}
        (folder / f"{part}.json").write_text(json.dumps(content))


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    """Run the command in this process."""
    monkeypatch.setattr(sys, "argv", ["manyview", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code, words


SMALL = ("--size", 32, "--workers", 0, "--device", "cpu")
ALONE = ("--beside", "none", *SMALL)


def commands(verb: str, given: Given, source: str, out: Path) -> list[list[object]]:
    """The words of a verb that reads images, and of what follows it."""
    where, labels, weights = given.sources[source], given.labels(source), given.weights
    boxes = given.labels(source, "json")
    other = f"other={where},{boxes[3]},{boxes[5]}"
    tables = ["--scale", given.folder / "tiny.toml", "--data", other, *COMPUTING, "--out", out]
    return {
        "linear": [["linear", weights, *labels, "--out", out, "--resamples", 0, "--cost", 0.01, *ALONE]],
        "linear-sgd": [["linear", weights, *labels, "--out", out, "--recipe", "sgd", "--epochs", 1, *ALONE]],
        "knn": [["knn", weights, *boxes, "--out", out, "--neighbours", 3, *ALONE]],
        "probe": [["probe", weights, *labels, "--out", out, "--fraction", 1, *ALONE]],
        "embed": [["embed", weights, where, "--out", out / "f.npz", *SMALL]],
        "neighbours": [["neighbours", weights, where, "--out", out / "n.png", "--queries", 1, *SMALL]],
        "check-weights": [["check-weights", weights, "--images", where, "--out", out, "--sample", 8, *SMALL]],
        "views": [["views", where, "--out", out / "v.html", "--photos", 2, "--view-size", 16]],
        "detect": [
            ["detect", weights, *boxes, "--out", out / "run", *DETECTOR],
            ["detect", "--predict", out / "run", "--images", where, "--out", out / "found.json", *COMPUTING],
        ],
        "reproduce": [["reproduce", given.folder / "mine.toml", *labels, *tables]],
        "check": [["check", where, "--labels", boxes[3], "--no-pace", "--out", out / "check.json"]],
    }[verb]


def results(out: Path) -> dict[str, Any]:
    """What a verb found, by file: figures, features, and the bytes of pages and weights."""
    found: dict[str, Any] = {}
    for file in sorted(out.rglob("*")):
        name = file.relative_to(out).as_posix()
        if file.name in ("metrics.json", "check.json", "n.json"):
            found[name] = json.loads(file.read_text())["results"]
            if file.name == "check.json":  # which says where images come from
                found[name] = {key: found[name][key] for key in ("images", "bytes", "formats", "duplicates", "labels")}
        elif file.name == "f.npz":
            with np.load(file) as arrays:
                found[name] = {key: arrays[key].tolist() for key in ("images", "features")}
        elif file.suffix in (".html", ".safetensors") or file.name == "found.json":
            found[name] = file.read_bytes()
    return found


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_finds_in_shards_what_it_finds_in_files(
    given: Given, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number, source in enumerate(("loose", VERBS[verb])):
        out = tmp_path / str(number)
        if verb not in ("linear", "linear-sgd", "knn", "probe", "check-weights", "reproduce"):
            out.mkdir()
        for words in commands(verb, given, source, out):
            call(monkeypatch, *words)
        found.append(results(out))
    assert found[0]
    assert found[0] == found[1]
