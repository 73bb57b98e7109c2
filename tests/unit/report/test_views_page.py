"""The page: that it is whole without a network or a script, and shows what the picture shows."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from manyview.config import BlockViewsConfig, GroupedViewsConfig, WholeViewsConfig
from manyview.report import ShownImage, show, views_page
from manyview.views import render_view, sample_views

VOID = {"meta", "img", "image", "rect", "br"}
BLOCKS, USUAL = BlockViewsConfig(size=32), WholeViewsConfig(size=32)


class Page(HTMLParser):
    """Every element with its attributes, and all text; unbalanced elements are an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.styles: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        (self.styles if self.open[-1:] == ["style"] else self.words).append(text)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [found for name, found in self.elements if name == tag and wanted.items() <= found.items()]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())


def shown(size: tuple[int, int] = (80, 60), name: str = "a.jpg", index: int = 3) -> ShownImage:
    return show(name, smooth(*size), BLOCKS, USUAL, seed=1, epoch=2, index=index)


def smooth(width: int, height: int) -> np.ndarray:
    """Colors that change slowly, which JPEG keeps nearly as they are."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return (np.stack([x, y, (x + y) / 2], axis=-1) * 200 + 20).astype(np.uint8)


def picture_in(source: str) -> np.ndarray:
    head, _, data = source.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def page(*images: ShownImage, **options: Any) -> Page:
    return Page(views_page(images, BLOCKS, USUAL, seed=1, epoch=2, **options))


def test_everything_is_within_the_file_and_nothing_runs() -> None:
    found = page(shown(), shown(name="b.jpg"))
    assert {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in found.elements} == set()
    for _, attributes in found.elements:
        for key, value in attributes.items():
            assert not key.startswith("on")
            if key in ("src", "href"):
                assert value.startswith("data:image/")
            assert "http" not in value
    assert found.styles
    assert "url(" not in " ".join(found.styles)
    assert "@import" not in " ".join(found.styles)


def test_views_are_those_of_the_run_in_the_order_of_the_blocks() -> None:
    found = page(shown())
    expected = [
        render_view(smooth(80, 60), view, 32)
        for config in (BLOCKS, USUAL)
        for view in sample_views(config, 80, 60, seed=1, epoch=2, image=3)
    ]
    images = [picture_in(image["src"]) for image in found.all("img")]
    assert len(images) == len(expected) == 10
    for image, view in zip(images, expected, strict=True):
        assert np.abs(image.astype(int) - view).mean() < 3
    headings = ("top left block", "bottom right block", "usual cropping, for comparison")
    assert sorted(headings, key=found.text.index) == list(headings)
    assert "seed 1, epoch 2." in found.text


def test_outlines_are_the_crops_and_blocks() -> None:
    large, small = page(shown()).all("svg")
    elements = page(shown()).elements
    boundary = [number for number, (tag, _) in enumerate(elements) if tag == "svg"][1]
    parameters = sample_views(BLOCKS, 80, 60, seed=1, epoch=2, image=3)
    usual = sample_views(USUAL, 80, 60, seed=1, epoch=2, image=3)
    for part, views in ((elements[:boundary], parameters), (elements[boundary:], usual)):
        solid = [
            tuple(float(rect[key]) for key in ("x", "y", "width", "height"))
            for tag, rect in part
            if tag == "rect" and rect["stroke"] != "#fff" and "stroke-dasharray" not in rect
        ]
        crops = [view.crop for view in views]
        assert solid == [(left, top, right - left, bottom - top) for left, top, right, bottom in crops]
    dashed = [rect for rect in page(shown()).all("rect") if "stroke-dasharray" in rect]
    assert len(dashed) == 4
    for rect, view in zip(dashed, parameters[::2], strict=True):
        left, top, right, bottom = view.block
        outset = left - float(rect["x"])
        assert 0 < outset < 4
        assert float(rect["width"]) == pytest.approx(right - left + 2 * outset)
        assert float(rect["height"]) == pytest.approx(bottom - top + 2 * outset)
    assert (large["class"], small["class"]) == ("large", "small")


@pytest.mark.parametrize("size", [(1, 1), (400, 20), (20, 400)])
def test_odd_images_and_names(size: tuple[int, int]) -> None:
    name = "<b>&\"quoted'\udcff 写真.jpg"
    found = page(shown(size, name))
    assert "b" not in {tag for tag, _ in found.elements}
    assert "<b>&\"quoted'\\udcff 写真.jpg" in found.text
    views_page([shown(size, name)], BLOCKS, USUAL, seed=1, epoch=2).encode()


def test_other_grids_and_views_of_the_whole() -> None:
    grid = BlockViewsConfig(size=16, grid=(2, 3))
    shown = show("a.jpg", smooth(80, 60), grid, None, seed=0, epoch=0, index=0)
    found = Page(views_page([shown], grid, None, seed=0, epoch=0))
    assert "row 2, column 3" in found.text
    assert "usual" not in found.text
    assert len(found.all("img")) == 12
    whole = WholeViewsConfig(size=16, pairs=2)
    shown = show("a.jpg", smooth(80, 60), whole, None, seed=0, epoch=0, index=0)
    found = Page(views_page([shown], whole, None, seed=0, epoch=0))
    assert "Views of the whole image" in found.text
    assert "pair 2" in found.text
    assert not [rect for rect in found.all("rect") if "stroke-dasharray" in rect]


def test_groups_of_several_sizes() -> None:
    views = GroupedViewsConfig(groups=[{"size": 32}, {"size": 16, "count": 3}, {"size": 24, "source": "blocks"}])
    shown = show("a.jpg", smooth(80, 60), views, None, seed=0, epoch=0, index=0)
    found = Page(views_page([shown], views, None, seed=0, epoch=0))
    sizes = [picture_in(image["src"]).shape[0] for image in found.all("img")]
    assert sizes == [32] * 2 + [16] * 3 + [24] * 8
    assert "whole image, 32 px" in found.text
    assert "bottom right block, 24 px" in found.text
    assert len([rect for rect in found.all("rect") if "stroke-dasharray" in rect]) == 4
    # The three of the second group are a pair and a single one; with all of an image in one set they are three.
    assert len(found.all("figure", **{"class": "pair-1"})) == len(found.all("figure", **{"class": "pair-2"})) == 1
    found = Page(views_page([shown], views, None, seed=0, epoch=0, positives=[tuple(range(13))]))
    assert "whole image, 16 px" in found.text
    assert len(found.all("figure", **{"class": "pair-0"})) == 1 + 2 + 4
    assert "One color, one set of positives" in found.text
