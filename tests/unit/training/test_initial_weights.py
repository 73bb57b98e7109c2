"""Runs that start from weights instead of new random ones."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from manyview.backbones import build_backbone, load_backbone, save_backbone, wrap_backbone
from manyview.config import IMAGENET_MEAN, IMAGENET_STD
from manyview.errors import UserError
from manyview.recipes import pretrain
from manyview.runs import RunFolder
from manyview.training import pretrain as setting_up
from manyview.training.loop import Training
from tiny import SETTINGS, TinyNet, train_tiny, write_photographs

State = dict[str, Tensor]


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> list[State]:
    """The backbone's weights as each training begins; it then goes on as usual."""
    seen: list[State] = []
    train = setting_up.run_loop

    def run_loop(training: Training) -> None:
        seen.append({name: value.clone() for name, value in training.method.backbone.state_dict().items()})
        train(training)

    monkeypatch.setattr(setting_up, "run_loop", run_loop)
    return seen


def shaken(network: nn.Module) -> nn.Module:
    """Each of a norm's tensors away from where it starts, so that it matters whether it was taken."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            assert isinstance(module.running_mean, Tensor)
            assert isinstance(module.running_var, Tensor)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
            assert module.num_batches_tracked is not None
            module.num_batches_tracked.fill_(7)
    return network


def go_on(
    images: Path | None,
    out: Path,
    init: Path | None = None,
    backbone: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **named: Any,
) -> RunFolder:
    """An epoch, where the backbone need not be named."""
    named = {"view_size": 32, "epochs": 1, "batch_size": 4, "quiet": True, **named}
    return pretrain(images, out, init=init, backbone=backbone, set={**SETTINGS, **(settings or {})}, **named)


def body(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network: nn.Module = shaken(models.resnet18())
    return network


def torchvision(resnet: nn.Module, folder: Path) -> Path:
    torch.save(resnet.state_dict(), folder / "resnet18.pth")
    return folder / "resnet18.pth"


def simsiam(resnet: nn.Module, folder: Path) -> Path:
    weights = {f"module.encoder.{name}": value for name, value in body(resnet.state_dict()).items()}
    heads = {f"module.{name}.weight": torch.ones(4, 4) for name in ("encoder.fc.0", "encoder.fc.3", "predictor.0")}
    torch.save({"epoch": 100, "arch": "resnet18", "state_dict": weights | heads}, folder / "checkpoint_0099.pth.tar")
    return folder / "checkpoint_0099.pth.tar"


def moco(resnet: nn.Module, folder: Path) -> Path:
    weights = {f"module.encoder_q.{name}": value for name, value in body(resnet.state_dict()).items()}
    weights |= {f"module.encoder_k.{name}": value + 1 for name, value in body(resnet.state_dict()).items()}
    torch.save({"state_dict": weights | {"module.queue": torch.ones(4, 8)}}, folder / "moco.pth.tar")
    return folder / "moco.pth.tar"


@pytest.mark.parametrize(
    ("layout", "title", "left_out"),
    [(torchvision, "torchvision or timm", 2), (simsiam, "SimSiam", 3), (moco, "MoCo v2", 121)],
)
def test_a_run_begins_with_the_very_weights_of_a_checkpoint(
    layout: Callable[[nn.Module, Path], Path],
    title: str,
    left_out: int,
    resnet: nn.Module,
    tmp_path: Path,
    first: list[State],
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = layout(resnet, tmp_path)
    images = write_photographs(tmp_path / "photos", 4)

    # No backbone is named: that of the weights is taken, not the recipe's ResNet-50.
    run = go_on(images, tmp_path / "run", file, quiet=False)

    assert equal(first[0], body(resnet.state_dict()))
    trained = load_file(str(run.weights))
    assert trained.keys() == first[0].keys()
    assert not torch.equal(trained["conv1.weight"], first[0]["conv1.weight"])
    config = run.read_json("config.json")
    assert config["backbone"] == {"name": "resnet18", "init": str(file), "zero_init_residual": True}
    assert (tuple(config["views"]["mean"]), tuple(config["views"]["std"])) == (IMAGENET_MEAN, IMAGENET_STD)
    kept = run.read_json("run.json")["init"]
    assert sum(kept.pop("left_out").values()) == left_out
    assert kept == {
        "file": str(file),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "format": title,
        "network": "resnet18",
        "convolutions": {"matched": 20, "all": 20},
        "norms": {"matched": 20, "all": 20},
    }
    words = capsys.readouterr().err
    assert f"Starting from {file}: resnet18 from a checkpoint in the format of {title}: 20 of 20 convolutions" in words
    assert "left out: " in words
    # The untrained network beside which it is judged is a new one all the same.
    assert "random_init" in run.read_json("health.json")["results"]
    shutil.rmtree(tmp_path)  # pytest would keep these of three sessions


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, of photographs normalised in an unusual way."""
    folder = tmp_path_factory.mktemp("small")
    settings = {"views.mean": [0.1, 0.2, 0.3], "views.std": [0.4, 0.5, 0.6]}
    images = write_photographs(folder / "photos", 8)
    return train_tiny(
        images, folder / "run", backbone="timm/test_resnet", view_size=32, epochs=1, settings=settings
    ).path


