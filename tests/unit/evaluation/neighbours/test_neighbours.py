"""Nearest images and blocks, against a search by brute force in float64."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from manyview.errors import UserError
from manyview.evaluation.embed import embed, read_features
from manyview.evaluation.neighbours.index import Nearest, Vectors
from manyview.evaluation.neighbours.search import nearest_neighbours
from manyview.views import block_boxes

SMALL: dict[str, Any] = {"batch_size": 5, "workers": 0, "device": "cpu"}
CORNERS = ["top left", "top right", "bottom left", "bottom right"]


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Of each vector with each, by definition."""
    exact = vectors.astype(np.float64)
    table = np.zeros((len(exact), len(exact)))
    for i, a in enumerate(exact):
        for j, b in enumerate(exact):
            lengths = np.sqrt((a * a).sum()) * np.sqrt((b * b).sum())
            table[i, j] = (a * b).sum() / lengths if lengths > 0 else 0.0
    return table


def vectors_of(values: np.ndarray, images: np.ndarray) -> Vectors:
    parts = np.zeros((len(values), 6), dtype=np.int64)
    parts[:, 0], parts[:, 1] = images, np.arange(len(values))
    return Vectors(values, parts)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("case", range(12))
def test_the_search_equals_brute_force_in_any_batches(case: int, dtype: type) -> None:
    rng = np.random.default_rng(case)
    count, dim, k = int(rng.integers(3, 40)), int(rng.integers(1, 6)), int(rng.integers(1, 12))
    # Few whole numbers: many vectors are alike, and some are zero.
    values = rng.integers(-1, 2, (count, dim)).astype(dtype)
    images = np.sort(rng.integers(0, max(2, count // 2), count))
    queries = rng.permutation(count)[:7]
    nearest = Nearest(vectors_of(values[queries], images[queries]), k)
    start = 0
    while start < count:
        end = start + int(rng.integers(1, 9))
        batch = vectors_of(values[start:end], images[start:end])
        batch.parts[:, 1] += start
        nearest.add(batch)
        start = end

    table = cosines(values)
    for place, query in enumerate(queries):
        others = [each for each in range(count) if images[each] != images[query]]
        # Rounding may part what is equal; no others are nearer than 1e-9 to each other here.
        expected = sorted(others, key=lambda each: -round(table[query, each], 9))[:k]
        found = nearest.of(place)
        np.testing.assert_allclose([cosine for _, cosine in found], table[query, expected], atol=1e-12)
        assert [round(cosine, 9) for _, cosine in found] == [round(table[query, each], 9) for each in expected]
        assert all(part.image == images[part.number] != images[query] for part, _ in found)
        assert len({part.number for part, _ in found}) == len(found)


def test_of_equally_near_vectors_the_first_are_kept() -> None:
    values = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [4.0, 0.0], [8.0, 0.0]])
    nearest = Nearest(vectors_of(values[:1], np.array([0])), 2)
    for batch in (slice(0, 2), slice(2, 5)):
        vectors = vectors_of(values, np.arange(5))
        nearest.add(Vectors(vectors.values[batch], vectors.parts[batch]))
    assert [(part.image, cosine) for part, cosine in nearest.of(0)] == [(1, 1.0), (3, 1.0)]


def test_whole_images_equal_brute_force_on_the_features(scenes: Any, tmp_path: Path) -> None:
    embed(scenes.weights, images=scenes.images, out=tmp_path / "f.npz", size=32, pool="avg", **SMALL)
    stored = read_features(tmp_path / "f.npz")
    result = nearest_neighbours(scenes.weights, images=scenes.images, size=32, pool="avg", k=5, queries=4, **SMALL)

    table = cosines(stored.features)
    assert len(result["results"]) == 4
    for entry in result["results"]:
        query = stored.images.index(entry["image"])
        table[query, query] = -1
        best = np.argsort(-table[query], kind="stable")[:5]
        assert [each["image"] for each in entry["neighbours"]] == [stored.images[place] for place in best]
        np.testing.assert_allclose([each["cosine"] for each in entry["neighbours"]], table[query, best], atol=1e-6)
    protocol = result["protocol"]
    assert (protocol["photographs"], protocol["pool"], protocol["size"], protocol["k"]) == (36, "avg", 32, 5)
    assert result["skipped"] == {}


@pytest.fixture(scope="module")
def cut(scenes: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[str, int, list[int]]]]:
    """Each block of each image as an image of its own, and which block of which each is."""
    folder = tmp_path_factory.mktemp("blocks")
    of: dict[str, tuple[str, int, list[int]]] = {}
    for file in sorted(scenes.images.rglob("*.png")):
        name = file.relative_to(scenes.images).as_posix()
        with Image.open(file) as image:
            for number, box in enumerate(block_boxes(*image.size)):
                block = f"{name.replace('/', '-')}-{number}.png"
                image.crop(box).save(folder / block)
                of[block] = (name, number, list(box))
    return folder, of


