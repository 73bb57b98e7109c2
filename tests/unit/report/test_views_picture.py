"""The picture of the views: that each view stands where it belongs, in the colour of its pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyview.config import BlockViewsConfig, ViewsConfig, WholeViewsConfig
from manyview.errors import UserError
from manyview.report import draw_views

QUARTERS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30)]
FRAMES = [(0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2), (0x00, 0x9E, 0x73), (0xCC, 0x79, 0xA7)]


def quartered(width: int = 80, height: int = 60) -> np.ndarray:
    """A photograph whose quarters have one colour each."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = QUARTERS[0], QUARTERS[1]
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = QUARTERS[2], QUARTERS[3]
    return image


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def unaltered(overlap: float = 0.0, size: int = 64) -> BlockViewsConfig:
    return BlockViewsConfig(overlap=overlap, size=size, flip=0, jitter=0, grayscale=0, blur=(0, 0))


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture.astype(int) - colour).max(axis=2) <= 2


def test_each_pair_stands_in_its_column_and_its_colour(tmp_path: Path) -> None:
    out = tmp_path / "new" / "views.png"
    draw_views([("photo.jpg", quartered())], unaltered(), seed=0, epoch=0, indices=[0], out=out)
    picture = pixels(out)
    right_of_the_photograph = picture[:, int(0.42 * picture.shape[1]) :]
    previous = -1.0
    for quarter, frame in zip(QUARTERS, FRAMES, strict=True):
        view_rows, view_columns = np.nonzero(where(right_of_the_photograph, quarter))
        _, frame_columns = np.nonzero(where(right_of_the_photograph, frame))
        assert len(view_rows) > 2 * 150**2, "two views of at least an inch must show this quarter"
        assert view_columns.min() > previous, "columns follow the order of the blocks"
        previous = view_columns.max()
        assert frame_columns.min() < view_columns.min() < view_columns.max() < frame_columns.max()
        assert frame_columns.max() - view_columns.max() < 10
        gap = np.diff(np.unique(view_rows)).max()
        assert gap > 10, "the second view stands below the first"


def test_the_views_are_those_of_the_run(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)

    def draw(seed: int = 0, epoch: int = 0, index: int = 4) -> np.ndarray:
        out = tmp_path / "views.png"
        draw_views([("a.jpg", image)], BlockViewsConfig(size=16), seed=seed, epoch=epoch, indices=[index], out=out)
        return pixels(out)

    first = draw()
    np.testing.assert_array_equal(draw(), first)
    for changed in (draw(epoch=1), draw(seed=1), draw(index=5)):
        assert not np.array_equal(changed[-300:, 700:], first[-300:, 700:])


@pytest.mark.parametrize(
    "config",
    [
        WholeViewsConfig(size=16),
        WholeViewsConfig(size=16, pairs=5, solarize=(1.0, 1.0)),
        BlockViewsConfig(size=16, overlap=0.5, grayscale=1.0),
    ],
    ids=["two views", "five pairs", "full overlap"],
)
def test_odd_photographs_and_names(tmp_path: Path, config: ViewsConfig) -> None:
    sizes = [(1, 1), (400, 20), (20, 400)]
    names = ["cost $5 and $6.jpg", "写真.jpg", "a" * 200 + " " + "b" * 200]
    images = [(name, quartered(width, height)) for name, (width, height) in zip(names, sizes, strict=True)]
    one, three = tmp_path / "one.png", tmp_path / "three.png"
    draw_views(images[:1], config, seed=0, epoch=0, indices=[0], out=one)
    draw_views(images, config, seed=0, epoch=0, indices=[0, 1, 2], out=three)
    (height, width, _), (taller, same_width, _) = pixels(one).shape, pixels(three).shape
    assert width == same_width
    assert taller > height + 2 * 300


def test_no_photograph(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no photograph"):
        draw_views([], unaltered(), seed=0, epoch=0, indices=[], out=tmp_path / "views.png")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write the picture .*directory"):
        draw_views([("a.jpg", quartered())], unaltered(), seed=0, epoch=0, indices=[0], out=tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write the picture"):
        draw_views([("a.jpg", quartered())], unaltered(), seed=0, epoch=0, indices=[0], out=tmp_path / "file" / "a.png")
