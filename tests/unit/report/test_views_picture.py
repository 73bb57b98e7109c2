"""The picture of the views: that each view stands where it belongs, in the color of its pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyview.config import (
    BlockAndWholeViewsConfig,
    BlockViewsConfig,
    GroupedViewsConfig,
    ViewsConfig,
    WholeViewsConfig,
)
from manyview.errors import UserError
from manyview.report import draw_views, sheet, show, views_picture
from manyview.report.shown import columns, deeds, explanation, one_color, settings, title
from manyview.views import render_view, sample_view

QUARTERS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30)]
FRAMES = [(0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2), (0x00, 0x9E, 0x73), (0xCC, 0x79, 0xA7)]

MULTI_CROP = GroupedViewsConfig(groups=[{"size": 32}, {"size": 16, "count": 6, "scale": [0.05, 0.14]}])


def quartered(width: int = 80, height: int = 60) -> np.ndarray:
    """An image whose quarters have one color each."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = QUARTERS[0], QUARTERS[1]
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = QUARTERS[2], QUARTERS[3]
    return image


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def unaltered(overlap: float = 0.0, size: int = 64) -> BlockViewsConfig:
    return BlockViewsConfig(overlap=overlap, size=size, flip=0, jitter=0, grayscale=0, blur=(0, 0))


