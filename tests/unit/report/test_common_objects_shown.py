"""The count as tables and as a curve."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from manyview.config import BlockViewsConfig
from manyview.report import views_page
from manyview.report.common_objects import draw_curve, format_count

ORANGE, BLUE, GREEN = (0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2), (0x00, 0x9E, 0x73)


def row(kind: str, overlap: float | None, common: float) -> dict[str, Any]:
    shares = [
        {
            "share": share,
            "common": common * factor,
            "objects": 1.5 * common,
            "different": 0.021,
            "common_interval": [common * factor - 0.01, common * factor + 0.01],
        }
        for share, factor in ((0.25, 1.0), (0.5, 0.5))
    ]
    means = {"area": 0.2345, "iou": 0.4567, "shares": shares}
    everything = copy.deepcopy(means)
    everything["shares"][1]["common"] = 0.123
    return {"cropping": kind, "overlap": overlap, "pairs": 4, "with_objects": means, "all": everything}


def result(images: int = 10) -> dict[str, Any]:
    """As metrics.json holds it: blocks above one control, below the other."""
    heights = {"blocks": (0.4, 0.6), "control": (0.5, 0.7), "moved": (0.3, 0.5)}
    rows = [row("usual", None, 0.9)]
    rows += [row(kind, overlap, heights[kind][place]) for place, overlap in enumerate((0.0, 0.2)) for kind in heights]
    differences = [
        {
            "overlap": overlap,
            "minus": kind,
            "share": share,
            "common": value,
            "common_interval": [value - 0.02, value + 0.02],
        }
        for overlap in (0.0, 0.2)
        for kind, value in (("control", -0.05), ("moved", 0.06))
        for share in (0.25, 0.5)
    ]
    protocol = {
        "photographs": images,
        "with_objects": 10,
        "objects": 1234,
        "crowds_left_out": 0,
        "share": 0.5,
        "shares": [0.25, 0.5],
        "seed": 3,
        "epochs": [2, 3, 4],
    }
    return {"protocol": protocol, "results": rows, "differences": differences}


def printed(count: dict[str, Any], width: int = 80) -> list[str]:
    console = Console(width=width, file=io.StringIO(), legacy_windows=False)
    console.print(format_count(count))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def cells(lines: list[str], *words: str) -> list[str]:
    return next(line.split() for line in lines if line.split()[: len(words)] == list(words))


def test_the_table_holds_the_figures_at_the_share_asked_for() -> None:
    lines = printed(result())
    assert cells(lines, "usual") == ["usual", "23.4", "45.7", "45.0", "44.0–46.0", "1.35", "2.1"]
    assert cells(lines, "blocks", "0.2") == ["blocks", "0.2", "23.4", "45.7", "30.0", "29.0–31.0", "0.90", "2.1"]
    assert cells(lines, "same", "scale", "0")[5:7] == ["25.0", "24.0–26.0"]
    assert cells(lines, "same", "size", "0")[5:7] == ["15.0", "14.0–16.0"]
    assert cells(lines, "0.2") == ["0.2", "-5.0", "[-7.0,", "-3.0]", "+6.0", "[+4.0,", "+8.0]"]
    text = " ".join(" ".join(lines).split())
    assert "at least 50 % of an object's box inside both crops" in text
    assert "10 images with 1,234 objects; seed 3, epochs 2 to 4" in text
    assert "crowds" not in text


def test_no_cell_is_cut_on_a_narrow_terminal() -> None:
    assert not [line for line in printed(result(12), 80) if "…" in line]


def test_images_without_objects_and_crowds_are_reported() -> None:
    assert "of all" not in " ".join(printed(result()))
    count = result(12)
    count["protocol"]["crowds_left_out"] = 5
    lines = printed(count)
    assert cells(lines, "blocks", "0.2")[-1] == "12.3"
    text = " ".join(" ".join(lines).split())
    assert "of all: common, over all 12 images" in text
    assert "1,234 objects, without 5 crowds" in text


def rows_of(picture: np.ndarray, color: tuple[int, int, int]) -> float:
    rows, _ = np.nonzero(np.abs(picture.astype(int) - color).max(axis=2) <= 3)
    assert len(rows), f"nothing is drawn in {color}"
    return float(rows[rows < 0.85 * len(picture)].mean())  # above the legend


def test_the_curve_shows_who_is_above_whom() -> None:
    picture = np.asarray(Image.open(io.BytesIO(draw_curve(result()))).convert("RGB"))
    left, right = picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]
    for panel in (left, right):
        assert rows_of(panel, BLUE) < rows_of(panel, ORANGE) < rows_of(panel, GREEN)
    assert rows_of(left, ORANGE) < rows_of(right, ORANGE), "fewer objects are common at the larger share"
    one = result()
    one["protocol"]["shares"] = [0.5]
    alone = np.asarray(Image.open(io.BytesIO(draw_curve(one))))
    assert alone.shape[1] < picture.shape[1]


def test_the_page_holds_tables_and_curve() -> None:
    html = views_page([], BlockViewsConfig(), None, seed=0, epoch=0, counted=(result(12), draw_curve(result(12))))
    for cell in ("29.0–31.0", "-5.0 [-7.0, -3.0]", "same scale", "12.3", "IoU"):
        assert cell in html
    assert html.count("data:image/png;base64,") == 1
    assert html.count("<table>") == html.count("</table>") == 2
    assert "objects&#x27; box" not in html
    assert "common objects" not in views_page([], BlockViewsConfig(), None, seed=0, epoch=0)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_the_share_decides_what_the_tables_show(share: float) -> None:
    count = result()
    count["protocol"]["share"] = share
    assert cells(printed(count), "usual")[3] == {0.25: "90.0", 0.5: "45.0"}[share]
