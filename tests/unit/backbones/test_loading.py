from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file
from torch import Tensor, nn
from torchvision import models

from manyview.backbones import Backbone, build_backbone, load_backbone, save_backbone, wrap_backbone
from manyview.errors import UserError
from tests.helpers.narrow import narrowed
from tests.helpers.random_weights import save_random

DAMAGED = "is empty|is damaged: its content|is truncated|is damaged, truncated, or not a checkpoint|is not a checkpoint"


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    """ResNets with a quarter of their channels."""
    with narrowed(4):
        yield


@pytest.fixture(scope="module")
def backbone(narrow: None) -> Backbone:
    torch.manual_seed(0)
    backbone = build_backbone("resnet18", zero_init_residual=False)
    backbone(torch.randn(4, 3, 32, 32))  # The running statistics leave their start.
    return backbone.eval()


@pytest.fixture(scope="module")
def weights(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    save_backbone(backbone, path, {"epoch": "3"})
    return path


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("name", ["resnet18", "timm/test_resnet", "timm/test_vit"])
def test_a_network_for_weights_draws_no_random_ones(name: str, tmp_path: Path) -> None:
    saved = save_random(tmp_path / "w.safetensors", name, zero_init_residual=False)
    before = torch.get_rng_state()
    loaded = load_backbone(saved)
    assert torch.equal(torch.get_rng_state(), before)
    found = load_file(saved)
    assert all(torch.equal(value, found[key]) for key, value in loaded.state_dict().items())
    assert build_backbone(name).state_dict().keys() == found.keys()
    assert not torch.equal(torch.get_rng_state(), before)


def test_what_is_saved_comes_back(backbone: Backbone, weights: Path) -> None:
    loaded = load_backbone(weights)
    assert same(loaded, backbone)
    assert not any(module.training for module in loaded.modules())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(images), backbone(images))
    assert same(load_backbone(str(weights), "resnet18"), backbone)
    assert [file.name for file in weights.parent.iterdir()] == ["backbone.safetensors"]


def test_the_file_speaks_for_itself(weights: Path) -> None:
    with safe_open(str(weights), framework="pt") as file:
        metadata = file.metadata()
    assert metadata.items() >= {"epoch": "3", "format": "manyview-backbone", "name": "resnet18"}.items()
    assert (metadata["mean"], metadata["std"]) == ("0.485,0.456,0.406", "0.229,0.224,0.225")
    missing, unexpected = models.resnet18(weights=None).load_state_dict(load_file(weights), strict=False)
    assert missing == ["fc.weight", "fc.bias"]
    assert unexpected == []


def test_a_timm_network_comes_back_under_timms_names(tmp_path: Path) -> None:
    network = build_backbone("test_vit")
    save_backbone(network, tmp_path / "w.safetensors", {})
    assert load_file(tmp_path / "w.safetensors").keys() == network.state_dict().keys()
    for name in (None, "test_vit", "timm/test_vit"):
        assert same(load_backbone(tmp_path / "w.safetensors", name), network)


def test_memory_format_and_shared_tensors_do_not_matter(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 3)
            self.second = nn.Conv2d(3, 3, 3)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    module = Tied().to(memory_format=torch.channels_last)
    save_backbone(wrap_backbone(module, 16), tmp_path / "own.safetensors", {})
    stored = load_file(tmp_path / "own.safetensors")
    assert all(torch.equal(stored[key], value) for key, value in module.state_dict().items())
    with pytest.raises(UserError, match=r"weights of a module of your own \(.*Tied\); make that module"):
        load_backbone(tmp_path / "own.safetensors")
    other = wrap_backbone(Tied(), 16)
    assert load_backbone(tmp_path / "own.safetensors", into=other) is other
    assert same(other.network, module)
    assert not other.training


def test_a_run_folder_is_read(backbone: Backbone, tmp_path: Path) -> None:
    save_backbone(backbone, tmp_path / "backbone.safetensors", {})
    assert same(load_backbone(tmp_path), backbone)