def test_a_long_name_keeps_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[str] = []
    monkeypatch.setattr(sheet.Sheet, "text", lambda self, left, top, text, *_, **__: words.append(text))
    name = "2021/holiday/IMG_20210403_132434_of_a_name_without_any_blank_HDR.jpg"
    draw_views([(name, quartered())], unaltered(), seed=0, epoch=0, indices=[0], out=tmp_path / "views.png")
    [shown] = [text for text in words if text.startswith("2021/")]
    assert len(shown) <= 52
    assert shown.endswith("_HDR.jpg")


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of a third of the resolution, which takes less time to draw and to compress."""
    monkeypatch.setattr(sheet, "_DPI", 50)


def where(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture.astype(int) - color).max(axis=2) <= 2


def test_each_pair_stands_in_its_column_and_its_color(tmp_path: Path) -> None:
    out = tmp_path / "new" / "views.png"
    draw_views([("photo.jpg", quartered())], unaltered(), seed=0, epoch=0, indices=[0], out=out)
    picture = pixels(out)
    right_of_the_image = picture[:, int(0.4 * picture.shape[1]) :]
    previous = -1.0
    for quarter, frame in zip(QUARTERS, FRAMES, strict=True):
        view_rows, view_columns = np.nonzero(where(right_of_the_image, quarter))
        _, frame_columns = np.nonzero(where(right_of_the_image, frame))
        assert len(view_rows) > 2 * 150**2, "two views of at least an inch must show this quarter"
        assert view_columns.min() > previous, "columns follow the order of the blocks"
        previous = view_columns.max()
        assert frame_columns.min() < view_columns.min() < view_columns.max() < frame_columns.max()
        assert frame_columns.max() - view_columns.max() < 10
        gap = np.diff(np.unique(view_rows)).max()
        assert gap > 10, "the second view stands below the first"


@pytest.mark.usefixtures("coarse")
def test_the_views_are_those_of_the_run(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    config = BlockViewsConfig(size=16, grid=(1, 1))

    def draw(seed: int = 0, epoch: int = 0, index: int = 4) -> np.ndarray:
        out = tmp_path / "views.png"
        draw_views([("a.jpg", image)], config, seed=seed, epoch=epoch, indices=[index], out=out)
        return pixels(out)

    first = draw()
    np.testing.assert_array_equal(draw(), first)
    for changed in (draw(epoch=1), draw(seed=1), draw(index=5)):
        assert not np.array_equal(changed[-100:, 233:], first[-100:, 233:])


ODD = [
    ((1, 1), "cost $5 and $6.jpg"),
    ((400, 20), "写真\udcff.jpg"),
    ((20, 400), "a" * 200 + " " + "b" * 200),
]


@pytest.mark.parametrize(
    ("config", "odd"),
    [
        (WholeViewsConfig(size=16), ODD),
        (WholeViewsConfig(size=16, pairs=5, solarize=(1.0, 1.0)), ODD[:1]),
        (BlockViewsConfig(size=16, overlap=0.5, grayscale=1.0), ODD[1:]),
        (BlockViewsConfig(size=16, grid=(3, 2)), ODD[2:]),
        (BlockViewsConfig(size=16, grid=(1, 1)), ODD),
        (BlockAndWholeViewsConfig(size=16, pairs=2), ODD[1:2]),
        (
            GroupedViewsConfig(
                groups=[{"size": 16}, {"size": 8, "count": 5}, {"size": 8, "source": "both", "count": 1}]
            ),
            ODD[:1],
        ),
    ],
    ids=["two views", "five pairs", "full overlap", "six blocks", "one block", "blocks and the whole", "groups"],
)
@pytest.mark.usefixtures("coarse")
def test_odd_images_and_names(tmp_path: Path, config: ViewsConfig, odd: list[tuple[tuple[int, int], str]]) -> None:
    images = [(name, quartered(width, height)) for (width, height), name in odd]
    draw_views(images, config, seed=0, epoch=0, indices=range(len(images)), out=tmp_path / "odd.png")
    assert len(pixels(tmp_path / "odd.png")) > 100 * len(images)


@pytest.mark.usefixtures("coarse")
def test_pictures_of_more_images_are_taller_not_wider(tmp_path: Path) -> None:
    images = [(f"{number}.jpg", quartered()) for number in range(3)]
    config = unaltered().model_copy(update={"grid": (1, 1)})
    for count in (1, 3):
        draw_views(images[:count], config, seed=0, epoch=0, indices=range(count), out=tmp_path / f"{count}.png")
    (height, width, _), (taller, same_width, _) = (pixels(tmp_path / f"{count}.png").shape for count in (1, 3))
    assert width == same_width
    assert taller > height + 2 * 100


def test_a_row_of_the_grid_stands_in_a_line(tmp_path: Path) -> None:
    """Six blocks without overlap in two rows of three, each of its own gray level."""
    grays = np.arange(40, 240, 36, dtype=np.uint8)[:6].reshape(2, 3)
    image = grays.repeat(30, 0).repeat(30, 1)[..., None].repeat(3, 2)
    config = unaltered().model_copy(update={"grid": (2, 3)})
    out = tmp_path / "views.png"
    draw_views([("a.png", image)], config, seed=0, epoch=0, indices=[0], out=out)
    picture = pixels(out)
    right = picture[:, int(0.55 * picture.shape[1]) :]
    places = [np.argwhere(where(right, (int(gray),) * 3)).mean(axis=0) for gray in grays.ravel()]
    rows, columns = np.array(places).reshape(2, 3, 2).transpose(2, 0, 1)
    assert np.ptp(rows, axis=1).max() < 30, "the blocks of a row of the grid are in one line"
    assert np.ptp(columns, axis=0).max() < 30, "those of a column below each other"
    assert (np.diff(rows, axis=0) > 300).all()
    assert (np.diff(columns, axis=1) > 150).all()


def test_usual_cropping_stands_on_the_right(tmp_path: Path) -> None:
    """The image's last column of pixels tells the usual views, which show all of it, from those of the blocks."""
    image = np.full((60, 80, 3), 128, dtype=np.uint8)
    image[:20, :20] = QUARTERS[0]  # in the first block alone
    usual = WholeViewsConfig(size=64, scale=(1, 1), ratio=(4 / 3, 4 / 3), flip=0, jitter=0, grayscale=0, blur=(0, 0))
    without, beside = tmp_path / "without.png", tmp_path / "beside.png"
    for out, its_usual in ((without, None), (beside, usual)):
        draw_views([("a.png", image)], unaltered(), seed=0, epoch=0, indices=[0], out=out, usual=its_usual)
    plain, wide = pixels(without), pixels(beside)
    assert wide.shape[1] - plain.shape[1] > 3 * 150
    added = wide[:, plain.shape[1] - 20 :]
    red = where(added, QUARTERS[0])
    rows, columns = np.nonzero(red)
    # A copy of the image on the left, then two views below each other.
    copy, views = columns < 2 * 150, columns > 2.1 * 150
    assert (copy | views).all()
    assert copy.sum() == pytest.approx((1.9 * 150 / 4) * (1.9 * 150 / 4), rel=0.2)
    assert views.sum() == pytest.approx(2 * (1.4 * 150 / 4) * (1.4 * 150 / 3), rel=0.2)
    assert np.diff(np.unique(rows[views])).max() > 100


def test_usual_views_have_the_runs_seed_epoch_and_index() -> None:
    usual = WholeViewsConfig(size=16)
    shown = show("a.jpg", quartered(), unaltered(), usual, seed=3, epoch=2, index=7)
    assert shown.usual is not None
    assert shown.usual.parameters == tuple(
        sample_view(usual, 80, 60, seed=3, epoch=2, image=7, view=view) for view in range(2)
    )
    assert shown.views.parameters[5] == sample_view(unaltered(), 80, 60, seed=3, epoch=2, image=7, view=5)


