"""Copies are found by their bytes and by what they show; the signs are those of a cosine transform by definition."""

from __future__ import annotations

import io
import itertools
import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from manyview.images import ImageFiles, find_images
from manyview.images.sources.copies import identical_files
from manyview.recipes.check.duplicates import MOST_SIGNS, SIGNS, grouped, same_pictures, signs
from manyview.recipes.check.photos import SIDE

RNG = np.random.default_rng(0)


def picture(seed: int, width: int = 160, height: int = 120) -> np.ndarray:
    """Blobs of any size, with a spectrum like that of photographs."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cells in (3, 6, 12, 24, 48):
        coarse = rng.normal(size=(cells, cells, 3)) / cells
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image -= image.min()
    return (255 * image / image.max()).astype(np.uint8)


def small(pixels: np.ndarray) -> np.ndarray:
    return cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def encoded(pixels: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


COPIES = {
    "quality 30": lambda pixels: encoded(pixels, 30),
    "half": lambda pixels: cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "double": lambda pixels: cv2.resize(pixels, None, fx=2, fy=2),
    "aspect": lambda pixels: cv2.resize(pixels, (160, 90), interpolation=cv2.INTER_AREA),
    "mirrored": lambda pixels: np.ascontiguousarray(pixels[:, ::-1]),
    "brighter": lambda pixels: np.clip(pixels * 0.8 + 40, 0, 255).astype(np.uint8),
}


def test_signs_are_those_of_the_definition() -> None:
    smalls = RNG.integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)
    for found, image in zip(signs(smalls), smalls.astype(np.float64), strict=True):
        waves = []
        for u, v in itertools.product(range(16), range(16)):
            if (u, v) != (0, 0):
                rows = [math.cos(math.pi * u * (2 * row + 1) / (2 * SIDE)) for row in range(SIDE)]
                columns = [math.cos(math.pi * v * (2 * column + 1) / (2 * SIDE)) for column in range(SIDE)]
                waves.append(float(np.array(rows) @ image @ np.array(columns)))
        expected = np.where(np.array(waves) > sorted(waves)[SIGNS // 2], 1, -1)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_and_nothing_else(name: str) -> None:
    originals = [picture(seed) for seed in range(40)]
    smalls = np.stack([small(each) for each in originals] + [small(COPIES[name](each)) for each in originals[::2]])
    found = list(same_pictures(smalls))
    expected = {(2 * number, 40 + number) for number in range(20)}
    assert {(one, other) for one, other, _, _ in found} == expected
    assert all(differing <= MOST_SIGNS for _, _, differing, _ in found)
    assert {mirrored for *_, mirrored in found} == {name == "mirrored"}


def test_unrelated_pictures_differ_in_about_half_of_the_signs() -> None:
    found = signs(np.stack([small(picture(seed)) for seed in range(200)]))
    differing = ((SIGNS - found @ found.T) / 2)[np.triu_indices(200, 1)]
    assert abs(differing.mean() - SIGNS / 2) < 3
    assert differing.min() > 1.5 * MOST_SIGNS


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    smalls = np.stack([small(picture(seed % 7)) for seed in range(23)])
    whole = sorted(same_pictures(smalls))
    assert len(whole) == sum(one % 7 == other % 7 for one, other in itertools.combinations(range(23), 2))
    monkeypatch.setattr("manyview.recipes.check.duplicates._BLOCK", 5)
    assert sorted(same_pictures(smalls)) == whole


def test_blank_pictures_are_no_copies_of_each_other() -> None:
    smalls = np.stack([np.full((SIDE, SIDE), value, np.uint8) for value in (0, 0, 200)])
    smalls[1, 3, 3] = 1
    assert list(same_pictures(smalls)) == []
    assert list(same_pictures(smalls[:0])) == []


def test_identical_files_by_their_bytes_alone(tmp_path: Path) -> None:
    long = RNG.bytes(300_000)
    middle = long[:150_000] + b"x" + long[150_001:]  # whose ends are the same
    contents = {
        "a.jpg": long,
        "b.jpg": middle,
        "c.jpg": long,
        "d.jpg": middle,
        "e.jpg": long[:-1] + bytes([long[-1] ^ 1]),
        "f.png": b"short",
        "g.png": b"short",
        "h.png": b"trohs",
        "i.png": b"",
        "j.png": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "k.jpg")
    os.mkfifo(tmp_path / "l.jpg")
    (tmp_path / "m.jpg").symlink_to("nowhere")
    files = find_images(tmp_path)
    assert [[files[index] for index in group] for group in identical_files(files)] == [
        *(["a.jpg", "c.jpg"], ["b.jpg", "d.jpg"], ["f.png", "g.png"])
    ]
    assert identical_files(ImageFiles(tmp_path, ["a.jpg", "b.jpg"])) == []


def test_groups_are_what_pairs_connect() -> None:
    assert grouped([]) == []
    assert grouped([(3, 4), (1, 2), (2, 5), (7, 3), (5, 1)]) == [[1, 2, 5], [3, 4, 7]]
    nodes = [tuple(map(int, RNG.choice(300, 2, replace=False))) for _ in range(120)]
    reach = np.eye(300, dtype=bool)
    for one, other in nodes:
        reach[one, other] = reach[other, one] = True
    for _ in range(9):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    expected = {tuple(np.flatnonzero(row).tolist()) for row in reach if row.sum() > 1}
    assert {tuple(group) for group in grouped(nodes)} == expected
