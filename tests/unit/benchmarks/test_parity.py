from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.images import load_images
from benchmarks.views import parity
from manyview.config import BlockViewsConfig
from manyview.views import render_views, sample_views

OPERATIONS = ("mirroring", "brightness", "contrast", "saturation", "hue", "gray", "blur", "solarization")
SIZE = 48


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("parity")
    (folder / "page.md").write_text("<!-- parity -->\n<!-- end of parity -->\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "VIEW_SIZES", (SIZE,))
        patch.setattr(parity, "SIZE", (240, 180))
        patch.setattr(parity, "LARGE", (1280, 960))
        given = ["--count", "3", "--large-count", "1", "--out", str(folder / "out.json")]
        parity.main([*given, "--page", str(folder / "page.md")])
    return {**json.loads((folder / "out.json").read_text()), "page": (folder / "page.md").read_text()}


def test_every_operation_is_judged_for_every_renderer(result: dict[str, Any]) -> None:
    rows = result["view_sizes"][str(SIZE)]
    assert list(rows) == [*OPERATIONS, parity.CROP, parity.COMPOSED]
    assert all(rows[name].keys() == {"cpu", "device"} for name in OPERATIONS)
    assert all(rows[name].keys() == set(parity.WAYS) for name in (parity.CROP, parity.COMPOSED))
    for name, row in rows.items():
        for way in ("cpu", "device"):
            assert 0 <= row[way]["mean"] <= row[way]["worst_view"] <= result["limit"], (name, way)
    assert rows["mirroring"]["cpu"]["mean"] == 0
    assert rows["hue"]["cpu"]["mean"] > 0, "the reference was compared with itself"
    assert rows[parity.CROP]["reduced, little detail"]["mean"] > 0, "nothing was decoded at a reduced scale"
    assert rows[parity.CROP]["reduced, much detail"]["mean"] > rows[parity.CROP]["reduced, little detail"]["mean"]


def test_crop_and_resize_is_off_by_as_much_as_pillow_says(result: dict[str, Any]) -> None:
    config, distances = BlockViewsConfig(size=SIZE, overlap=0.3), []
    for index, image in enumerate(load_images(None, (240, 180), 3)):
        for drawn in sample_views(config, 240, 180, seed=0, epoch=0, image=index):
            bare = type(drawn)(drawn.block, drawn.crop, False, None, False, None, False)
            [ours] = render_views(image, [bare], SIZE)
            theirs = Image.fromarray(image).crop(drawn.crop).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            distances.append(np.abs(ours.astype(float) - np.asarray(theirs, dtype=float).transpose(2, 0, 1)))
    figures = result["view_sizes"][str(SIZE)][parity.CROP]["cpu"]
    assert figures["mean"] == pytest.approx(np.mean(distances))
    assert figures["worst_view"] == pytest.approx(max(distance.mean() for distance in distances))
    assert figures["percentile_99"] == pytest.approx(np.percentile(distances, 99))


def test_differences_are_absolute_and_do_not_wrap_around() -> None:
    views = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    reference = views.copy()
    views[0, 0, 0, 0], reference[1] = 255, 2
    found = parity.difference(views, reference)
    assert found["mean"] == pytest.approx((255 + 2 * 48) / 96)
    assert found["worst_view"] == pytest.approx(255 / 48)
    assert found["percentile_99"] == pytest.approx(np.percentile([0] * 47 + [2] * 48 + [255], 99))


def test_a_renderer_that_leaves_an_operation_out_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "augment_views", lambda views, table: views)
    rows = parity.operations(load_images(None, (240, 180), 2), SIZE, torch.device("cpu"))
    assert min(rows[name]["device"]["mean"] for name in OPERATIONS) > 1
    assert max(rows[name]["cpu"]["mean"] for name in OPERATIONS) < 1


def test_the_page_gets_each_figure(result: dict[str, Any]) -> None:
    figures = result["view_sizes"][str(SIZE)]["blur"]["device"]
    [line] = [line for line in result["page"].splitlines() if line.startswith("| blur |")]
    assert line.split(" | ")[2] == f"{figures['mean']:.2f} ({figures['percentile_99']:.0f})"