def test_blocks_equal_brute_force_on_blocks_that_were_cut_out(scenes: Any, cut: Any, tmp_path: Path) -> None:
    folder, of = cut
    embed(scenes.weights, images=folder, out=tmp_path / "f.parquet", size=32, **SMALL)
    stored = read_features(tmp_path / "f.parquet")
    names = ["b/7.png", "a/12.png"]
    result = nearest_neighbours(scenes.weights, images=scenes.images, query=names, blocks=True, size=32, k=6, **SMALL)

    table = cosines(stored.features)
    about = [of[name] for name in stored.images]
    assert [(entry["image"], entry["block"]) for entry in result["results"]] == [
        (name, corner) for name in names for corner in CORNERS
    ]
    for entry in result["results"]:
        query = about.index((entry["image"], CORNERS.index(entry["block"]), entry["box"]))
        others = [place for place, (name, _, _) in enumerate(about) if name != entry["image"]]
        best = sorted(others, key=lambda place: -table[query, place])[:6]
        found = [(each["image"], CORNERS.index(each["block"]), each["box"]) for each in entry["neighbours"]]
        assert found == [about[place] for place in best]
        np.testing.assert_allclose([each["cosine"] for each in entry["neighbours"]], table[query, best], atol=1e-5)


def test_a_copy_is_the_nearest_of_all(scenes: Any, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(scenes.images, folder)
    shutil.copy(folder / "a/4.png", folder / "copy.png")
    entry = nearest_neighbours(scenes.weights, images=folder, query=["copy.png"], size=32, k=1, **SMALL)["results"][0]
    assert entry["neighbours"][0]["image"] == "a/4.png"
    assert entry["neighbours"][0]["cosine"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("ending", [".parquet", ".npz"])
def test_a_file_of_features_gives_what_extraction_gives(scenes: Any, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"f{ending}"
    embed(scenes.weights, images=scenes.images, out=file, size=40, pool="max", **SMALL)
    arguments = {"images": scenes.images, "query": ["b/3.png", "a/0.png"], "k": 4, **SMALL}
    made = nearest_neighbours(scenes.weights, size=40, pool="max", **arguments)
    read = nearest_neighbours(scenes.weights, features=file, **arguments)
    for one, other in zip(made["results"], read["results"], strict=True):
        assert one["image"] == other["image"]
        assert [each["image"] for each in one["neighbours"]] == [each["image"] for each in other["neighbours"]]
        np.testing.assert_allclose(
            *([each["cosine"] for each in entry["neighbours"]] for entry in (one, other)), atol=1e-6
        )
    assert (read["protocol"]["size"], read["protocol"]["pool"]) == (40, "max")
    assert read["protocol"]["features"] == str(file)
    drawn = [
        [entry["image"] for entry in nearest_neighbours(scenes.weights, images=scenes.images, **each)["results"]]
        for each in ({"features": file, "seed": 3}, {"size": 16, "seed": 3, **SMALL})
    ]
    assert drawn[0] == drawn[1]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_names_that_are_no_utf8_are_found_again(scenes: Any, tmp_path: Path, ending: str) -> None:
    """A file of features has them as text, as which another image is called."""
    photos = tmp_path / "photos"
    photos.mkdir()
    odd = os.fsdecode(b"caf\xe9.png")
    names = sorted([odd, r"plain\udce8.png", "z.png"])
    for name, path in zip(names, sorted(scenes.images.glob("*/*.png")), strict=False):
        shutil.copy(path, photos / name)
    embed(scenes.weights, images=photos, out=tmp_path / f"f{ending}", **SMALL)
    options: dict[str, Any] = {"images": photos, "query": [odd], **SMALL}
    [found] = nearest_neighbours(scenes.weights, features=tmp_path / f"f{ending}", **options)["results"]
    [extracted] = nearest_neighbours(scenes.weights, **options)["results"]
    assert [each["image"] for each in found["neighbours"]] == [each["image"] for each in extracted["neighbours"]]
    assert sorted([odd, *(each["image"] for each in found["neighbours"])]) == names


def test_the_seed_draws_the_queries(scenes: Any) -> None:
    def drawn(**settings: Any) -> list[str]:
        result = nearest_neighbours(scenes.weights, images=scenes.images, size=16, k=1, **settings, **SMALL)
        return [entry["image"] for entry in result["results"]]

    first = drawn(seed=1)
    assert first == drawn(seed=1)
    assert len(set(first)) == 6
    assert first != drawn(seed=2)
    assert drawn(seed=1, queries=3) == first[:3]
    assert len(drawn(queries=100)) == 36


def test_images_that_cannot_be_read_are_left_out_and_named(scenes: Any, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(scenes.images / "a", folder)
    names = sorted(path.name for path in folder.iterdir())
    for name in names[:12]:
        (folder / name).write_bytes(b"no image")
    result = nearest_neighbours(scenes.weights, images=folder, size=16, queries=5, k=100, **SMALL)
    assert set(result["skipped"]) == set(names[:12])
    assert result["protocol"]["photographs"] == 6
    assert {entry["image"] for entry in result["results"]} < set(names[12:])
    assert all(len(entry["neighbours"]) == 5 for entry in result["results"])
    with pytest.raises(UserError, match=rf"the query .*{names[0]} cannot be read \(not an image of a known format\)"):
        nearest_neighbours(scenes.weights, images=folder, query=[names[0]], size=16, **SMALL)
    for name in names[13:]:
        (folder / name).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"only one image of .* can be read"):
        nearest_neighbours(scenes.weights, images=folder, size=16, **SMALL)
    (folder / names[12]).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"none of the 18 images of .* can be read"):
        nearest_neighbours(scenes.weights, images=folder, size=16, **SMALL)


def test_progress_counts_all_images(scenes: Any) -> None:
    calls: list[tuple[int, int, str]] = []
    nearest_neighbours(
        scenes.weights,
        images=scenes.images,
        size=16,
        queries=2,
        progress=lambda done, total, phase: calls.append((done, total, phase)),
        **SMALL,
    )
    assert calls[0] == (0, 36, "images")
    assert calls[-1] == (36, 36, "images")
    assert len(calls) == 1 + 8


@pytest.fixture(scope="module")
def features(scenes: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all images at 16 pixels, with the record beside them; for reading only."""
    file = tmp_path_factory.mktemp("features") / "f.npz"
    embed(scenes.weights, images=scenes.images, out=file, size=16, **SMALL)
    return file


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"queries": 0}, "queries must be at least 1, not 0"),
        ({"seed": -1}, "seed must be from 0"),
        ({"size": 2}, "size must be at least 8 pixels, not 2"),
        ({"pool": "mean"}, "pool must be one of"),
        ({"query": ["a/00.png"]}, "there is no image a/00.png in"),
        ({"features": "f.npz", "blocks": True}, "a file of features holds whole images"),
        ({"features": "f.npz", "list": "names.txt"}, "leave out list"),
        ({"features": "f.npz", "mean": "0.5", "std": "0.5"}, "leave out mean and std, or features"),
        ({"features": "f.npz", "bit_depth": 12}, "leave out bit_depth, or features"),
        ({"features": "f.npz", "pool": "max"}, "f.npz was made with pool gamp, not max: leave pool out"),
        ({"features": "f.npz", "size": 64}, "f.npz was made with size 16, not 64: leave size out"),
        ({"features": "f.npz", "weights": "other.safetensors"}, "holds features that other weights made"),
        ({"features": "nothing.npz"}, "there is no file"),
        ({"list": "one.txt"}, "holds one image: at least two are needed"),
    ],
)
def test_mistakes_are_reported(scenes: Any, features: Path, tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    for file in features.parent.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "other.safetensors").write_bytes(b"others")
    (tmp_path / "one.txt").write_text("a/0.png\n")
    for name in ("features", "weights", "list"):
        if name in changes:
            changes = {**changes, name: tmp_path / changes[name]}
    arguments = {"weights": scenes.weights, "images": scenes.images, **SMALL, **changes}
    with pytest.raises(UserError) as caught:
        nearest_neighbours(**arguments)
    assert part in str(caught.value)


def test_features_of_other_images_are_refused(scenes: Any, features: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    shutil.copytree(scenes.images, others)
    assert nearest_neighbours(scenes.weights, images=others, features=features, **SMALL)["results"]
    (others / "a" / "0.png").write_bytes((others / "a" / "2.png").read_bytes() + b" ")
    with pytest.raises(UserError, match=r"of other images than those in .*others"):
        nearest_neighbours(scenes.weights, images=others, features=features, **SMALL)
