"""Two processes measure a backbone as one does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from manyview.backbones import wrap_backbone
from manyview.config import PretrainConfig
from manyview.evaluation.quality.instrument import QualityInstrument
from tests.helpers.processes import in_processes, joined
from tests.helpers.tiny import TinyNet, write_images

COUNT = 19  # odd, so that one process has an image more


def measure(images: Path, labels: Path) -> list[dict[str, float]]:
    config = PretrainConfig.model_validate(
        {"data": {"images": str(images), "workers": 0}, "monitor": {"eval_labels": str(labels), "eval_size": 16}}
    )
    network = wrap_backbone(TinyNet(dropout=0.0), 16)
    instrument = QualityInstrument.of(config)
    return [instrument.measure(network, measured_norms=measured) for measured in (False, True)]


def measure_own_share(rank: int, images: str, labels: str, out: str) -> None:
    with joined(rank, Path(out)):
        (Path(out) / f"{rank}.json").write_text(json.dumps(measure(Path(images), Path(labels))))


@pytest.mark.skipif(sys.platform == "win32", reason="gloo")
def test_figures_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    images, labels = write_images(tmp_path / "images", COUNT), tmp_path / "labels.csv"
    rows = [f"{index:02d}.jpg,{'odd' if index % 2 else 'even'}" for index in range(COUNT)]
    labels.write_text("\n".join(["image,labels", *rows]) + "\n")

    arguments = (str(images), str(labels), str(tmp_path))
    in_processes(measure_own_share, *arguments)

    alone = measure(images, labels)
    for rank in range(2):
        for found, expected in zip(json.loads((tmp_path / f"{rank}.json").read_text()), alone, strict=True):
            assert found == pytest.approx(expected, rel=1e-5)
