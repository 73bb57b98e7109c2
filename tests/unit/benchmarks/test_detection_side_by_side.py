"""The fine-tunings beside each other: equal but for the weights, and made once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.detection import fine_tuning as detection
from manyview.backbones import build_backbone, save_backbone
from tests.helpers.narrow import narrowed
from tests.helpers.shapes import write_shapes

TINY = [
    "--short-side",
    "32",
    "--regions",
    "4",
    "--test-proposals",
    "6",
    "--iterations",
    "4",
    "--eval-every",
    "2",
    "--batch-size",
    "2",
]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("detection")
    labels = write_shapes(folder / "shapes", 4)
    with torch.random.fork_rng(devices=[]), narrowed(8):
        torch.manual_seed(3)
        save_backbone(build_backbone("resnet18"), folder / "own.safetensors", {})
    places = {"--images": labels.parent, "--train": labels, "--val": labels, "--out": folder / "out"}
    given = [str(word) for pair in places.items() for word in pair]
    return [str(folder / "own.safetensors"), *given, *TINY, "--workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def results(words: list[str]) -> dict[str, Any]:
    with narrowed(8):
        detection.main(words)
    return dict(json.loads((detection.parse(words).out / "detection.json").read_text())["results"])


def test_only_the_weights_differ(results: dict[str, Any]) -> None:
    random, own = (results[name]["protocol"] for name in ("random-init", "own.safetensors"))
    assert random["weights"].startswith("random")
    assert own["weights"].endswith("own.safetensors")
    different = {key for key in random.keys() | own.keys() if random.get(key) != own.get(key)}
    assert different == {"weights", "weights_sha256", "loading"}
    assert [found["iteration"] for found in results["random-init"]["by_iteration"]] == [2, 4]


def test_what_is_done_is_not_done_again(
    results: dict[str, Any], words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(detection, "fine_tune", None)
    page = tmp_path / "page.md"
    page.write_text("<!-- voc -->\n<!-- end of voc -->\n")
    detection.main([*words, "--page", str(page), "--section", "voc"])
    lines = page.read_text().splitlines()[1:-1]
    assert lines[0] == "| weights at the start | iterations | box AP | AP50 | AP75 | VOC AP50 |"
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        [f"| {name}", number] for name in ("random-init", "own.safetensors") for number in ("2", "4")
    ]
    for line, found in zip(lines[2:], [one for each in results.values() for one in each["by_iteration"]], strict=True):
        figures = [float(cell) for cell in line.strip("| ").split(" | ")[2:]]
        expected = [found["box"][name] for name in ("AP", "AP50", "AP75")] + [found["voc"]["AP50"]]
        assert figures == pytest.approx([100 * share for share in expected], abs=0.051)


def test_some_rows_alone(words: list[str]) -> None:
    options = detection.parse([*words, "--only", "random-init"])
    assert detection.chosen(options) == ["random-init"]
