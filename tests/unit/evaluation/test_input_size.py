"""The size of inputs where none is given: that of the views that a run was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manyview.evaluation.input_size import input_size
from manyview.recipes import resolve_settings


def run_of(folder: Path, recipe: str, view_size: int | None = None, **settings: object) -> Path:
    """A run's folder as far as its configuration goes."""
    named = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    config = resolve_settings("photos", recipe=recipe, view_size=view_size, set=named)
    folder.mkdir()
    (folder / "config.json").write_text(config.model_dump_json())
    (folder / "backbone.safetensors").touch()
    return folder


@pytest.mark.parametrize(("recipe", "side", "expected"), [("paper", 48, 48), ("simsiam", None, 224), ("paper", 8, 8)])
def test_of_a_runs_views(tmp_path: Path, recipe: str, side: int | None, expected: int) -> None:
    run = run_of(tmp_path / "run", recipe, side)
    for weights in (run, run / "backbone.safetensors"):
        found = input_size(weights, None)
        assert found.side == expected
        assert found.said["size"] == (
            f"Inputs have {expected} pixels a side, as the run's views; --size takes another."
        )


def test_of_groups_it_is_that_of_the_first(tmp_path: Path) -> None:
    config = resolve_settings("photos", recipe="swav")
    run = run_of(tmp_path / "run", "swav")
    assert input_size(run, None).side == config.views.layout[0].size


def test_what_is_given_counts_and_nothing_is_said(tmp_path: Path) -> None:
    found = input_size(run_of(tmp_path / "run", "paper", 48), 64)
    assert (found.side, found.said) == (64, {})


def test_other_weights_have_224(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "paper", 48)
    (run / "other.pth").touch()
    (run / "old").mkdir()
    (run / "old" / "config.json").write_text('{"what": "an earlier version knew"}')
    for weights in (run / "other.pth", run / "old", tmp_path / "none.pth"):
        found = input_size(weights, None)
        assert found.side == 224
        assert "nothing says which the weights were trained on" in found.said["size"]
