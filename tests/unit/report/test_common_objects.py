"""Common objects of positive pairs: counted against masks of pixels, by hand, and at the edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from manyview.config import BlockViewsConfig, ViewsConfig, WholeViewsConfig
from manyview.errors import UserError
from manyview.labels.boxes import ImageBoxes
from manyview.recipes import RECIPES
from manyview.report.common_objects import Cropping, PairMeasures, croppings, measure_pairs, measures, summarize
from manyview.report.common_objects.croppings import matched_control, sample_crops
from manyview.views import block_boxes, sample_views

Boxes = list[tuple[float, float, float, float]]
WHOLE = WholeViewsConfig(pairs=2, scale=(0.3, 1.0))


def images(sizes: list[tuple[int, int]], boxes: list[Boxes]) -> ImageBoxes:
    """Images of these sizes with these objects."""
    owners = [number for number, its_boxes in enumerate(boxes) for _ in its_boxes]
    flat = [box for its_boxes in boxes for box in its_boxes]
    return ImageBoxes(
        tuple(f"{number}.jpg" for number in range(len(sizes))),
        np.array(sizes, dtype=np.int64).reshape(-1, 2),
        np.array(flat, dtype=np.float64).reshape(-1, 4),
        np.array(owners, dtype=np.int64),
        np.zeros(len(flat), dtype=bool),
    )


def measure(
    boxes: ImageBoxes, views: ViewsConfig, shares: tuple[float, ...] = (0.5,), epochs: range = range(1)
) -> PairMeasures:
    kind = Cropping("usual", None, views)
    return measure_pairs(boxes, [kind], shares=shares, seed=0, epochs=epochs, indices=range(len(boxes.names)))


def with_crops(monkeypatch: pytest.MonkeyPatch, crops: list[Any], boxes: Boxes, share: float) -> list[float]:
    """Common, objects, different of one image of 100 x 100 pixels whose pairs have these crops."""
    monkeypatch.setattr(measures, "sample_crops", lambda *_, **__: np.array([crops]))
    return measure(images([(100, 100)], [boxes]), WHOLE, (share,)).per_share[0, 0, :, 0].tolist()


def mask(box: Any, width: int, height: int) -> np.ndarray:
    left, top, right, bottom = map(int, box)
    pixels = np.zeros((height, width), dtype=bool)
    pixels[top:bottom, left:right] = True
    return pixels


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("views", [WHOLE, BlockViewsConfig(overlap=0.2), BlockViewsConfig(grid=(2, 3))])
def test_against_masks_of_pixels(views: ViewsConfig, share: float) -> None:
    rng = np.random.default_rng(1)
    sizes = [(30, 20), (17, 40), (25, 25), (9, 9)]
    boxes: list[Boxes] = []
    for width, height in sizes:
        corners = [(rng.integers(0, width), rng.integers(0, height)) for _ in range(5)]
        ends = [(rng.integers(x + 1, width + 1), rng.integers(y + 1, height + 1)) for x, y in corners]
        boxes.append([(float(x), float(y), float(r), float(b)) for (x, y), (r, b) in zip(corners, ends, strict=True)])
    boxes[3] = []
    epochs = range(3, 7)
    result = measure(images(sizes, boxes), views, (share,), epochs)
    for number, (width, height) in enumerate(sizes):
        seen = []
        for epoch in epochs:
            parameters = sample_views(views, width, height, seed=0, epoch=epoch, image=number)
            for first, second in zip(parameters[::2], parameters[1::2], strict=True):
                a, b = mask(first.crop, width, height), mask(second.crop, width, height)
                shown = [
                    [
                        (crop & mask(box, width, height)).sum() >= share * mask(box, width, height).sum()
                        for crop in (a, b)
                    ]
                    for box in boxes[number]
                ]
                both = sum(all(views) for views in shown)
                only = any(view[0] for view in shown) and any(view[1] for view in shown) and not both
                area = (a.mean() + b.mean()) / 2
                seen.append([area, (a & b).sum() / (a | b).sum(), both > 0, both, only])
        expected = np.mean(np.array(seen, dtype=np.float64), axis=0)
        found = [*result.per_pair[0, :, number], *result.per_share[0, 0, :, number]]
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert result.has_object.tolist() == [True, True, True, False]


def test_images_in_several_chunks_count_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = images(
        [(20, 20 + number) for number in range(7)], [[(2, 2, 9.5, 18)], [], [(0, 0, 4, 4), (5, 5, 20, 9)]] * 2 + [[]]
    )
    calls: list[tuple[int, int]] = []

    def count(**options: Any) -> PairMeasures:
        kinds = [Cropping("usual", None, WHOLE), Cropping("blocks", 0.2, BlockViewsConfig())]
        return measure_pairs(boxes, kinds, shares=(0.3, 0.6), seed=0, epochs=range(2), indices=range(5, 12), **options)

    at_once = count()
    monkeypatch.setattr(measures, "_CHUNK", 3)
    in_parts = count(progress=lambda done, total: calls.append((done, total)))
    np.testing.assert_array_equal(in_parts.per_pair, at_once.per_pair)
    np.testing.assert_array_equal(in_parts.per_share, at_once.per_share)
    assert at_once.per_share.shape == (2, 2, 3, 7)
    assert calls == [(done, 6) for done in range(1, 7)]


QUARTERS = [(0, 0, 50, 50), (50, 0, 100, 50), (0, 50, 50, 100), (50, 50, 100, 100)]
SAME = [[quarter, quarter] for quarter in QUARTERS]


@pytest.mark.parametrize(
    ("boxes", "share", "expected"),
    [
        ([(10, 10, 20, 20)], 1.0, [0.25, 0.25, 0]),  # within one quarter
        ([(40, 10, 60, 20)], 0.5, [0.5, 0.5, 0]),  # half in each of two
        ([(40, 10, 60, 20)], 0.51, [0, 0, 0]),
        ([(40, 40, 60, 60)], 0.25, [1, 1, 0]),  # a quarter in each of four
        ([(0, 0, 100, 100)], 0.25, [1, 1, 0]),
        ([(0, 0, 100, 100)], 0.2501, [0, 0, 0]),
        ([(10, 10, 20, 20), (12, 12, 30, 30), (60, 60, 70, 70)], 1.0, [0.5, 0.75, 0]),
        ([(50, 50, 60, 60)], 1e-9, [0.25, 0.25, 0]),  # touches three others
        ([(0.5, 0.25, 49.75, 49.5)], 1.0, [0.25, 0.25, 0]),
        ([(0.1, 0.7, 49.9, 50.0)], 1.0, [0.25, 0.25, 0]),  # no rounding may push a whole box out of its crop
        ([], 0.5, [0, 0, 0]),
    ],
)
def test_by_hand_with_equal_crops(
    monkeypatch: pytest.MonkeyPatch, boxes: Boxes, share: float, expected: list[float]
) -> None:
    assert with_crops(monkeypatch, SAME, boxes, share) == expected


@pytest.mark.parametrize(
    ("boxes", "share", "expected"),
    [
        ([(10, 10, 20, 20), (60, 10, 70, 20)], 0.5, [0, 0, 1]),  # one object in each view, another one
        ([(10, 10, 20, 20)], 0.5, [0, 0, 0]),  # one view shows nothing
        ([(45, 10, 55, 20)], 0.5, [1, 1, 0]),  # half of it in each
        ([(45, 10, 55, 20), (10, 10, 20, 20), (60, 10, 70, 20)], 0.5, [1, 1, 0]),  # others do not matter then
        ([(46, 10, 56, 20), (10, 10, 20, 20)], 0.5, [0, 0, 1]),
    ],
)
def test_by_hand_with_different_crops(
    monkeypatch: pytest.MonkeyPatch, boxes: Boxes, share: float, expected: list[float]
) -> None:
    assert with_crops(monkeypatch, [[(0, 0, 50, 100), (50, 0, 100, 100)]], boxes, share) == expected


def test_area_and_overlap_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    crops = [[(0, 0, 50, 50), (25, 0, 75, 50)], [(0, 0, 10, 10), (10, 0, 20, 10)]]
    monkeypatch.setattr(measures, "sample_crops", lambda *_, **__: np.array([crops]))
    area, iou = measure(images([(100, 100)], [[]]), WHOLE).per_pair[0, :, 0]
    assert area == pytest.approx((0.25 + 0.25 + 0.01 + 0.01) / 4)
    assert iou == pytest.approx((1 / 3 + 0) / 2)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, math.nan])
def test_shares_out_of_range(share: float) -> None:
    with pytest.raises(UserError, match="give a number above 0, at most 1"):
        measure(images([(9, 9)], [[]]), WHOLE, (0.5, share))


def test_types_of_cropping() -> None:
    usual, blocks = WholeViewsConfig(), BlockViewsConfig(scale=(0.1, 0.9), ratio=(0.5, 2.0), size=32)
    found = croppings(blocks, usual, (0.0, 0.35))
    assert [(each.name, each.overlap) for each in found] == [
        ("usual", None),
        *[(name, overlap) for overlap in (0.0, 0.35) for name in ("blocks", "control", "moved")],
    ]
    assert found[0].views is usual
    assert found[4].views == blocks.model_copy(update={"overlap": 0.35})
    assert found[6].views == blocks.model_copy(update={"overlap": 0.35, "placement": "anywhere"})
    assert croppings(found[6].views, usual, (0.35,)) == (found[0], *found[4:])
    control = found[5].views
    assert isinstance(control, WholeViewsConfig)
    assert control.scale == pytest.approx((0.1 * 0.85**2, 0.9 * 0.85**2), rel=1e-5)
    assert (control.pairs, control.ratio) == (4, (0.5, 2.0))


def test_the_control_of_the_papers_blocks_is_the_recipe() -> None:
    recipe = RECIPES["simsiam-4pairs"]["views"]
    control = matched_control(BlockViewsConfig(overlap=0.2))
    assert control.pairs == recipe["pairs"]
    assert control.scale == pytest.approx(recipe["scale"], rel=1e-5)


def test_the_control_of_a_grid_has_its_pairs_and_its_scale() -> None:
    control = matched_control(BlockViewsConfig(overlap=0.25, grid=(2, 5), scale=(0.2, 1.0)))
    assert control.pairs == 10
    assert control.scale == pytest.approx((0.2 * 0.75 * 0.3, 0.75 * 0.3), rel=1e-5)


def test_crops_are_those_of_the_run() -> None:
    views = BlockViewsConfig(overlap=0.3, jitter=0.7, blur=(0.5, 0.1), solarize=(0.0, 0.2))
    sizes = np.array([(50, 40), (33, 90)])
    crops = sample_crops(Cropping("blocks", 0.3, views), sizes, seed=4, epoch=2, indices=[9, 5])
    for number, (index, (width, height)) in enumerate([(9, (50, 40)), (5, (33, 90))]):
        expected = [view.crop for view in sample_views(views, width, height, seed=4, epoch=2, image=index)]
        assert crops[number].reshape(-1, 4).tolist() == [list(crop) for crop in expected]


def test_blocks_that_are_the_whole_image_crop_as_their_control() -> None:
    _, blocks, control, _ = croppings(BlockViewsConfig(), WholeViewsConfig(), (0.5,))
    sizes = np.array([(50, 40)] * 20)
    one, other = (sample_crops(kind, sizes, seed=0, epoch=0, indices=range(20)) for kind in (blocks, control))
    np.testing.assert_array_equal(one, other)


def test_moved_crops_have_the_blocks_sizes_and_any_place() -> None:
    _, blocks, _, moved = croppings(BlockViewsConfig(), WholeViewsConfig(), (0.0,))
    count = 800
    sizes = np.tile([(41, 30)], (count, 1))
    options: dict[str, Any] = {"seed": 1, "epoch": 0, "indices": range(count)}
    before, after = (sample_crops(kind, sizes, **options) for kind in (blocks, moved))
    np.testing.assert_array_equal(after[..., 2:] - after[..., :2], before[..., 2:] - before[..., :2])
    np.testing.assert_array_equal(sample_crops(moved, sizes, **options), after)
    assert after.min() >= 0
    assert (after[..., 2] <= 41).all()
    assert (after[..., 3] <= 30).all()
    # The share of its room that lies before a crop is uniform: mean .5, variance 1/12 and a little for whole pixels.
    for axis, side in enumerate((41, 30)):
        room = side - (after[..., 2 + axis] - after[..., axis])
        place = (after[..., axis] + 0.5) / (room + 1)
        assert place.mean() == pytest.approx(0.5, abs=0.02)
        assert np.var(place) == pytest.approx(1 / 12, rel=0.05)
    # Block 0 is at the top left; its moved crops are not.
    assert (before[:, 0, :, :2].max(axis=(0, 1)) <= np.array(block_boxes(41, 30, 0)[0][2:])).all()
    assert (after[:, 0, :, 2:] > np.array([22, 16])).any(axis=(0, 1)).all()


def made_up(common: np.ndarray, has_object: np.ndarray) -> PairMeasures:
    """Measures whose "common" is given for each cropping, and whose other figures follow from it."""
    kinds = croppings(BlockViewsConfig(), WholeViewsConfig(), (0.2,))
    per_share = np.stack([common, 2 * common, 0.1 * common], axis=1)[:, None]
    return PairMeasures(kinds, (0.5,), np.stack([common / 4, common / 8], axis=1), per_share, has_object)


def test_means_over_images_with_objects_and_over_all() -> None:
    common = np.array([[1.0, 0.5, 0.0, 0.0]] * 4) * np.array([[1.0], [0.8], [0.4], [0.2]])
    result = summarize(made_up(common, np.array([True, True, True, False])), seed=0)
    usual, blocks, control, moved = result["results"]
    assert [row["cropping"] for row in result["results"]] == ["usual", "blocks", "control", "moved"]
    assert (usual["overlap"], usual["pairs"], blocks["overlap"], blocks["pairs"]) == (None, 1, 0.2, 4)
    assert usual["with_objects"]["shares"][0]["common"] == pytest.approx(0.5)
    assert usual["all"]["shares"][0]["common"] == pytest.approx(0.375)
    assert usual["with_objects"]["area"] == pytest.approx(0.125)
    assert usual["with_objects"]["iou"] == pytest.approx(0.0625)
    assert blocks["with_objects"]["shares"][0]["objects"] == pytest.approx(0.8)
    assert blocks["with_objects"]["shares"][0]["different"] == pytest.approx(0.04)
    assert control["all"]["shares"][0]["common"] == pytest.approx(0.15)
    assert moved["with_objects"]["shares"][0]["share"] == 0.5
    differences = {row["minus"]: row["common"] for row in result["differences"]}
    assert differences == {"control": pytest.approx(0.2), "moved": pytest.approx(0.3)}


def test_intervals_are_those_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    count = 1000
    common = rng.binomial(4, 0.3, (4, count)) / 4
    common[2] = common[1] - 0.01  # a control that is worse on each image by the same
    result = summarize(made_up(common, np.ones(count, dtype=bool)), seed=3)
    for row, values in zip(result["results"], common, strict=True):
        entry = row["with_objects"]["shares"][0]
        half = 1.96 * values.std(ddof=1) / math.sqrt(count)
        low, high = entry["common_interval"]
        assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
        assert high == pytest.approx(values.mean() + half, abs=0.15 * half)
    control, moved = result["differences"]
    assert control["common_interval"] == pytest.approx([0.01, 0.01])  # paired: no image says otherwise
    half = 1.96 * (common[1] - common[3]).std() / math.sqrt(count)
    assert moved["common_interval"][1] - moved["common_interval"][0] == pytest.approx(2 * half, rel=0.1)
    assert summarize(made_up(common, np.ones(count, dtype=bool)), seed=3) == result
