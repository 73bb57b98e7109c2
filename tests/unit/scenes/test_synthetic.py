from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from manyview.scenes import CATEGORIES, render_scene
from manyview.scenes import render as synthetic
from manyview.scenes.places import MOST
from manyview.scenes.shapes import PAINTERS


def plane(side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    steps = np.linspace(-1.3, 1.3, side, dtype=np.float32)
    x, y = np.meshgrid(steps, steps)
    return x, y


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_category_fills_its_circle_and_has_two_colors(category: str) -> None:
    x, y = plane()
    for seed in range(5):
        inside, second = PAINTERS[category](x, y, np.random.default_rng(seed))
        assert not inside[np.hypot(x, y) > 1.02].any()
        assert 0.15 < inside.sum() / (np.hypot(x, y) < 1).sum() < 0.95
        assert 0.08 < second[inside].mean() < 0.8


def test_categories_differ_by_outline_or_pattern() -> None:
    x, y = plane()
    drawn = {}
    for category, painter in PAINTERS.items():
        inside, second = painter(x, y, np.random.default_rng(0))
        drawn[category] = np.where(inside, np.where(second, 1, -1), 0)
    for a in CATEGORIES:
        for b in CATEGORIES:
            same = (drawn[a] == drawn[b])[(drawn[a] != 0) | (drawn[b] != 0)].mean()
            assert same < 0.75 or a == b, (a, b)


def test_color_says_nothing_about_the_category() -> None:
    rng = np.random.default_rng(0)
    means = {category: [] for category in CATEGORIES}
    for category in CATEGORIES:
        for _ in range(150):
            alpha, color = synthetic._paint(rng, category, 8.0, (0.6, -0.8))
            means[category].append((alpha * color).sum((1, 2)) / alpha.sum())
    overall = np.mean([np.mean(values, axis=0) for values in means.values()], axis=0)
    for category, values in means.items():
        spread = np.std(values, axis=0)
        assert (spread > 0.08).all()
        assert (np.abs(np.mean(values, axis=0) - overall) < 4.5 * spread / np.sqrt(150)).all(), category


def test_a_scene_is_decided_by_its_seed() -> None:
    pixels, objects = render_scene(5, (96, 64))
    assert pixels.shape == (64, 96, 3)
    assert pixels.dtype == np.uint8
    again, same = render_scene(5, (96, 64))
    np.testing.assert_array_equal(pixels, again)
    assert [category for category, _ in objects] == [category for category, _ in same]
    np.testing.assert_array_equal([mask for _, mask in objects], [mask for _, mask in same])
    assert (render_scene(6, (96, 64)).pixels != pixels).mean() > 0.9


def test_scenes_hold_several_objects_and_each_category_about_as_often() -> None:
    scenes = [render_scene(seed, (48, 48)) for seed in range(300)]
    placed = np.array([len(objects) for _, objects in scenes])
    assert placed.max() <= MOST
    assert (placed >= 4).mean() > 0.9
    share = Counter(category for _, objects in scenes for category in {name for name, _ in objects})
    assert set(share) == set(CATEGORIES)
    assert all(0.12 < count / len(scenes) < 0.42 for count in share.values()), share
    brightness = [pixels.mean() for pixels, _ in scenes]
    assert 60 < np.mean(brightness) < 180
    assert np.std(brightness) > 15


def square(category: str, left: int, top: int, side: int = 20) -> synthetic._Object:
    ones = np.ones((side, side), dtype=np.float32)
    return synthetic._Object(category, (left + side / 2, top + side / 2), side / 2, ones, np.stack([ones] * 3))


@pytest.mark.parametrize(
    ("objects", "seen"),
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
    objects: list[synthetic._Object], seen: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {category for category, _ in rendered(monkeypatch, objects).objects} == seen


def test_a_mask_is_what_can_be_seen_of_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """The star lies over a part of the ball, and so does the leaf, which itself is mostly beyond the border."""
    objects = [square("ball", 10, 10), square("star", 22, 15), square("leaf", 12, -11)]
    ball, star = (np.zeros((64, 64), dtype=bool) for _ in range(2))
    star[15:35, 22:42] = True
    ball[10:30, 10:30] = True
    ball[0:9, 12:32] = False
    ball[star] = False
    leaf = ball.copy()
    check_masks(monkeypatch, objects, {"ball": ball, "star": star})
    objects[2] = square("leaf", 12, -8)  # 12 of 20 rows
    ball[10:12, 12:32] = False
    leaf = np.zeros((64, 64), dtype=bool)
    leaf[0:12, 12:32] = True
    check_masks(monkeypatch, objects, {"ball": ball, "star": star, "leaf": leaf})


def test_a_pixel_belongs_to_the_uppermost_object_that_covers_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    below, above = square("ball", 10, 10), square("star", 20, 10)
    above.alpha[:, :5], above.alpha[:, 5:10] = 0.25, 0.5
    ball, star = (np.zeros((64, 64), dtype=bool) for _ in range(2))
    ball[10:30, 10:25] = True
    star[10:30, 25:40] = True
    check_masks(monkeypatch, [below, above], {"ball": ball, "star": star})


def check_masks(
    monkeypatch: pytest.MonkeyPatch, objects: list[synthetic._Object], expected: dict[str, np.ndarray]
) -> None:
    found = rendered(monkeypatch, objects).objects
    assert [category for category, _ in found] == list(expected)
    for category, mask in found:
        np.testing.assert_array_equal(mask, expected[category], err_msg=category)


@pytest.mark.parametrize("seed", range(12))
def test_masks_are_where_an_objects_color_is_seen(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (96, 80)
    objects = synthetic._objects(CATEGORIES[:7], np.random.default_rng(seed), *size, (0.6, -0.8))
    masks = dict(rendered(monkeypatch, objects, seed, size).objects)
    assert len(masks) > 3
    assert sum(mask.astype(int) for mask in masks.values()).max() == 1
    for place, item in enumerate(objects):
        if item.category not in masks:
            continue
        dark, light = (
            rendered(monkeypatch, [*objects[:place], replace(item, color=color), *objects[place + 1 :]], seed, size)
            for color in (np.zeros_like(item.color), np.ones_like(item.color))
        )
        mask, changed = masks[item.category], (light.pixels > dark.pixels).any(axis=2)
        assert changed[mask].all()
        grown = Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(5))  # by pixels covered in part
        assert not changed[np.asarray(grown) == 0].any()


def rendered(
    monkeypatch: pytest.MonkeyPatch, objects: list[synthetic._Object], seed: int = 0, size: tuple[int, int] = (64, 64)
) -> synthetic.Scene:
    monkeypatch.setattr(synthetic, "_objects", lambda *arguments: objects)
    return render_scene(seed, size)


def test_objects_are_painted_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    blank = rendered(monkeypatch, [], 3, (64, 64)).pixels
    pixels = rendered(monkeypatch, [square("ball", 10, 30)], 3, (64, 64)).pixels
    inside = np.zeros((64, 64), dtype=bool)
    inside[30:50, 10:30] = True
    ratio = pixels.astype(float).mean(2) / blank.astype(float).mean(2)
    assert (ratio[inside] > 1).all()  # the square is white
    assert (ratio[~inside] < 1.02).all()
    assert (ratio[~inside] < 0.9).sum() > 20  # its shadow