def test_a_folder_without_weights_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run folder"):
        load_backbone(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')  # a model of transformers, for TensorFlow alone
    with pytest.raises(UserError, match=r"nor model\.safetensors or pytorch_model\.bin or backbone\.pt of other"):
        load_backbone(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="has no weights yet"):
        load_backbone(tmp_path)


@pytest.mark.parametrize("given", ["", "detector.safetensors"])
def test_a_detector_is_no_backbone(tmp_path: Path, given: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "detector.safetensors").touch()
    with pytest.raises(
        UserError, match=r"is a fine-tuned detector, not a backbone: .* detect --predict \S+\), or give"
    ):
        load_backbone(tmp_path / given)


def classifier(backbone: Backbone) -> dict[str, Tensor]:
    network = models.resnet18(weights=None)
    network.load_state_dict(backbone.state_dict(), strict=False)
    return network.state_dict()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_torchvisions_own_file_is_read_without_its_classifier(
    backbone: Backbone, tmp_path: Path, wrapped: bool, legacy: bool
) -> None:
    state = classifier(backbone)
    assert "fc.weight" in state
    content = {"state_dict": state, "epoch": 4} if wrapped else state
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    assert same(load_backbone(tmp_path / "w.pth", "resnet18"), backbone)


def test_bare_safetensors_of_a_resnet_need_no_name(backbone: Backbone, tmp_path: Path) -> None:
    save_file(classifier(backbone), tmp_path / "w.safetensors")
    assert same(load_backbone(tmp_path / "w.safetensors", "resnet18"), backbone)
    assert same(load_backbone(tmp_path / "w.safetensors"), backbone)


def test_bare_safetensors_of_others_need_a_name(tmp_path: Path) -> None:
    save_file(build_backbone("test_vit").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="does not say which network its weights are of; name it"):
        load_backbone(tmp_path / "w.safetensors")


def test_counters_of_old_files_may_lack(backbone: Backbone, tmp_path: Path) -> None:
    state = {key: value for key, value in backbone.state_dict().items() if "num_batches" not in key}
    torch.save(state, tmp_path / "w.pth")
    loaded = load_backbone(tmp_path / "w.pth", "resnet18").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_another_name_than_the_files_is_refused(weights: Path) -> None:
    with pytest.raises(UserError, match="holds the weights of resnet18, not of resnet50"):
        load_backbone(weights, "resnet50")


def without(key: str) -> Callable[[dict[str, Tensor]], None]:
    def change(state: dict[str, Tensor]) -> None:
        del state[key]

    return change


def renamed(state: dict[str, Tensor]) -> None:
    state["layer1.0.conv9.weight"] = state.pop("layer1.0.conv1.weight")


def reshaped(state: dict[str, Tensor]) -> None:
    state["conv1.weight"] = state["conv1.weight"][..., :3, :3].contiguous()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("layer2.0.conv1.weight"), r"has 120 weights: 1 missing \(layer2\.0\.conv1\.weight\)$"),
        (without("bn1.running_mean"), r"weights: 1 missing \(bn1\.running_mean\)$"),
        (renamed, r": 1 missing \(layer1\.0\.conv1\.weight\); 1 unknown \(layer1\.0\.conv9\.weight\)$"),
        (reshaped, r": 1 of another shape \(conv1\.weight \(16, 3, 3, 3\) instead of \(16, 3, 7, 7\)\)$"),
    ],
)
def test_every_tensor_is_accounted_for(
    backbone: Backbone, tmp_path: Path, change: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    state = dict(backbone.state_dict())
    change(state)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=message):
        load_backbone(tmp_path / "w.pth", "resnet18")


def test_the_wrong_architecture_is_refused(tmp_path: Path) -> None:
    state = build_backbone("timm/test_resnet").state_dict()
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"does not fit resnet18, which has 120 weights: \d+ missing \(conv1\.weight, "):
        load_backbone(tmp_path / "w.pth", "resnet18")
    torch.save({"arch": "test_resnet", "state_dict": state}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"holds the weights of test_resnet, not of resnet18; leave the name out$"):
        load_backbone(tmp_path / "w.pth", "resnet18")


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_not_executed(tmp_path: Path, zipped: bool) -> None:
    file, marker = tmp_path / "w.pth", tmp_path / "executed"
    if zipped:
        torch.save({"state_dict": {"conv1.weight": Payload(marker)}}, file)
    else:
        file.write_bytes(pickle.dumps({"conv1.weight": Payload(marker)}, protocol=2))
    with pytest.raises(UserError, match="could execute code, so it is refused"):
        load_backbone(file, "resnet18")
    assert not marker.exists()


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(3, 3, 1), tmp_path / "w.pth")
    with pytest.raises(UserError, match="could execute code, so it is refused"):
        load_backbone(tmp_path / "w.pth", "resnet18")


