"""A run of the whole comparison on images so few and small that its figures mean nothing."""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.images import jpegs, write_jpegs
from benchmarks.views import __main__ as views
from benchmarks.views import contestants

# What other libraries warn of, or what their newest versions will, is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")
FORMATS = (views.Format("small", (160, 120), 32), views.Format("large", (2100, 2000), 32, enlarge=False))
INSTALLED = [contestant for contestant in contestants.CONTESTANTS if contestant.is_installed]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("views")
    (folder / "page.md").write_text("before\n<!-- views -->\n<!-- end of views -->\nafter\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "FORMATS", FORMATS)
        sizes = ["--count", "2", "--large-count", "1", "--rounds", "2", "--seconds", "0"]
        views.main([*sizes, "--out", str(folder / "out.json"), "--page", str(folder / "page.md")])
    return {**json.loads((folder / "out.json").read_text()), "page": (folder / "page.md").read_text()}


def test_every_contestant_takes_part_or_is_named_as_left_out(result: dict[str, Any]) -> None:
    names = {contestant.name for contestant in contestants.CONTESTANTS}
    for form in result["formats"].values():
        assert form["contestants"].keys() - {contestants.FULL_DECODE, contestants.ENTROPY.name} == names - set(
            result["left_out"]
        )
        assert 0.5 < form["shown"]["area"] < form["shown"]["rows"] <= 1
    assert {contestants.FULL_DECODE, contestants.ENTROPY.name} <= result["formats"]["large"]["contestants"].keys()
    for package in ("lightly", "kornia"):
        missing = result["versions"][package] is None
        assert any(package in name for name in result["left_out"]) == missing


def test_throughputs_and_ratios_follow_from_the_seconds_of_the_rounds(result: dict[str, Any]) -> None:
    for form in result["formats"].values():
        seconds = {name: about["seconds_per_image"] for name, about in form["contestants"].items()}
        assert {len(values) for values in seconds.values()} == {2}
        for name, about in form["contestants"].items():
            assert about["images_per_second"] == pytest.approx(1 / statistics.median(seconds[name]))
        assert {ratio["faster"] for ratio in form["ratios"]} >= {contestants.UINT8, contestants.NORMALIZED}
        for ratio in form["ratios"]:
            by_round = np.divide(seconds[ratio["than"]], seconds[ratio["faster"]])
            assert ratio["median"] == pytest.approx(np.median(by_round))
            assert (ratio["lowest"], ratio["highest"]) == pytest.approx((by_round.min(), by_round.max()))


def test_the_page_gets_ratios_for_every_contestant_and_no_absolute_times(result: dict[str, Any]) -> None:
    page = result["page"]
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    for name, about in result["formats"]["small"]["contestants"].items():
        [line] = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
        assert f"| {about['returns']} |" in line
    [base] = [line for line in page.splitlines() if line.startswith(f"| {contestants.PILLOW} |")]
    assert base.endswith("| 1.00 | 1.00 |")
    ratio = result["formats"]["small"]["ratios"][0]
    [line] = [line for line in page.splitlines() if line.startswith(f"| {ratio['faster']} / {ratio['than']} |")]
    assert f"{ratio['median']:.1f} ({ratio['lowest']:.1f} to {ratio['highest']:.1f})" in line


def test_shares_by_operation_sum_to_the_whole(result: dict[str, Any]) -> None:
    for form in result["formats"].values():
        seconds, shares = form["operations"]["seconds_per_image"], form["operations"]["shares"]
        assert sum(shares.values()) == pytest.approx(1)
        by_round = np.subtract(seconds["blur"], seconds["crops and resizes"]) / seconds["everything"]
        assert shares["blur"] == pytest.approx(np.median(by_round))
        assert {"decoding", "hue", "the rest"} <= shares.keys()
    assert "| decoding |" in result["page"]


def test_the_process_may_use_all_its_cores_and_threads_again(result: dict[str, Any]) -> None:
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    with views.one_core() as core:
        assert os.sched_getaffinity(0) == {core}
        assert torch.get_num_threads() == 1
    assert os.sched_getaffinity(0) == cores
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("contestant", [*INSTALLED, contestants.WHOLE_PIXELS], ids=lambda contestant: contestant.name)
def test_each_makes_two_views_of_each_block_as_it_says(contestant: contestants.Contestant, tmp_path: Path) -> None:
    """The blocks of this image have a color each, which every view shows in the middle, however altered."""
    encoded = jpegs(None, (160, 120), 2)
    task = contestants.Task(encoded, write_jpegs(tmp_path / "images", encoded), 32)
    way = contestant.prepare(task)
    made = [np.asarray(view) for view in way(1)]
    assert len(made) == 8
    assert {sorted(view.shape) == [3, 32, 32] for view in made} == {True}
    assert {str(view.dtype) for view in made} == {contestant.returns}
    if contestant.returns == "float32":
        assert min(view.min() for view in made) < 0  # normalized, not merely scaled
    if contestant.name != contestants.FLOOR:
        again = [np.asarray(view) for view in way(1)]
        assert any((one != other).any() for one, other in zip(made, again, strict=True)), "the same draw every time"


def test_the_floor_decodes_at_the_scale_of_our_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = jpegs(None, (1280, 960), 1)
    sizes = []
    decode = contestants.simplejpeg.decode_jpeg

    def watched(*arguments: Any, **options: Any) -> np.ndarray:
        pixels = decode(*arguments, **options)
        sizes.append(pixels.shape)
        return pixels

    monkeypatch.setattr(contestants.simplejpeg, "decode_jpeg", watched)
    task = contestants.Task(encoded, write_jpegs(tmp_path / "images", encoded), 16)
    assert [view.shape for view in contestants.floor(task)(0)] == [(16, 16, 3)] * 8
    assert sizes == [(120, 160, 3)]
    assert Image.open(tmp_path / "images/00000.jpg").size == (1280, 960)
