"""Launch of Lightning Fabric."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from manyview.config import resolve
from manyview.config.resolve import Assignment
from manyview.training import settle
from manyview.training.settle import start_hardware
from tests.helpers.tiny import train_tiny


def test_fabric_says_nothing_of_what_is_asked_of_it(caplog: pytest.LogCaptureFixture) -> None:
    asked = [Assignment("training.precision", "bf16", ""), Assignment("data.images", "photos", "")]
    logger = logging.getLogger("lightning_fabric")
    before = logger.level
    logger.addHandler(caplog.handler)
    try:
        start_hardware(resolve({}, asked))
    finally:
        logger.removeHandler(caplog.handler)

    assert caplog.messages == []
    assert logger.level == before


@pytest.mark.parametrize(
    ("views", "expected"),
    [
        ({"views.size": 17}, "bf16"),
        ({"views.size": 16}, "float32"),
        ({"views.kind": "groups", "views.groups": [{"size": 64}, {"size": 16}]}, "float32"),
    ],
)
def test_bf16_is_not_chosen_for_views_that_come_to_one_pixel_on_a_cpu(
    views: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "choose_precision", lambda asked, _: "bf16" if asked == "auto" else asked)
    values = {"data.images": "photos", "training.device": "cpu", **views}
    config = resolve({}, [Assignment(key, value, "") for key, value in values.items()])

    assert start_hardware(config).precision == expected


@pytest.mark.parametrize("size", [16, 24])
def test_bf16_that_is_asked_for_all_the_same(
    size: int, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_tiny(
        photos, tmp_path / "run", view_size=size, steps=1, epochs=None, quiet=False,
        settings={"training.precision": "bf16"},
    )  # fmt: skip

    assert run.read_json("run.json")["precision"] == "bf16"
    assert ("training.precision=float32 is safe" in " ".join(capsys.readouterr().err.split())) == (size == 16)