@pytest.fixture(scope="module", params=["safetensors", "pth", "legacy.pth"])
def whole_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound file of each format, for reading only."""
    network, file = build_backbone("timm/test_resnet"), tmp_path_factory.mktemp("whole") / f"w.{request.param}"
    if request.param == "safetensors":
        save_backbone(network, file, {})
    else:
        torch.save(network.state_dict(), file, _use_new_zipfile_serialization=request.param == "pth")
    assert same(load_backbone(file, "test_resnet"), network)
    return file


@pytest.mark.parametrize("keep", [0, 5, 30, 0.5, 0.99])
def test_a_cut_file_is_damaged(tmp_path: Path, whole_file: Path, keep: float) -> None:
    file, content = tmp_path / whole_file.name, whole_file.read_bytes()
    file.write_bytes(content[: keep if isinstance(keep, int) else int(len(content) * keep)])
    with pytest.raises(UserError, match=DAMAGED):
        load_backbone(file, "test_resnet")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w"])
@pytest.mark.parametrize("content", [b"hello world\n", b"\x89PNG\r\n\x1a\n" + bytes(40), pickle.dumps({"a": 1})])
def test_something_else_is_no_checkpoint(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=DAMAGED):
        load_backbone(tmp_path / name, "resnet18")


def test_tensors_without_names_are_no_weights(tmp_path: Path) -> None:
    for content in ([torch.zeros(1)], {"epoch": 3}, {"state_dict": {"a": [1]}}):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(UserError, match="does not hold a network's weights by their own names"):
            load_backbone(tmp_path / "w.pth", "resnet18")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file or folder"):
        load_backbone(tmp_path / "none.pth", "resnet18")


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        save_backbone(build_backbone("timm/test_resnet"), tmp_path / "none" / "w.safetensors", {})


def test_the_normalization_of_a_run_comes_back_with_its_weights(tmp_path: Path) -> None:
    backbone = build_backbone("resnet18")
    assert (backbone.mean, backbone.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    backbone.mean, backbone.std = (0.1, 0.2, 0.30000000000000004), (1.0, 2.0, 1 / 3)
    save_backbone(backbone, tmp_path / "b.safetensors", {})

    loaded = load_backbone(tmp_path / "b.safetensors")

    assert (loaded.mean, loaded.std) == (backbone.mean, backbone.std)


@pytest.mark.parametrize("name", ["resnet18", "timm/test_vit"])
def test_bands_come_back_with_their_normalization(name: str, tmp_path: Path) -> None:
    network = build_backbone(name, in_channels=4)
    network.mean, network.std = (0.1, 0.2, 0.3, 0.4), (0.5, 0.25, 0.125, 1 / 3)
    save_backbone(network, tmp_path / "w.safetensors", {})

    loaded = load_backbone(tmp_path / "w.safetensors")

    assert same(loaded, network)
    assert (loaded.in_channels, loaded.rgb) == (4, False)
    assert (loaded.mean, loaded.std) == (network.mean, network.std)
    with safe_open(str(tmp_path / "w.safetensors"), framework="pt") as file:
        assert file.metadata().items() >= {"in_channels": "4", "rgb": "false"}.items()


def test_three_bands_are_not_taken_for_rgb(tmp_path: Path) -> None:
    network = build_backbone("resnet18")
    assert load_saved(network, tmp_path).rgb
    network.rgb = False
    assert not load_saved(network, tmp_path).rgb


def load_saved(network: Backbone, folder: Path) -> Backbone:
    save_backbone(network, folder / "w.safetensors", {})
    return load_backbone(folder / "w.safetensors")


def test_a_file_of_before_there_were_bands_is_rgb(backbone: Backbone, tmp_path: Path) -> None:
    about = {"format": "manyview-backbone", "name": "resnet18", "mean": "0.5,0.5,0.5", "std": "1.0,1.0,1.0"}
    save_file(backbone.state_dict(), tmp_path / "w.safetensors", about)

    loaded = load_backbone(tmp_path / "w.safetensors")

    assert (loaded.in_channels, loaded.rgb, loaded.mean) == (3, True, (0.5, 0.5, 0.5))


@pytest.mark.parametrize("name", ["resnet18", "timm/test_vit"])
def test_other_channels_than_asked_for_are_one_sentence(name: str, tmp_path: Path) -> None:
    network = build_backbone(name, in_channels=5)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    first = "conv1.weight" if name == "resnet18" else "patch_embed.proj.weight"

    with pytest.raises(UserError) as caught:
        load_backbone(tmp_path / "w.pth", name)

    assert str(caught.value) == (
        f"{tmp_path / 'w.pth'} holds weights for images of 5 channels ({first}), but {name} was built for 3; "
        "call load_backbone(weights, name, in_channels=5)"
    )
    assert same(load_backbone(tmp_path / "w.pth", name, in_channels=5), network)


def test_channels_that_the_file_contradicts(tmp_path: Path) -> None:
    save_backbone(build_backbone("resnet18", in_channels=5), tmp_path / "w.safetensors", {})
    with pytest.raises(UserError, match="holds weights for images of 5 channels"):
        load_backbone(tmp_path / "w.safetensors", in_channels=4)
    with pytest.raises(UserError, match="holds weights for images of 5 channels"):
        load_backbone(tmp_path / "w.safetensors", into=build_backbone("resnet18"))