def test_large_images_are_kept_small() -> None:
    image = np.zeros((3000, 5000, 3), dtype=np.uint8)
    shown = show("a.jpg", image, unaltered(), seed=0, epoch=0, index=0)
    assert (shown.width, shown.height) == (5000, 3000)
    assert shown.picture.shape == (600, 1000, 3)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (BlockViewsConfig(), {0: "top left block", 1: "top right block", 2: "bottom left block"}),
        (BlockViewsConfig(grid=(3, 2)), {0: "row 1, column 1", 1: "row 1, column 2", 4: "row 3, column 1"}),
        (BlockViewsConfig(grid=(1, 4)), {3: "row 1, column 4"}),
        (WholeViewsConfig(pairs=3), {0: "pair 1", 2: "pair 3"}),
        (WholeViewsConfig(), {0: "pair 1"}),
        (BlockAndWholeViewsConfig(), {3: "bottom right block", 4: "whole image"}),
        (
            BlockAndWholeViewsConfig(pairs=2),
            {3: "bottom right block", 4: "whole image, pair 1", 5: "whole image, pair 2"},
        ),
        (MULTI_CROP, {0: "pair 1, 32 px", 1: "pair 1, 16 px", 3: "pair 3, 16 px"}),
        (
            GroupedViewsConfig(groups=[{}, {"count": 3}]),
            {0: "pair 1, group 1", 1: "pair 1, group 2", 2: "single view, group 2"},
        ),
    ],
)
def test_names_of_pairs(config: ViewsConfig, names: dict[int, str]) -> None:
    found = columns(config)
    assert {pair: found[pair].name for pair in names} == names
    assert [view for column in found for view in column.views] == list(range(sum(g.count for g in config.layout)))


def test_columns_of_what_a_method_takes_together() -> None:
    """All eight views of multi-crop are one set, as those of DINO are: of one color, two in a column."""
    found = columns(MULTI_CROP, [tuple(range(8))])
    assert [(column.name, column.views) for column in found] == [
        *(("2 views, 32 px", (0, 1)), ("6 views, 16 px", (2, 3)), ("", (4, 5)), ("", (6, 7)))
    ]
    assert {column.positives for column in found} == {0}
    found = columns(BlockViewsConfig(grid=(1, 2)), [(0, 1, 2, 3)])
    assert [(column.name, column.positives, column.outlined) for column in found] == [
        *(("row 1, column 1", 0, True), ("row 1, column 2", 0, True))
    ]


def test_one_block_is_outlined_once() -> None:
    config = GroupedViewsConfig(groups=[{"source": "both", "count": 4, "grid": [1, 2]}])
    assert [(column.name, column.outlined) for column in columns(config)] == [
        ("row 1, column 1, pair 1", True),
        ("row 1, column 1, pair 2", False),
        ("row 1, column 2, pair 1", True),
        ("row 1, column 2, pair 2", False),
        ("whole image, pair 1", False),
        ("whole image, pair 2", False),
    ]


def test_views_of_groups_are_those_of_the_run_in_their_sizes() -> None:
    shown = show("a.jpg", quartered(), MULTI_CROP, seed=3, epoch=2, index=7)
    assert [pixels.shape for pixels in shown.views.pixels] == [(32, 32, 3)] * 2 + [(16, 16, 3)] * 6
    for view, (parameters, drawn) in enumerate(zip(shown.views.parameters, shown.views.pixels, strict=True)):
        assert parameters == sample_view(MULTI_CROP, 80, 60, seed=3, epoch=2, image=7, view=view)
        np.testing.assert_array_equal(drawn, render_view(quartered(), parameters, 32 if view < 2 else 16))


def test_blocks_and_the_whole_stand_in_one_line(tmp_path: Path) -> None:
    options = {"size": 64, "flip": 0, "jitter": 0, "grayscale": 0, "blur": (0, 0)}
    config = BlockAndWholeViewsConfig(overlap=0.0, scale=(1, 1), ratio=(4 / 3, 4 / 3), **options)
    out = tmp_path / "views.png"
    draw_views([("photo.jpg", quartered())], config, seed=0, epoch=0, indices=[0], out=out)
    picture = pixels(out)
    right = picture[:, int(0.37 * picture.shape[1]) :]
    spans = [np.nonzero(where(right, quarter))[1] for quarter in QUARTERS]
    last = [int(columns_of.max()) for columns_of in spans]
    assert min(last) > 0.8 * right.shape[1], "the whole image, on the very right, shows all four quarters"
    assert [int(columns_of.min()) for columns_of in spans] == sorted(int(columns_of.min()) for columns_of in spans)


