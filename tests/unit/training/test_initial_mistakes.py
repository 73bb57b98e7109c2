"""Weights that a run cannot start from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from manyview.backbones import build_backbone, save_backbone
from manyview.errors import UserError
from tests.helpers.checkpoint_files import LAYOUTS, network
from tests.helpers.narrow import narrowed
from tests.helpers.starting import go_on, own_run


@pytest.fixture(scope="module")
def resnet() -> Iterator[nn.Module]:
    """A quarter as wide as usual, as all are while it is in use."""
    with narrowed(4):
        yield network("resnet18")


def test_weights_for_other_channels_are_refused(small: Path, tiles: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        go_on(tiles, tmp_path / "run", small, settings={"data.bands": 5})

    file = small / "backbone.safetensors"
    assert str(caught.value) == (
        f"{file} holds weights for images of 3 channels, but those of the run have 5; start from weights for as many, "
        "or set data.bands to rgb or 3 if the images have them"
    )
    save_backbone(build_backbone("timm/test_resnet", in_channels=5), tmp_path / "five.safetensors", {})
    with pytest.raises(UserError, match=r"images of 5 channels, but .* have 3; .* set data\.bands to 5 if"):
        go_on(photos, tmp_path / "run", tmp_path / "five.safetensors")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_network_than_named_is_refused_in_a_line(
    layout: str, resnet: nn.Module, photos: Path, tmp_path: Path
) -> None:
    file = LAYOUTS[layout].write(resnet.state_dict(), tmp_path)
    with pytest.raises(UserError) as caught:
        go_on(photos, tmp_path / "run", file, "resnet34")

    assert str(caught.value) == (
        f"{file} holds the weights of resnet18, but the run's backbone is resnet34; leave out the backbone's name, "
        "which follows the weights, or start from others"
    )
    assert not (tmp_path / "run").exists()
    file.unlink()


def test_another_network_than_the_run_says_is_refused_in_a_line(small: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds the weights of timm/test_resnet, but the run's backbone is resnet18; "):
        go_on(photos, tmp_path / "run", small, "resnet18")


def test_weights_that_do_not_say_their_network_want_it_named(photos: Path, tmp_path: Path) -> None:
    network = build_backbone("timm/test_resnet")
    torch.save(network.state_dict(), tmp_path / "w.pth")

    with pytest.raises(UserError, match=r"w\.pth does not say which network its weights are of; name it"):
        go_on(photos, tmp_path / "run", tmp_path / "w.pth")
    run = go_on(photos, tmp_path / "run", tmp_path / "w.pth", "timm/test_resnet")
    assert run.read_json("run.json")["init"]["convolutions"]["matched"] > 0


def test_every_layer_must_match(photos: Path, tmp_path: Path) -> None:
    state = build_backbone("timm/test_resnet").state_dict()
    del state["bn1.weight"]
    torch.save(state, tmp_path / "w.pth")

    with pytest.raises(UserError, match=r"does not fit timm/test_resnet, .*: 1 missing \(bn1\.weight\)"):
        go_on(photos, tmp_path / "run", tmp_path / "w.pth", "timm/test_resnet")
    assert not (tmp_path / "run").exists()


def test_a_missing_file_is_told_with_the_other_mistakes(photos: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nix.pth"
    with pytest.raises(UserError, match=rf"^there is no file or folder {re.escape(str(nowhere))}$"):
        go_on(photos, tmp_path / "run", nowhere)
    with pytest.raises(UserError, match=r"^2 mistakes .*views\.size .*; there is no file or folder .*nix\.pth$"):
        go_on(photos, tmp_path / "run", nowhere, view_size=0)


def test_a_module_of_ones_own_that_does_not_fit_is_refused(small: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not fit own:.*Interrupting, .* missing") as caught:
        own_run(photos, tmp_path / "run", small)

    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_weights_of_a_module_of_ones_own_want_that_module(weights: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a module of your own: call manyview\.pretrain\(\.\.\., backbone=module\)"):
        go_on(photos, tmp_path / "run", weights)
