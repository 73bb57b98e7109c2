"""Each optimizer against its definition in float64, and its whole state through a checkpoint."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from manyview.backbones import wrap_backbone
from manyview.config import ConfigError, PretrainConfig, resolve
from manyview.config.resolve import Assignment
from manyview.methods import Method, build_method
from manyview.runs.checkpoints import capture, restore
from manyview.training.optimizer import LARS, make_optimizer, set_learning_rate
from tests.helpers.tiny import Interrupting, train_tiny

SMALL = {"method.projection_dim": 8, "method.prediction_hidden_dim": 4}
OPTIMIZERS = ("sgd", "adamw", "lars")


def config(**settings: Any) -> PretrainConfig:
    values = {**SMALL, **{key.replace("__", "."): value for key, value in settings.items()}}
    return resolve({"data": {"images": "photos"}}, [Assignment(key, value, "--set") for key, value in values.items()])


def method_of(settings: PretrainConfig) -> Method:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    return build_method(wrap_backbone(layers, 16), settings)


def give_gradients(method: Method, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in method.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).contiguous()


@pytest.mark.parametrize("constant", [False, True])
def test_predictor_may_keep_its_rate(constant: bool) -> None:
    settings = config(training__constant_predictor_lr=constant)
    method = method_of(settings)
    optimizer = make_optimizer(method, settings)

    for rate in (0.1, 0.05, 0.01):
        set_learning_rate(optimizer, rate)
        rates = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
        kept = set(method.get_submodule("predictor").parameters()) if constant else set()
        assert all(shown == (0.1 if parameter in kept else rate) for parameter, shown in rates.items())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_parameter_is_optimized_once(name: str) -> None:
    """SGD decays all of them, the others all but norms and biases."""
    settings = config(training__optimizer=name, training__weight_decay=3e-3, training__constant_predictor_lr=True)
    method = method_of(settings)
    optimizer = make_optimizer(method, settings)

    optimized = list(itertools.chain.from_iterable(group["params"] for group in optimizer.param_groups))
    assert len(optimized) == len(set(optimized))
    assert set(optimized) == set(method.parameters())
    decays = {parameter: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    apart = {
        parameter
        for module in method.modules()
        for key, parameter in module.named_parameters(recurse=False)
        if key == "bias" or isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    }
    assert 0 < len(apart) < len(optimized)
    spared = set() if name == "sgd" else apart
    assert all(decay == (0 if parameter in spared else 3e-3) for parameter, decay in decays.items())
    constant = {parameter for group in optimizer.param_groups if group["constant"] for parameter in group["params"]}
    assert constant == set(method.get_submodule("predictor").parameters())


def oracle(
    name: str, start: list[np.ndarray], gradients: list[list[np.ndarray]], rates: list[float]
) -> list[np.ndarray]:
    """Where the definition leads, in float64: vectors are norms and biases."""
    weights, m, v = [list(map(np.float64, start))] + [[np.zeros(w.shape) for w in start] for _ in range(2)]
    for t, (grads, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        for i, g in enumerate(map(np.float64, grads)):
            w, matrix = weights[i], weights[i].ndim > 1
            if name == "sgd":
                m[i] = 0.9 * m[i] + g + 0.01 * w
                weights[i] = w - rate * m[i]
            elif name == "adamw":
                m[i], v[i] = 0.8 * m[i] + 0.2 * g, 0.95 * v[i] + 0.05 * g**2
                ratio = (m[i] / (1 - 0.8**t)) / (np.sqrt(v[i] / (1 - 0.95**t)) + 1e-8)
                weights[i] = w - rate * (ratio + (0.01 * w if matrix else 0))
            else:
                norm, size = np.sqrt((w**2).sum()), np.sqrt((g**2).sum())
                local = 0.02 * norm / (size + 0.01 * norm) if matrix else 1.0
                m[i] = 0.9 * m[i] + rate * local * (g + (0.01 * w if matrix else 0))
                weights[i] = w - m[i]
    return weights


EXTRA: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw": {"training__betas": [0.8, 0.95]},
    "lars": {"training__trust_coefficient": 0.02},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_the_definition(name: str) -> None:
    settings = config(training__optimizer=name, training__weight_decay=0.01, **EXTRA[name])
    method = method_of(settings)
    optimizer = make_optimizer(method, settings)
    start = [parameter.detach().numpy().copy() for parameter in method.parameters()]
    rates, gradients = [0.1, 0.07, 0.2, 0.03], []

    for step, rate in enumerate(rates):
        give_gradients(method, step)
        gradients.append([parameter.grad.numpy().copy() for parameter in method.parameters()])
        set_learning_rate(optimizer, rate)
        optimizer.step()

    expected = oracle(name, start, gradients, rates)
    for (parameter_name, parameter), there in zip(method.named_parameters(), expected, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), there, rtol=2e-5, atol=2e-6, err_msg=parameter_name)


def test_lars_takes_weights_of_zero_and_gradients_of_zero_as_they_are() -> None:
    zero, still = torch.zeros(2, 2), torch.ones(2, 2)
    optimizer = LARS([zero, still], lr=0.5, momentum=0.0)
    zero.grad, still.grad = torch.full((2, 2), 3.0), torch.zeros(2, 2)

    optimizer.step()

    assert torch.equal(zero, torch.full((2, 2), -1.5))
    assert torch.equal(still, torch.ones(2, 2))


def test_lars_skips_what_has_no_gradient_and_calls_a_closure() -> None:
    frozen = torch.ones(2, 2)
    optimizer = LARS([frozen], lr=0.5)

    assert optimizer.step(lambda: 7.0) == 7.0
    assert torch.equal(frozen, torch.ones(2, 2))
    assert optimizer.state == {}


# --- checkpoints


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_whole_state_comes_back(name: str) -> None:
    settings = config(training__optimizer=name)

    def stepped(method: Method, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            give_gradients(method, step)
            optimizer.step()

    whole = method_of(settings)
    stepped(whole, make_optimizer(whole, settings), range(5))
    first = method_of(settings)
    optimizer = make_optimizer(first, settings)
    stepped(first, optimizer, range(2))
    checkpoint = capture(first, optimizer, 2, True, {"totals": {}})
    second = method_of(settings)
    again = make_optimizer(second, settings)
    restore(checkpoint, second, again)
    stepped(second, again, range(2, 5))

    for (key, value), there in zip(second.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(value, there), key
    kept = {key.partition(".")[0] for key in checkpoint.tensors}
    assert kept == ({"model", "optimizer"} if name == "adamw" else {"model", "momentum"})
    assert checkpoint.state == {"totals": {}}
    convolution = second.backbone.state_dict
    (first_key,) = (key for key in convolution() if key.endswith("0.weight"))
    buffers = again.state[dict(second.named_parameters())["backbone.network." + first_key]]
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in buffers.values() if value.ndim == 4)


def test_plain_numbers_of_an_optimizer_are_kept_too() -> None:
    class Counting(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            super().step(closure)
            for parameter in self.param_groups[0]["params"]:
                self.state[parameter]["count"] = self.state[parameter].get("count", 0) + 1

    module = nn.Linear(2, 2)
    optimizer = Counting(module.parameters(), lr=0.1)
    for _ in range(3):
        module(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    checkpoint = capture(module, optimizer, 3, True, {})
    assert checkpoint.state == {"optimizer": {"weight": {"count": 3}, "bias": {"count": 3}}}
    again = Counting(module.parameters(), lr=0.1)
    restore(checkpoint, module, again)
    assert again.state[module.weight]["count"] == 3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_interrupted_run_resumes_to_the_bit(photos: Path, tmp_path: Path, name: str) -> None:
    settings = {"training.optimizer": name, "training.warmup_steps": 3, "training.schedule_by": "step"}
    whole = train_tiny(photos, tmp_path / "whole", backbone=Interrupting(999), settings=settings)
    for step in (2, 6):
        out = tmp_path / str(step)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(photos, out, backbone=Interrupting(step), settings=settings)
        run = train_tiny(None, out, backbone=Interrupting(999), resume=True)
        for file in (
            "backbone.safetensors",
            "checkpoints/step-000000008.safetensors",
            "checkpoints/step-000000008.json",
        ):
            assert (run.path / file).read_bytes() == (whole.path / file).read_bytes(), (step, file)


def test_each_optimizer_leads_elsewhere(photos: Path, tmp_path: Path) -> None:
    runs = [train_tiny(photos, tmp_path / name, settings={"training.optimizer": name}, epochs=1) for name in OPTIMIZERS]
    weights: list[Tensor] = [load_file(str(run.weights))["layers.0.weight"] for run in runs]
    assert all(not torch.equal(one, other) for one, other in itertools.combinations(weights, 2))


# --- settings


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"training__optimizer": "adamw", "training__momentum": 0.8},
            "training.momentum (--set) is read only with training.optimizer=sgd or lars, "
            "but training.optimizer is adamw",
        ),
        (
            {"training__betas": [0.8, 0.9]},
            "training.betas (--set) is read only with training.optimizer=adamw, but training.optimizer is sgd",
        ),
        (
            {"training__trust_coefficient": 0.1},
            "training.trust_coefficient (--set) is read only with training.optimizer=lars, "
            "but training.optimizer is sgd",
        ),
        ({"training__optimizer": "adam"}, "training.optimizer must be 'sgd', 'adamw' or 'lars', not 'adam'"),
        (
            {"training__optimizer": "adamw", "training__betas": [0.8, 1]},
            "training.betas (--set) must be less than 1, not 1",
        ),
        (
            {"training__optimizer": "lars", "training__batch_size": 1},
            "training.batch_size (--set) must be greater than or equal to 2, not 1",
        ),
    ],
)
def test_mistakes(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**settings)
    assert caught.value.problems == (sentence,)


@pytest.mark.parametrize(("name", "rate", "decay"), [("sgd", 0.05, 1e-4), ("adamw", 5e-4, 0.05), ("lars", 0.3, 1e-6)])
def test_each_optimizer_has_defaults_of_its_own(name: str, rate: float, decay: float) -> None:
    training = config(training__optimizer=name).training
    assert (training.base_learning_rate, training.weight_decay) == (rate, decay)
