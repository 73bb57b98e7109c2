"""The picture of neighbors: images, outlines and words are at their positions."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from manyview.errors import UserError
from manyview.report.neighbours_picture import _short, check_size, neighbours_picture, write_neighbours
from manyview.views import block_boxes

IMAGES = {"query.png": (200, 60, 60), "first.png": (60, 200, 60), "sub/second.png": (60, 60, 200)}
SIZE = (240, 160)
SHADES = [(0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2), (0x00, 0x9E, 0x73), (0xCC, 0x79, 0xA7)]
CORNERS = ["top left", "top right", "bottom left", "bottom right"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of one color each."""
    folder = tmp_path_factory.mktemp("images")
    for name, color in IMAGES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", SIZE, color).save(folder / name)
    return folder


def result(rows: list[dict[str, Any]]) -> dict[str, Any]:
    protocol = {"photographs": 3, "images": "images", "weights": "w.safetensors", "backbone": "resnet18"}
    return {"protocol": {**protocol, "pool": "gamp", "size": 224, "bands": "rgb"}, "results": rows}


def whole() -> dict[str, Any]:
    found = [{"image": "first.png", "cosine": 0.9}, {"image": "sub/second.png", "cosine": 0.123}]
    return result([{"image": "query.png", "neighbours": found}])


def blocks() -> dict[str, Any]:
    boxes = block_boxes(*SIZE)

    def entry(name: str, number: int) -> dict[str, Any]:
        return {"image": name, "block": CORNERS[number], "box": list(boxes[number])}

    return result(
        [{**entry("query.png", n), "neighbours": [{**entry("first.png", 3 - n), "cosine": 0.5}]} for n in range(4)]
    )


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def place(picture: np.ndarray, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of all pixels of a color."""
    rows, columns = np.nonzero(np.abs(picture - color).max(axis=2) <= 3)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_the_query_stands_on_the_left_and_its_neighbours_follow_in_order(images: Path) -> None:
    picture = pixels(neighbours_picture(images, whole()))
    places = [place(picture, color) for color in IMAGES.values()]
    for before, after in itertools.pairwise(places):
        assert before[2] < after[0]
        assert abs(before[1] - after[1]) <= 2, "all begin at the same height"
    for left, top, right, bottom in places:
        assert (right - left) / (bottom - top) == pytest.approx(SIZE[0] / SIZE[1], rel=0.03)
    # Only the query has a dark frame.
    left, top, right, bottom = places[0]
    frame = picture[(top + bottom) // 2, left - 6 : left]
    assert frame.max(axis=1).min() < 60
    left, top, right, bottom = places[1]
    assert picture[(top + bottom) // 2, left - 6 : left].max(axis=1).min() > 150


def runs(present: np.ndarray) -> list[tuple[int, int]]:
    """Where runs of True begin and end."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(int)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def test_blocks_are_outlined_where_they_lie(images: Path) -> None:
    picture = pixels(neighbours_picture(images, blocks()))
    boxes = block_boxes(*SIZE)
    for name, order in (("query.png", (0, 1, 2, 3)), ("first.png", (3, 2, 1, 0))):
        mine = np.abs(picture - IMAGES[name]).max(axis=2) <= 3
        rows = runs(mine.sum(axis=1) > 50)
        assert len(rows) == 4
        left, _, right, _ = place(picture, IMAGES[name])
        for (top, bottom), shade, number in zip(rows, SHADES, order, strict=True):
            outline = np.abs(picture[top - 6 : bottom + 6, left - 6 : right + 6] - shade).max(axis=2) <= 3
            across, down = np.nonzero(outline.sum(axis=0) > 60)[0], np.nonzero(outline.sum(axis=1) > 60)[0]
            found = np.array([across.min(), down.min(), across.max() + 1, down.max() + 1]) - 6
            expected = np.array(boxes[number]) * (right - left) / SIZE[0]
            np.testing.assert_allclose(found, expected, atol=4)


def test_each_block_has_a_row_of_its_own(images: Path) -> None:
    picture = pixels(neighbours_picture(images, blocks()))
    tops = [place(picture, shade)[1] for shade in SHADES]
    assert tops == sorted(tops)
    assert np.diff(tops).min() > 150


def test_the_picture_and_what_it_shows_are_written_side_by_side(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "neighbours.png"
    beside = write_neighbours(images, whole(), out)
    assert beside == tmp_path / "new" / "neighbours.json"
    assert json.loads(beside.read_text()) == whole()
    assert out.read_bytes() == neighbours_picture(images, json.loads(beside.read_text()))


def test_an_image_that_is_gone_is_named(images: Path, tmp_path: Path) -> None:
    found = whole()
    found["results"][0]["neighbours"][1]["image"] = "gone.png"
    with pytest.raises(UserError, match=r"cannot draw .*gone\.png \(no such file\)"):
        write_neighbours(images, found, tmp_path / "n.png")
    assert list(tmp_path.iterdir()) == []


def test_images_of_many_bands_are_drawn_in_gray(tmp_path: Path) -> None:
    ramp = np.linspace(0, 4000, 40 * 60).reshape(40, 60).astype(np.uint16)
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, np.stack([ramp, ramp * 2, ramp, ramp, ramp], axis=2))
    found = result([{"image": "a.npy", "neighbours": [{"image": "b.npy", "cosine": 1.0}]}])
    found["protocol"]["bands"] = 5
    picture = pixels(neighbours_picture(tmp_path, found))
    gray = (np.ptp(picture, axis=2) == 0) & (picture[..., 0] > 40) & (picture[..., 0] < 215)
    assert gray.sum() > 2 * 150 * 100


def test_too_large_a_picture_is_refused_before_the_work() -> None:
    check_size(6, 6, blocks=True)
    for queries, k, blocks in ((300, 6, False), (80, 6, True), (6, 300, False)):
        with pytest.raises(UserError, match="at most 65,535 can be drawn"):
            check_size(queries, k, blocks)


def test_long_names_lose_their_middle() -> None:
    assert _short("2008_000123.jpg") == "2008_000123.jpg"
    short = _short("holidays/2008/summer/IMG_000123_edited.jpg")
    assert len(short) == 24
    assert short.startswith("holida...")
    assert short.endswith("3_edited.jpg")
