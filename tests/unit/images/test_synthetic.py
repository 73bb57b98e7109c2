from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyview.errors import UserError
from manyview.images import KINDS, find_images, read_labels, render_scene, synthetic, write_scenes
from manyview.images.kinds import PAINTERS


def plane(side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    steps = np.linspace(-1.3, 1.3, side, dtype=np.float32)
    x, y = np.meshgrid(steps, steps)
    return x, y


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_fills_its_circle_and_bears_two_tones(kind: str) -> None:
    x, y = plane()
    for seed in range(5):
        inside, second = PAINTERS[kind](x, y, np.random.default_rng(seed))
        assert not inside[np.hypot(x, y) > 1.02].any()
        assert 0.15 < inside.sum() / (np.hypot(x, y) < 1).sum() < 0.95
        assert 0.08 < second[inside].mean() < 0.8


def test_kinds_differ_by_outline_or_pattern() -> None:
    x, y = plane()
    drawn = {}
    for kind, painter in PAINTERS.items():
        inside, second = painter(x, y, np.random.default_rng(0))
        drawn[kind] = np.where(inside, np.where(second, 1, -1), 0)
    for a in KINDS:
        for b in KINDS:
            same = (drawn[a] == drawn[b])[(drawn[a] != 0) | (drawn[b] != 0)].mean()
            assert same < 0.75 or a == b, (a, b)


def test_colour_says_nothing_about_the_kind() -> None:
    rng = np.random.default_rng(0)
    means = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for _ in range(150):
            alpha, colour = synthetic._paint(rng, kind, 8.0, (0.6, -0.8))
            means[kind].append((alpha * colour).sum((1, 2)) / alpha.sum())
    overall = np.mean([np.mean(values, axis=0) for values in means.values()], axis=0)
    for kind, values in means.items():
        spread = np.std(values, axis=0)
        assert (spread > 0.08).all()
        assert (np.abs(np.mean(values, axis=0) - overall) < 4.5 * spread / np.sqrt(150)).all(), kind


def test_a_scene_is_decided_by_its_seed() -> None:
    pixels, labels = render_scene(5, (96, 64))
    assert pixels.shape == (64, 96, 3)
    assert pixels.dtype == np.uint8
    again, same = render_scene(5, (96, 64))
    np.testing.assert_array_equal(pixels, again)
    assert labels == same
    assert (render_scene(6, (96, 64))[0] != pixels).mean() > 0.9


def test_scenes_hold_several_kinds_each_as_often() -> None:
    scenes = [render_scene(seed, (48, 48)) for seed in range(300)]
    placed = Counter(len(labels) for _, labels in scenes)
    assert set(placed) <= {0, 1, 2, 3, 4, 5}
    assert sum(count for number, count in placed.items() if number >= 2) > 0.85 * len(scenes)
    share = Counter(kind for _, labels in scenes for kind in labels)
    assert set(share) == set(KINDS)
    assert all(0.22 < count / len(scenes) < 0.45 for count in share.values())
    brightness = [pixels.mean() for pixels, _ in scenes]
    assert 60 < np.mean(brightness) < 180
    assert np.std(brightness) > 15


def square(kind: str, left: int, top: int, side: int = 20) -> synthetic._Thing:
    ones = np.ones((side, side), dtype=np.float32)
    return synthetic._Thing(kind, (left + side / 2, top + side / 2), side / 2, ones, np.stack([ones] * 3))


@pytest.mark.parametrize(
    ("things", "seen"),
    [
        ([square("ball", 10, 10), square("star", 40, 40)], {"ball", "star"}),
        ([square("ball", 10, 10), square("star", 19, 10)], {"star"}),  # 9 of 20 columns left
        ([square("ball", 10, 10), square("star", 21, 10)], {"ball", "star"}),  # 11 of 20
        ([square("ball", 10, 10), square("star", 2, 10), square("leaf", 24, 10)], {"leaf", "star"}),  # 2 columns left
        ([square("ball", 10, 10), square("star", 22, 10), square("leaf", 25, 10)], {"ball", "leaf"}),  # twice the same
        ([square("ball", -11, 10), square("star", -9, 40)], {"star"}),  # cut off by the border
        ([square("ball", 53, 54), square("star", 53, 0)], {"star"}),  # 11 x 10 of 20 x 20, and 11 x 20
        ([square("ball", 80, 10), square("star", 10, -40)], set()),  # wholly outside
    ],
)
def test_labels_are_what_can_be_seen(
    things: list[synthetic._Thing], seen: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "_things", lambda *arguments: things)
    assert render_scene(0, (64, 64))[1] == seen


def test_objects_are_painted_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    blank = render_without_things(monkeypatch, [])
    pixels = render_without_things(monkeypatch, [square("ball", 10, 30)])
    inside = np.zeros((64, 64), dtype=bool)
    inside[30:50, 10:30] = True
    ratio = pixels.astype(float).mean(2) / blank.astype(float).mean(2)
    assert (ratio[inside] > 1).all()  # the square is white
    assert (ratio[~inside] < 1.02).all()
    assert (ratio[~inside] < 0.9).sum() > 20  # its shadow


def render_without_things(monkeypatch: pytest.MonkeyPatch, things: list[synthetic._Thing]) -> np.ndarray:
    monkeypatch.setattr(synthetic, "_things", lambda *arguments: things)
    return render_scene(3, (64, 64))[0]


def test_written_scenes_can_be_read_back(tmp_path: Path) -> None:
    write_scenes(tmp_path, 20, seed=4, val_share=0.25, size=(48, 40))
    train = read_labels(tmp_path / "train.csv", tmp_path / "images", KINDS)
    val = read_labels(tmp_path / "val.csv", tmp_path / "images", KINDS)
    assert (len(train.names), len(val.names)) == (15, 5)
    assert [*train.names, *val.names] == list(find_images(tmp_path / "images"))
    assert all(name.startswith("synthetic-") for name in train.names)
    with Image.open(tmp_path / "images" / val.names[0]) as image:
        assert image.size == (48, 40)
    assert train.targets.sum(1).mean() > 2


def test_the_same_call_writes_the_same_and_another_seed_another_set(tmp_path: Path) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    for name, count, seed in (("a", 6, 0), ("more", 8, 0), ("other", 6, 1)):
        write_scenes(tmp_path / name, count, seed, size=(32, 32))
    first = contents(tmp_path / "a")
    write_scenes(tmp_path / "a", 6, 0, size=(32, 32))
    assert contents(tmp_path / "a") == first
    more, other = contents(tmp_path / "more"), contents(tmp_path / "other")
    pictures = [name for name in first if name.endswith(".jpg")]
    assert len(pictures) == 6
    assert all(more[name] == first[name] != other[name] for name in pictures)


def test_scenes_are_not_mixed_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.jpg").touch()
    with pytest.raises(UserError, match=r"holds other files, such as mine\.jpg"):
        write_scenes(tmp_path, 2)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write synthetic scenes to .*file: "):
        write_scenes(tmp_path / "file", 2)
