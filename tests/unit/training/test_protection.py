"""What keeps a backbone near its initial weights: kept statistics, frozen first steps, L2-SP, and the blend."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import manyview
from manyview.backbones import Backbone, build_backbone, load_backbone, wrap_backbone
from manyview.backbones.weights import own_weights
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.evaluation.quality.instrument import QualityInstrument
from manyview.methods import METHODS, build_method
from manyview.runs import RunFolder
from manyview.training.optimizer import make_optimizer, set_learning_rate
from manyview.training.protection import Protection
from tests.helpers.checkpoint_files import shaken
from tests.helpers.starting import go_on, own_run
from tests.helpers.tiny import METHODS as SMALL
from tests.helpers.tiny import TinyNet, train_tiny

EVERYTHING = {
    "training.norm_statistics": "keep",
    "training.freeze_backbone_steps": 4,
    "training.backbone_learning_rate_factor": 0.3,
    "training.l2_sp": 0.1,
    "training.blend": 0.25,
}
# Two views of an image, not eight.
PAIR = {"views.kind": "whole", "views.pairs": 1}
NETWORKS = ("test_resnet", "test_efficientnet", "test_convnext", "test_vit")


def checkpoint(run: RunFolder, step: int) -> dict[str, Tensor]:
    return load_file(str(run.path / "checkpoints" / f"step-{step:09d}.safetensors"))


def part(run: RunFolder, step: int, name: str = "backbone") -> dict[str, Tensor]:
    prefix = f"model.{name}."
    return {key.removeprefix(prefix): value for key, value in checkpoint(run, step).items() if key.startswith(prefix)}


def is_statistic(name: str) -> bool:
    return "running_" in name or "num_batches" in name


def configured(training: dict[str, Any], method: str = "simsiam") -> PretrainConfig:
    return PretrainConfig.model_validate(
        {
            "data": {"images": "photos"},
            "method": {"name": method, **SMALL[method]},
            "training": {"batch_size": 4, **training},
        }
    )


# --- norm statistics


@pytest.mark.parametrize("method", METHODS)
def test_kept_statistics_stay_and_all_else_learns(
    method: str, weights: Path, photos: Path, labels: Path, tmp_path: Path
) -> None:
    settings = {"training.norm_statistics": "keep", "method.name": method}
    if METHODS[method].section.labeled:
        settings["data.labels"] = str(labels)
    run = own_run(photos, tmp_path / "run", weights, settings=settings)

    initial, trained = load_file(str(weights)), part(run, 8)
    assert any(is_statistic(name) for name in initial)
    for name, value in initial.items():
        assert torch.equal(value, trained[name]) == is_statistic(name), name
    for other in {key.split(".")[1] for key in checkpoint(run, 8) if key.startswith("model.")}:
        if other.endswith("_backbone"):  # of a momentum encoder
            momentum = {name: value for name, value in part(run, 8, other).items() if is_statistic(name)}
            assert momentum
            assert all(torch.equal(initial[name], value) for name, value in momentum.items())
    heads = {name: value for name, value in part(run, 8, "projector").items() if name.endswith("num_batches_tracked")}
    assert all(value > 0 for value in heads.values())


def test_norms_normalize_by_kept_statistics_and_dropout_goes_on() -> None:
    backbone = wrap_backbone(TinyNet(dropout=0.5), 16)
    x = torch.randn(4, 3, 16, 16) * 3 + 1
    backbone.keep_statistics(True)
    backbone.train()
    assert not torch.equal(backbone(x), backbone(x))
    for module in backbone.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    kept = backbone(x)
    assert torch.equal(kept, backbone.eval()(x))
    backbone.keep_statistics(False)
    assert not torch.equal(kept, backbone.train()(x))


def test_synchronized_norms_are_kept_too() -> None:
    """Outside of training, SyncBatchNorm normalizes by its statistics, without a process group."""
    backbone = wrap_backbone(TinyNet(dropout=0.0), 16)
    backbone.keep_statistics(True)
    config = configured({}, "simsiam")
    method = build_method(backbone, config)
    method.synchronize_norms()
    method.train()
    norms = [module for module in method.backbone.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert len(norms) == 2
    assert not any(norm.training for norm in norms)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_family_continues(network: str, photos: Path, tmp_path: Path) -> None:
    state = shaken(build_backbone(f"timm/{network}")).state_dict()
    torch.save(
        {name: 1 + value if name.endswith(".gamma") else value for name, value in state.items()}, tmp_path / "w.pth"
    )
    size = 160 if network == "test_vit" else 32  # the transformer takes no other
    settings = EVERYTHING | PAIR
    run = go_on(photos, tmp_path / "run", tmp_path / "w.pth", f"timm/{network}", settings, view_size=size, epochs=2)

    initial, trained, written = load_file(str(run.initial)), part(run, 8), load_file(str(run.weights))
    assert written.keys() == trained.keys()
    assert any(is_statistic(name) for name in initial) == (network in ("test_resnet", "test_efficientnet"))
    for name, value in trained.items():
        untrained = is_statistic(name) or name.startswith("head.")  # of a classifier that is not there
        assert torch.equal(value, initial[name]) == untrained, name
        blend = 0.75 * initial[name].double().numpy() + 0.25 * value.double().numpy()
        np.testing.assert_allclose(written[name].double().numpy(), blend, rtol=1e-6, atol=1e-7)


# --- frozen first steps


def test_frozen_steps_train_only_the_heads(weights: Path, photos: Path, tmp_path: Path) -> None:
    settings = {"training.freeze_backbone_steps": 4, "training.optimizer": "adamw"}
    run = own_run(photos, tmp_path / "run", weights, settings=settings)

    initial, frozen, trained = load_file(str(weights)), part(run, 4), part(run, 8)
    assert all(torch.equal(initial[name], value) for name, value in frozen.items())
    assert not any(torch.equal(initial[name], value) for name, value in trained.items())
    states = [name for name in checkpoint(run, 4) if name.startswith("optimizer.")]
    assert states
    assert not any(".backbone." in name for name in states)
    steps = {name: int(value) for name, value in checkpoint(run, 8).items() if name.startswith("optimizer.step.")}
    assert {count for name, count in steps.items() if ".backbone." in name} == {4}
    assert {count for name, count in steps.items() if ".projector." in name} == {8}


def test_a_run_that_would_stay_frozen_is_refused(weights: Path, photos: Path, tmp_path: Path) -> None:
    settings = {"training.freeze_backbone_steps": 8}
    with pytest.raises(UserError, match="frozen for 8 steps, but the whole run has 8"):
        own_run(photos, tmp_path / "run", weights, settings=settings)


# --- learning rates


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_the_backbone_has_its_own_rate(optimizer: str) -> None:
    config = configured({"optimizer": optimizer, "backbone_learning_rate_factor": 0.1, "constant_predictor_lr": True})
    method = build_method(wrap_backbone(TinyNet(), 16), config)
    made = make_optimizer(method, config)

    def rates() -> dict[str, set[float]]:
        names = {parameter: name.partition(".")[0] for name, parameter in method.named_parameters()}
        found: dict[str, set[float]] = {}
        for group in made.param_groups:
            for parameter in group["params"]:
                found.setdefault(names[parameter], set()).add(group["lr"])
        return found

    top = config.learning_rate
    assert rates() == {"backbone": {0.1 * top}, "projector": {top}, "predictor": {top}}
    set_learning_rate(made, 0.5)
    assert rates() == {"backbone": {0.05}, "projector": {0.5}, "predictor": {top}}
    assert sum(len(group["params"]) for group in made.param_groups) == len(list(method.parameters()))


# --- L2-SP


def test_l2_sp_is_the_gradient_of_its_penalty() -> None:
    """Three steps of SGD by hand in float64: w <- w - rate (g + alpha (w - w0)), without weight decay."""
    alpha, rate = 0.7, 0.05
    config = configured(
        {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.3, "l2_sp": alpha, "norm_statistics": "keep"}
    )
    backbone = wrap_backbone(TinyNet(dropout=0.0), 16).double()
    initial = own_weights(backbone)
    method = build_method(backbone, config).double().train()
    protection = Protection(method, config.training, initial)
    optimizer = make_optimizer(method, config)
    set_learning_rate(optimizer, rate)
    expected = {name: value.detach().numpy().copy() for name, value in backbone.named_parameters()}
    first = {name: value.copy() for name, value in expected.items()}
    for step in range(3):
        protection.before_step(step)
        (backbone(torch.randn(4, 3, 16, 16).double()).square().sum()).backward()
        for name, parameter in backbone.named_parameters():
            assert parameter.grad is not None
            penalty = alpha * (expected[name] - first[name])
            expected[name] = expected[name] - rate * (parameter.grad.numpy() + penalty)
        protection.after_backward(step)
        optimizer.step()
        optimizer.zero_grad()
    for name, parameter in backbone.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), expected[name], rtol=1e-12, err_msg=name)


def test_heads_keep_their_weight_decay_beside_l2_sp() -> None:
    config = configured({"l2_sp": 0.1, "weight_decay": 0.3})
    method = build_method(wrap_backbone(TinyNet(), 16), config)
    of_backbone = set(method.backbone.parameters())
    decays = {
        (parameter in of_backbone, group["weight_decay"])
        for group in make_optimizer(method, config).param_groups
        for parameter in group["params"]
    }
    assert decays == {(True, 0.0), (False, 0.3)}


# --- the blend, and resuming


def test_the_written_backbone_is_the_blend_and_says_so(weights: Path, photos: Path, tmp_path: Path) -> None:
    run = own_run(photos, tmp_path / "run", weights, settings={"training.blend": 0.25}, init_license="Apache-2.0")

    initial, trained, written = load_file(str(weights)), part(run, 8), load_file(str(run.weights))
    for name, value in written.items():
        blend = trained[name].double().numpy()
        if value.is_floating_point():
            blend = 0.75 * initial[name].double().numpy() + 0.25 * blend
        np.testing.assert_allclose(value.double().numpy(), blend, rtol=1e-6, atol=1e-7)
    with safe_open(str(run.weights), "pt") as file:
        about = file.metadata()
    assert (about["blend"], about["init_license"]) == ("0.25", "Apache-2.0")
    assert about["init_sha256"] == run.read_json("run.json")["init"]["sha256"]
    assert run.read_json("run.json")["init"]["license"] == "Apache-2.0"


@pytest.mark.parametrize("stopped", [3, 6], ids=["while frozen", "afterwards"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_stopped_run_resumes_to_the_bit(
    stopped: int, optimizer: str, weights: Path, photos: Path, tmp_path: Path
) -> None:
    settings = {**EVERYTHING, "training.optimizer": optimizer}
    whole = own_run(photos, tmp_path / "whole", weights, settings=settings)
    with pytest.raises(KeyboardInterrupt):
        own_run(photos, tmp_path / "run", weights, stopped, settings=settings)
    weights.unlink()
    run = own_run(None, tmp_path / "run", None, resume=True)

    for name in ("backbone.safetensors", "checkpoints/step-000000008.safetensors", "checkpoints/step-000000008.json"):
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes(), name


@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_lost_initial_weights_are_taken_again_from_where_they_came(
    damage: str, weights: Path, photos: Path, tmp_path: Path
) -> None:
    settings = {"training.blend": 0.5}
    whole = own_run(photos, tmp_path / "whole", weights, settings=settings)
    with pytest.raises(KeyboardInterrupt):
        own_run(photos, tmp_path / "run", weights, 6, settings=settings)
    file = tmp_path / "run" / "initial.safetensors"
    file.unlink() if damage == "lost" else file.write_bytes(file.read_bytes()[:-1])
    moved = weights.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"initial\.safetensors is .*, nor can it be made again: there is no"):
        own_run(None, tmp_path / "run", None, resume=True)
    save_file({**load_file(str(moved)), "more": torch.ones(1)}, str(weights))
    with pytest.raises(UserError, match=r"the weights that the run started from have changed"):
        own_run(None, tmp_path / "run", None, resume=True)
    moved.rename(weights)
    run = own_run(None, tmp_path / "run", None, resume=True)
    for name in ("backbone.safetensors", "initial.safetensors", "checkpoints/step-000000008.safetensors"):
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_killed_before_anything_was_saved(weights: Path, photos: Path, tmp_path: Path) -> None:
    """The initial weights are written again, as a later stop needs them."""
    whole = own_run(photos, tmp_path / "whole", weights, settings=EVERYTHING)
    out = Path(shutil.copytree(whole.path, tmp_path / "run"))
    shutil.rmtree(out / "checkpoints")
    (out / "initial.safetensors").unlink()

    own_run(None, out, None, resume=True)

    for name in ("initial.safetensors", "backbone.safetensors"):
        assert (out / name).read_bytes() == (whole.path / name).read_bytes()


def test_accumulated_batches_make_one_step_of_the_penalty(weights: Path, photos: Path, tmp_path: Path) -> None:
    """With every view the same and no batch statistics, two halves of a batch are a whole batch."""
    settings = {
        **{"training.norm_statistics": "keep", "training.l2_sp": 5.0, "training.optimizer": "sgd"},
        **{"method.name": "simsiam", "training.weight_decay": 0.0, "training.base_learning_rate": 1e-9},
    }
    heavy = {**settings, "training.momentum": 0.0}
    one = own_run(photos, tmp_path / "one", weights, settings=heavy)
    two = own_run(photos, tmp_path / "two", weights, batch_size=2, settings={**heavy, "training.accumulate": 2})
    for name, value in part(one, 8).items():
        torch.testing.assert_close(value, part(two, 8)[name], rtol=0, atol=1e-6)


# --- what is said and refused


@pytest.mark.parametrize(
    "settings",
    [
        {"training.blend": 0.3},
        {"training.l2_sp": 0.1},
        {"training.norm_statistics": "keep"},
        {"training.freeze_backbone_steps": 2},
    ],
)
def test_without_initial_weights_nothing_is_protected(settings: dict[str, Any], photos: Path, tmp_path: Path) -> None:
    key = next(iter(settings))
    with pytest.raises(UserError, match=rf"{key} \(set\) has no effect because backbone\.init is unset"):
        train_tiny(photos, tmp_path / "run", backbone="resnet18", settings=settings)


def test_the_recipe_needs_weights(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="recipe continue starts from weights that exist: name them with --init"):
        manyview.pretrain(photos, tmp_path / "run", recipe="continue", backbone="resnet18")
    assert not (tmp_path / "run").exists()


def test_what_a_start_from_weights_risks_is_said(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(name: str, **options: Any) -> str:
        own_run(photos, tmp_path / name, weights, quiet=False, epochs=1, **options)
        return " ".join(capsys.readouterr().err.split())

    plain = said("plain")
    assert "statistics of the initial weights' norms are replaced by those of augmented crops" in plain
    assert "The license of the initial weights is unknown here" in plain
    kept = said("kept", settings={"training.norm_statistics": "keep"}, init_license="MIT")
    assert "are replaced by those" not in kept
    assert "The initial weights are trained at the rate of the new heads" in kept
    assert "license" not in kept
    safe = said("safe", recipe="continue", settings={"training.freeze_backbone_steps": 2})
    assert "are replaced by those" not in safe
    assert "at the rate of the new heads" not in safe


def test_foreign_weights_of_timm_are_normalized_as_timm_does(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(build_backbone("timm/test_vit").state_dict(), tmp_path / "w.pth")
    options = {"backbone": "timm/test_vit", "settings": PAIR, "view_size": 160, "quiet": False}
    run = go_on(photos, tmp_path / "run", tmp_path / "w.pth", **options)

    err = " ".join(capsys.readouterr().err.split())
    assert "mean 0.5 0.5 0.5 and standard deviation 0.5 0.5 0.5: the file records none, so those that timm's own" in err
    assert run.read_json("config.json")["views"]["mean"] == [0.5] * 3
    assert load_backbone(tmp_path / "w.pth", "timm/test_vit").mean == (0.5,) * 3
    assert load_backbone(run).mean == (0.5,) * 3


def test_a_moved_run_holds_all_that_it_needs(weights: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        own_run(photos, tmp_path / "run", weights, 6, settings=EVERYTHING)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    weights.unlink()
    assert own_run(None, tmp_path / "moved", None, resume=True).weights.is_file()


def test_what_is_measured_and_kept_is_what_is_written(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Tensor]] = []

    def measure(self: QualityInstrument, backbone: Backbone, *, measured_norms: bool = False) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in backbone.state_dict().items()})
        return {"dense": float(len(seen))}

    monkeypatch.setattr(QualityInstrument, "measure", measure)
    settings = {"training.blend": 0.25, "monitor.keep_best": "dense", "monitor.eval_size": 16}
    run = own_run(photos, tmp_path / "run", weights, settings=settings, eval_every=4)

    written, best = load_file(str(run.weights)), load_file(str(run.path / "best.safetensors"))
    assert len(seen) == 3
    for name, value in written.items():
        assert torch.equal(value, seen[-1][name])
        assert torch.equal(value, best[name])
        assert not torch.equal(value, part(run, 8)[name]) or not value.is_floating_point()
    with safe_open(str(run.path / "best.safetensors"), "pt") as file:
        assert file.metadata()["blend"] == "0.25"
