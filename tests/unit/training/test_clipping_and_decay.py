"""Gradient clipping and the schedule of the weight decay, against their definitions and through runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from manyview.backbones import save_backbone, wrap_backbone
from manyview.config import ConfigError, PretrainConfig, resolve
from manyview.config.resolve import Assignment
from manyview.methods import build_method
from manyview.runs import RunFolder
from manyview.training.optimizer import clip_gradients, make_optimizer, set_weight_decay, weight_decay
from tests.helpers.tiny import Interrupting, TinyNet, train_tiny

LAST = "checkpoints/step-000000008"


def config(**settings: Any) -> PretrainConfig:
    values = {"method.projection_dim": 8, "method.prediction_hidden_dim": 4}
    values |= {"backbone.init": "w.pth"} if "l2_sp" in settings else {}
    values |= {f"training.{key}": value for key, value in settings.items()}
    return resolve({"data": {"images": "photos"}}, [Assignment(key, value, "--set") for key, value in values.items()])


# --- clipping


@pytest.mark.parametrize("limit", [0.5, 3.0, 1e4])
def test_gradients_are_shortened_together(limit: float) -> None:
    """All by one factor min(1, limit / |g|), with g the vector of all gradients; those without one are left out."""
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((3, 4), (5,), (2, 2))]
    for parameter in parameters[:2]:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    before = [parameter.grad.double().numpy() for parameter in parameters[:2] if parameter.grad is not None]
    norm = np.sqrt(sum((gradient**2).sum() for gradient in before))

    clip_gradients(parameters, limit)

    for parameter, gradient in zip(parameters, before, strict=False):
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), gradient * min(1, limit / norm), rtol=1e-5)
    assert parameters[2].grad is None


def first_gradient(run: RunFolder) -> Tensor:
    """The gradient that SGD took in the run's only step, which its momentum is, without weight decay."""
    tensors = load_file(str(run.path / "checkpoints" / "step-000000001.safetensors"))
    chosen = sorted(name for name in tensors if name.startswith("momentum."))
    return torch.cat([tensors[name].flatten() for name in chosen])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_mean_gradient_of_a_step_is_clipped(photos: Path, tmp_path: Path, accumulate: int) -> None:
    def run(name: str, **settings: Any) -> RunFolder:
        values = {"training.accumulate": accumulate, "training.weight_decay": 0.0, **settings}
        size = 16 // accumulate
        return train_tiny(
            photos, tmp_path / name, backbone=TinyNet(dropout=0), epochs=1, batch_size=size, settings=values
        )

    free, loose = run("free"), run("loose", **{"training.clip_norm": 1e6})
    clipped = run("clipped", **{"training.clip_norm": 0.01})

    whole, short = first_gradient(free), first_gradient(clipped)
    assert whole.norm() > 0.02
    torch.testing.assert_close(short, whole * (0.01 / whole.norm()), rtol=1e-3, atol=1e-8)
    assert torch.equal(first_gradient(loose), whole)


def test_a_frozen_backbone_does_not_count(photos: Path, tmp_path: Path) -> None:
    """The heads' gradient alone has the norm; its momentum is all there is."""
    weights = tmp_path / "w.safetensors"
    save_backbone(wrap_backbone(TinyNet(), 16), weights, {})
    settings = {"training.weight_decay": 0.0, "training.clip_norm": 0.01, "training.freeze_backbone_steps": 1}
    run = train_tiny(
        *(photos, tmp_path / "run"),
        **{"init": weights, "settings": settings, "epochs": None, "steps": 2, "batch_size": 16},
    )
    assert first_gradient(run).norm().item() == pytest.approx(0.01, rel=1e-3)


# --- weight decay

EPOCHS, SPE = 5, 7
STEPS = np.arange(EPOCHS * SPE, dtype=np.float64)


@pytest.mark.parametrize(("start", "end"), [(0.04, 0.4), (0.4, 0.0), (0.0, 0.1)])
def test_the_decay_follows_a_cosine(start: float, end: float) -> None:
    settings = config(epochs=EPOCHS, weight_decay=start, weight_decay_end=end)
    expected = end + (start - end) * (1 + np.cos(np.pi * STEPS / (EPOCHS * SPE))) / 2

    found = [weight_decay(settings, int(step), SPE) for step in STEPS]

    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[0] == pytest.approx(start)
    assert abs(found[-1] - end) < 0.01 * abs(end - start)


def test_the_decay_is_constant_by_default_and_follows_steps() -> None:
    assert {weight_decay(config(weight_decay=0.3), step, SPE) for step in range(20)} == {0.3}
    by_steps = config(steps=10, weight_decay=0.0, weight_decay_end=1.0)
    np.testing.assert_allclose(weight_decay(by_steps, 5, 1000), 0.5)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_only_decayed_groups_follow(optimizer: str) -> None:
    """Norms and biases, and with L2-SP the backbone, stay without."""
    settings = config(optimizer=optimizer, weight_decay=0.0, weight_decay_end=0.4, l2_sp=0.5)
    method = build_method(wrap_backbone(TinyNet(), 16), settings)
    made = make_optimizer(method, settings)

    set_weight_decay(made, 0.25)

    decays = {parameter: group["weight_decay"] for group in made.param_groups for parameter in group["params"]}
    assert set(decays.values()) == {0.0, 0.25}
    for name, parameter in method.named_parameters():
        decayed = not name.startswith("backbone.") and (optimizer == "sgd" or parameter.ndim > 1)
        assert decays[parameter] == (0.25 if decayed else 0.0), name


def test_a_run_applies_it_in_each_step(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[float]] = []
    step = torch.optim.AdamW.step

    def watched(optimizer: torch.optim.AdamW, *args: Any, **named: Any) -> Any:
        seen.append({group["weight_decay"] for group in optimizer.param_groups})
        return step(optimizer, *args, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    settings = {"training.optimizer": "adamw", "training.weight_decay": 0.04, "training.weight_decay_end": 0.4}
    train_tiny(photos, tmp_path / "run", settings=settings)

    expected = 0.4 + (0.04 - 0.4) * (1 + np.cos(np.pi * np.arange(8) / 8)) / 2
    assert [min(values) for values in seen] == [0.0] * 8
    np.testing.assert_allclose([max(values) for values in seen], expected)


def test_both_resume_to_the_bit(photos: Path, tmp_path: Path) -> None:
    settings = {"training.optimizer": "adamw", "training.weight_decay": 0.1, "training.weight_decay_end": 9.0}
    settings |= {"training.clip_norm": 0.05}
    whole = train_tiny(photos, tmp_path / "whole", backbone=Interrupting(999), settings=settings)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(photos, tmp_path / "run", backbone=Interrupting(3), settings=settings)
    run = train_tiny(None, tmp_path / "run", backbone=Interrupting(999), resume=True)
    plain = train_tiny(photos, tmp_path / "plain", backbone=Interrupting(999), settings={"training.optimizer": "adamw"})

    for file in ("backbone.safetensors", f"{LAST}.safetensors", f"{LAST}.json"):
        assert (run.path / file).read_bytes() == (whole.path / file).read_bytes(), file
    assert plain.weights.read_bytes() != whole.weights.read_bytes()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"clip_norm": 0}, "training.clip_norm (--set) must be greater than 0, not 0"),
        ({"weight_decay_end": -1}, "training.weight_decay_end (--set) must be greater than or equal to 0, not -1"),
    ],
)
def test_mistakes(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**settings)
    assert caught.value.problems == (sentence,)
