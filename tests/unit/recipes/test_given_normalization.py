"""``pretrain``'s options for mean and standard deviation, read as those of every other verb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.recipes import pretrain


class ReadyError(Exception):
    """Raised in place of training, with its configuration."""

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.config = config


@pytest.fixture(autouse=True)
def _without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(config: PretrainConfig, *_: Any, **__: Any) -> None:
        raise ReadyError(config)

    monkeypatch.setattr("manyview.training.run.train", train)


@pytest.mark.parametrize(
    ("given", "bands", "expected"),
    [
        (0.5, "rgb", (0.5,) * 3),
        ("0.1,0.2,0.3", "rgb", (0.1, 0.2, 0.3)),
        ((0.1, 0.2, 0.3), "rgb", (0.1, 0.2, 0.3)),
        ("0.25", 5, (0.25,) * 5),
        ([0.25], 1, (0.25,)),
    ],
)
@pytest.mark.parametrize("name", ["mean", "std"])
def test_one_number_is_of_all_channels_of_the_run(
    tmp_path: Path, name: str, given: Any, bands: Any, expected: tuple[float, ...]
) -> None:
    options: dict[str, Any] = {"set": {"data.bands": bands}, name: given}
    with pytest.raises(ReadyError) as ready:
        pretrain(tmp_path, tmp_path / "run", **options)
    assert getattr(ready.value.config.views, name) == expected


def test_bands_are_those_of_a_resumed_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    asked = {"data": {"images": str(tmp_path), "bands": 5}, "views": {"mean": [0.5] * 5}}
    (run / "config.json").write_text("{}")
    (run / "run.json").write_text(json.dumps({"asked": asked}))
    with pytest.raises(ReadyError) as ready:
        pretrain(out=run, resume=True, mean=0.5)
    assert ready.value.config.views.mean == (0.5,) * 5
    with pytest.raises(UserError, match=r"views\.mean was"):
        pretrain(out=run, resume=True, mean=0.4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mean": "123.675,116.28,103.53"}, "^mean is of pixels from 0 to 1, so .* is too large; divide it by 255$"),
        ({"std": "58.4"}, "^std is of pixels from 0 to 1"),
        ({"std": "0.2,0,0.2"}, "^std must be above 0"),
        ({"mean": "0.5,0.5"}, "^mean must be one number, or 3 separated by commas, such as 0.5, not '0.5,0.5'$"),
        ({"mean": "0.5,0.5,0.5", "set": {"data.bands": 4}}, "^mean must be one number, or 4 separated by commas"),
        ({"mean": "half"}, "^mean must be one number"),
    ],
)
def test_mistakes_are_those_of_every_verb(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        pretrain(tmp_path, tmp_path / "run", **options)