def test_a_run_goes_on_from_a_runs_folder_and_its_normalisation(
    small: Path, photographs: Path, tmp_path: Path, first: list[State]
) -> None:
    run = go_on(photographs, tmp_path / "run", small)

    assert equal(first[0], load_file(str(small / "backbone.safetensors")))
    config = run.read_json("config.json")
    assert config["backbone"]["name"] == "timm/test_resnet"
    assert (config["views"]["mean"], config["views"]["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert load_backbone(run).mean == (0.1, 0.2, 0.3)
    assert run.read_json("run.json")["init"]["file"] == str(small / "backbone.safetensors")


def test_normalisation_that_the_user_sets_is_taken(small: Path, photographs: Path, tmp_path: Path) -> None:
    run = go_on(photographs, tmp_path / "run", small, settings={"views.mean": [0.7, 0.7, 0.7]})

    assert run.read_json("config.json")["views"]["mean"] == [0.7, 0.7, 0.7]
    assert run.read_json("config.json")["views"]["std"] == [0.4, 0.5, 0.6]


def test_how_an_untrained_network_starts_is_the_runs_own_setting(
    small: Path, photographs: Path, tmp_path: Path, first: list[State]
) -> None:
    run = go_on(photographs, tmp_path / "run", small, settings={"backbone.zero_init_residual": False})

    assert equal(first[0], load_file(str(small / "backbone.safetensors")))
    assert load_backbone(run).zero_init_residual is False
    assert load_backbone(small).zero_init_residual is True


def test_a_run_can_be_repeated_from_its_own_file(small: Path, photographs: Path, tmp_path: Path) -> None:
    run = go_on(photographs, tmp_path / "run", small)
    again = go_on(None, tmp_path / "again", config=run.path / "config.json")

    assert again.weights.read_bytes() == run.weights.read_bytes()


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    folder = tmp_path / "tiles"
    folder.mkdir()
    for index in range(8):
        pixels = np.random.default_rng(index).integers(0, 40000, (24, 24, 5), dtype=np.uint16)
        np.save(folder / f"{index}.npy", pixels)
    return folder


def test_weights_of_bands_keep_the_figures_that_they_were_trained_with(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = go_on(tiles, tmp_path / "before", None, "timm/test_resnet", settings={"data.bands": 5})
    brighter = tmp_path / "brighter"
    brighter.mkdir()
    for file in tiles.iterdir():
        np.save(brighter / file.name, np.load(file) + np.uint16(20000))
    monkeypatch.setattr("manyview.training.bands.measure_bands", lambda *_, **__: pytest.fail("measured anew"))

    run = go_on(brighter, tmp_path / "run", before.path, settings={"data.bands": 5})

    views = run.read_json("config.json")["views"]
    assert len(views["mean"]) == 5
    assert views == before.read_json("config.json")["views"]


def test_weights_that_do_not_say_leave_bands_to_be_measured(tiles: Path, tmp_path: Path) -> None:
    torch.save(build_backbone("timm/test_resnet", in_channels=5).state_dict(), tmp_path / "w.pth")

    run = go_on(tiles, tmp_path / "run", tmp_path / "w.pth", "timm/test_resnet", settings={"data.bands": 5})

    pixels = np.stack([np.load(file) for file in sorted(tiles.iterdir())]) / 65535
    assert run.read_json("config.json")["views"]["mean"] == pytest.approx(pixels.mean((0, 1, 2)), abs=1e-6)


def test_weights_for_other_channels_are_refused(small: Path, tiles: Path, photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        go_on(tiles, tmp_path / "run", small, settings={"data.bands": 5})

    file = small / "backbone.safetensors"
    assert str(caught.value) == (
        f"{file} holds weights for images of 3 channels, but those of the run have 5; start from weights for as many, "
        "or set data.bands to rgb or 3 if the photographs have them"
    )
    save_backbone(build_backbone("timm/test_resnet", in_channels=5), tmp_path / "five.safetensors", {})
    with pytest.raises(UserError, match=r"images of 5 channels, but .* have 3; .* set data\.bands to 5 if"):
        go_on(photographs, tmp_path / "run", tmp_path / "five.safetensors")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("layout", [torchvision, simsiam])
def test_another_network_than_named_is_refused_in_a_line(
    layout: Callable[[nn.Module, Path], Path], resnet: nn.Module, photographs: Path, tmp_path: Path
) -> None:
    file = layout(resnet, tmp_path)
    with pytest.raises(UserError) as caught:
        go_on(photographs, tmp_path / "run", file, "resnet34")

    assert str(caught.value) == (
        f"{file} holds the weights of resnet18, but the run's backbone is resnet34; leave out the backbone's name, "
        "which follows the weights, or start from others"
    )
    assert not (tmp_path / "run").exists()
    file.unlink()


def test_another_network_than_the_run_says_is_refused_in_a_line(small: Path, photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds the weights of timm/test_resnet, but the run's backbone is resnet18; "):
        go_on(photographs, tmp_path / "run", small, "resnet18")


def test_weights_that_do_not_say_their_network_want_it_named(photographs: Path, tmp_path: Path) -> None:
    network = build_backbone("timm/test_resnet")
    torch.save(network.state_dict(), tmp_path / "w.pth")

    with pytest.raises(UserError, match=r"w\.pth does not say which network its weights are of; name it"):
        go_on(photographs, tmp_path / "run", tmp_path / "w.pth")
    run = go_on(photographs, tmp_path / "run", tmp_path / "w.pth", "timm/test_resnet")
    assert run.read_json("run.json")["init"]["convolutions"]["matched"] > 0


def test_every_layer_must_match(photographs: Path, tmp_path: Path) -> None:
    state = build_backbone("timm/test_resnet").state_dict()
    del state["bn1.weight"]
    torch.save(state, tmp_path / "w.pth")

    with pytest.raises(UserError, match=r"does not fit timm/test_resnet, .*: 1 missing \(bn1\.weight\)"):
        go_on(photographs, tmp_path / "run", tmp_path / "w.pth", "timm/test_resnet")
    assert not (tmp_path / "run").exists()


def test_a_missing_file_is_told_with_the_other_mistakes(photographs: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nix.pth"
    with pytest.raises(UserError, match=rf"^there is no file or folder {re.escape(str(nowhere))}$"):
        go_on(photographs, tmp_path / "run", nowhere)
    with pytest.raises(UserError, match=r"^2 mistakes .*views\.size .*; there is no file or folder .*nix\.pth$"):
        go_on(photographs, tmp_path / "run", nowhere, view_size=0)


class Interrupting(TinyNet):
    """A network during whose pass, in some step, the process is interrupted."""

    def __init__(self, step: int = 999) -> None:
        super().__init__()
        self.step, self.passes = step, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.passes += 1
            if self.passes == 2 * self.step:
                signal.raise_signal(signal.SIGINT)
        return super().forward(x)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Of a module of one's own."""
    network = TinyNet()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    save_backbone(wrap_backbone(shaken(network), 16), tmp_path / "own.safetensors", {})
    return tmp_path / "own.safetensors"


def own_run(images: Path | None, out: Path, init: Path | None, step: int = 999, **named: Any) -> RunFolder:
    return train_tiny(images, out, backbone=Interrupting(step), init=init, **named)


def test_a_module_of_ones_own_is_filled(weights: Path, photographs: Path, tmp_path: Path, first: list[State]) -> None:
    own_run(photographs, tmp_path / "run", weights, epochs=1)

    assert equal(first[0], load_file(str(weights)))


def test_a_module_of_ones_own_that_does_not_fit_is_refused(small: Path, photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not fit own:.*Interrupting, .* missing") as caught:
        own_run(photographs, tmp_path / "run", small)

    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_weights_of_a_module_of_ones_own_want_that_module(weights: Path, photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a module of your own: call manyview\.pretrain\(\.\.\., backbone=module\)"):
        go_on(photographs, tmp_path / "run", weights)


@pytest.fixture
def uninterrupted(weights: Path, photographs: Path, tmp_path: Path) -> RunFolder:
    return own_run(photographs, tmp_path / "whole", weights)


def interrupted(images: Path, out: Path, init: Path, step: int = 3) -> Path:
    with pytest.raises(KeyboardInterrupt):
        own_run(images, out, init, step)
    return out


def ends(run: RunFolder) -> list[bytes]:
    last = run.path / "checkpoints" / "step-000000008"
    return [file.read_bytes() for file in (run.weights, last.with_suffix(".safetensors"), last.with_suffix(".json"))]


def test_a_stopped_run_resumes_to_the_bit_without_the_weights(
    weights: Path, photographs: Path, tmp_path: Path, uninterrupted: RunFolder
) -> None:
    out = interrupted(photographs, tmp_path / "run", weights)
    weights.unlink()

    run = own_run(None, out, None, resume=True)

    assert ends(run) == ends(uninterrupted)
    assert run.read_json("config.json")["backbone"]["init"] == str(weights)


def test_a_resumed_run_keeps_the_normalisation_of_its_first_weights(
    small: Path, photographs: Path, tmp_path: Path
) -> None:
    init = Path(shutil.copytree(small, tmp_path / "small"))
    run = go_on(photographs, tmp_path / "run", init)
    shutil.rmtree(init)

    resumed = go_on(None, run.path, resume=True)

    assert load_backbone(resumed).mean == (0.1, 0.2, 0.3)


def test_the_same_weights_may_be_stated_again_and_no_others(
    weights: Path, photographs: Path, tmp_path: Path, uninterrupted: RunFolder
) -> None:
    out = interrupted(photographs, tmp_path / "run", weights)
    with pytest.raises(UserError, match=r"was started with other settings: backbone\.init was '.*own.*', now '.*other"):
        own_run(None, out, tmp_path / "other.pth", resume=True)

    assert ends(own_run(None, out, weights, resume=True)) == ends(uninterrupted)


def test_a_run_without_weights_is_not_resumed_from_some(weights: Path, photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        own_run(photographs, tmp_path / "run", None, 3)
    with pytest.raises(UserError, match=r"backbone\.init was None, now '.*own\.safetensors'"):
        own_run(None, tmp_path / "run", weights, resume=True)


def test_stopped_before_the_first_checkpoint(
    weights: Path, photographs: Path, tmp_path: Path, uninterrupted: RunFolder
) -> None:
    out = interrupted(photographs, tmp_path / "run", weights)
    shutil.rmtree(out / "checkpoints")
    (out / "backbone.safetensors").unlink()
    whole = weights.read_bytes()

    weights.unlink()
    with pytest.raises(UserError, match=r"no checkpoint yet and starts from its first weights: there is no"):
        own_run(None, out, None, resume=True)
    network = wrap_backbone(TinyNet(), 16)
    save_backbone(network, weights, {})
    with pytest.raises(UserError, match=r"own\.safetensors has changed since .*run was started from it"):
        own_run(None, out, None, resume=True)
    weights.write_bytes(whole)
    assert ends(own_run(None, out, None, resume=True)) == ends(uninterrupted)


def test_runs_without_initial_weights_say_nothing_of_them(photographs: Path, tmp_path: Path) -> None:
    run = train_tiny(photographs, tmp_path / "run", epochs=1)

    assert "init" not in run.read_json("run.json")
    assert json.loads((run.path / "config.json").read_text())["backbone"]["init"] is None