def test_words_for_groups() -> None:
    assert title(MULTI_CROP) == "Views of the whole image"
    assert title(BlockAndWholeViewsConfig()) == "Block-wise views and views of the whole image"
    words = explanation(MULTI_CROP, None).replace("\u00a0", " ")
    assert "2 views of 32 x 32 pixels of the whole image, 20 to 100 % of its area; 6 views of 16 x 16 pixels" in words
    assert "5 to 14 % of its area. Views of one color are the two views of a pair" in words
    assert "are positives of each other" in explanation(MULTI_CROP, None, [tuple(range(8))])
    both = explanation(BlockAndWholeViewsConfig(pairs=2), None).replace("\u00a0", " ")
    assert "2 views of each of four blocks, one at each corner, 70 % of its width and height (overlap 0.2)" in both
    assert "; 4 views of the whole image, 20 to 100 % of its area." in both
    assert settings(MULTI_CROP, 1, 2, []) == "Views of 32 x 32 and 16 x 16 pixels, seed 1, epoch 2."


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (BlockViewsConfig(), "four blocks, one at each corner, 70\u00a0% of its width and height (overlap 0.2)"),
        (BlockViewsConfig(grid=(2, 5), overlap=0.25), "2 x 5 blocks, 30\u00a0% of its width, 75\u00a0% of its height"),
        (BlockViewsConfig(grid=(1, 1)), "1 x 1 blocks, 100\u00a0% of its width and height"),
        (WholeViewsConfig(scale=(0.08, 0.5)), "random crops are taken, 8 to 50\u00a0% of its area"),
    ],
)
def test_the_explanation_follows_the_settings(config: ViewsConfig, part: str) -> None:
    assert part in explanation(config, None)
    assert "usual cropping" not in explanation(config, None)
    assert explanation(config, WholeViewsConfig(scale=(0.3, 0.6))).endswith("whole image, 30 to 60\u00a0% of its area.")


def test_words_for_blocks_that_may_lie_anywhere() -> None:
    moved = BlockViewsConfig(placement="anywhere")
    assert title(moved) == "Block-wise views, moved anywhere"
    words = explanation(moved, None).replace("\u00a0", " ")
    assert "20 to 100 % of its area, moved to a random position in the image and augmented" in words
    assert "of the block's area, moved to a random" in explanation(moved, None, [tuple(range(8))])
    assert [column.name for column in columns(moved)] == [f"block {number}, moved" for number in (1, 2, 3, 4)]
    assert not any(column.outlined for column in columns(moved))
    assert not any(words in explanation(BlockViewsConfig(), None) for words in ("moved", "random position"))


def test_words_for_views_that_are_not_compared() -> None:
    alone = [(0,), (1,), (2,), (3,)]
    config = WholeViewsConfig(pairs=2)
    assert explanation(config, None, alone).endswith(
        "None of them are pulled together: each is learned from by itself."
    )
    assert [column.name for column in columns(config, alone)] == ["view 1", "view 2", "view 3", "view 4"]
    assert one_color(config, alone) == "view"
    assert (one_color(config), one_color(config, [(0, 1, 2), (3,)])) == ("pair", "set of positives")


def test_words_below_a_view() -> None:
    certain = BlockViewsConfig(flip=1, jitter=1, grayscale=0, blur=(1, 1), blur_sigma=(1.25, 1.25), solarize=(1, 1))
    view = sample_view(certain, 80, 60, seed=0, epoch=0, image=0, view=0)
    assert deeds(view).replace("\u00a0", " ") == "mirrored, recolored, blur 1.2, solarized"
    assert deeds(view, colors=False).replace("\u00a0", " ") == "mirrored, blur 1.2"
    gray = certain.model_copy(update={"grayscale": 1.0, "flip": 0.0})
    assert deeds(sample_view(gray, 80, 60, seed=0, epoch=0, image=0, view=0)).startswith("gray, blur")
    assert deeds(sample_view(unaltered(), 80, 60, seed=0, epoch=0, image=0, view=0)) == "only cropped"


def test_more_than_a_picture_can_hold() -> None:
    shown = show("a.jpg", quartered(), unaltered(size=8), seed=0, epoch=0, index=0)
    with pytest.raises(UserError, match=r"would be \d+,\d+ pixels high, and at most 65,535 can be drawn"):
        views_picture([shown] * 200, unaltered(size=8), seed=0, epoch=0)


def test_no_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no image"):
        draw_views([], unaltered(), seed=0, epoch=0, indices=[], out=tmp_path / "views.png")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*directory"):
        draw_views([("a.jpg", quartered())], unaltered(), seed=0, epoch=0, indices=[0], out=tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="file is a file: choose a folder for the output"):
        draw_views([("a.jpg", quartered())], unaltered(), seed=0, epoch=0, indices=[0], out=tmp_path / "file" / "a.png")
