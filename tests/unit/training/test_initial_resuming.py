"""Stopped runs that had started from weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from manyview.backbones import load_backbone, save_backbone, wrap_backbone
from manyview.errors import UserError
from manyview.runs import RunFolder
from tests.helpers.starting import go_on, own_run
from tests.helpers.tiny import TinyNet


@pytest.fixture
def uninterrupted(weights: Path, photos: Path, tmp_path: Path) -> RunFolder:
    return own_run(photos, tmp_path / "whole", weights)


def interrupted(images: Path, out: Path, init: Path, step: int = 3) -> Path:
    with pytest.raises(KeyboardInterrupt):
        own_run(images, out, init, step)
    return out


def ends(run: RunFolder) -> list[bytes]:
    last = run.path / "checkpoints" / "step-000000008"
    return [file.read_bytes() for file in (run.weights, last.with_suffix(".safetensors"), last.with_suffix(".json"))]


def test_a_stopped_run_resumes_to_the_bit_without_the_weights(
    weights: Path, photos: Path, tmp_path: Path, uninterrupted: RunFolder
) -> None:
    out = interrupted(photos, tmp_path / "run", weights)
    weights.unlink()

    run = own_run(None, out, None, resume=True)

    assert ends(run) == ends(uninterrupted)
    assert run.read_json("config.json")["backbone"]["init"] == str(weights)


def test_a_resumed_run_keeps_the_normalization_of_its_first_weights(small: Path, photos: Path, tmp_path: Path) -> None:
    init = Path(shutil.copytree(small, tmp_path / "small"))
    run = go_on(photos, tmp_path / "run", init)
    shutil.rmtree(init)

    resumed = go_on(None, run.path, resume=True)

    assert load_backbone(resumed).mean == (0.1, 0.2, 0.3)


def test_the_same_weights_may_be_stated_again_and_no_others(
    weights: Path, photos: Path, tmp_path: Path, uninterrupted: RunFolder
) -> None:
    out = interrupted(photos, tmp_path / "run", weights)
    with pytest.raises(UserError, match=r"was started with other settings: backbone\.init was '.*own.*', now '.*other"):
        own_run(None, out, tmp_path / "other.pth", resume=True)

    assert ends(own_run(None, out, weights, resume=True)) == ends(uninterrupted)


def test_a_run_without_weights_is_not_resumed_from_some(weights: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        own_run(photos, tmp_path / "run", None, 3)
    with pytest.raises(UserError, match=r"backbone\.init was None, now '.*own\.safetensors'"):
        own_run(None, tmp_path / "run", weights, resume=True)


def test_stopped_before_the_first_checkpoint(
    weights: Path, photos: Path, tmp_path: Path, uninterrupted: RunFolder
) -> None:
    out = interrupted(photos, tmp_path / "run", weights)
    shutil.rmtree(out / "checkpoints")
    (out / "backbone.safetensors").unlink()
    whole = weights.read_bytes()

    weights.unlink()
    with pytest.raises(UserError, match=r"no checkpoint yet and starts from its initial weights: there is no"):
        own_run(None, out, None, resume=True)
    network = wrap_backbone(TinyNet(), 16)
    save_backbone(network, weights, {})
    with pytest.raises(UserError, match=r"own\.safetensors has changed since .*run was started from it"):
        own_run(None, out, None, resume=True)
    weights.write_bytes(whole)
    assert ends(own_run(None, out, None, resume=True)) == ends(uninterrupted)
