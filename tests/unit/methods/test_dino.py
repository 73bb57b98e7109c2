"""DINO: the loss and two steps by hand in float64, teacher, center, schedules, frozen last layer, export, settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import manyview
from manyview.backbones import wrap_backbone
from manyview.config import ConfigError, PretrainConfig, parse_assignment, resolve
from manyview.methods import METHODS, MethodBatch, Moment
from manyview.methods.dino import DINO, teacher_temperature
from manyview.recipes import recipe_settings
from references import clustering as reference
from tests.helpers.tiny import photos, train_tiny

__all__ = ["photos"]

IMAGES, PROTOTYPES, BOTTLENECK, HIDDEN = 3, 6, 5, 7
SMALL = [f"method.prototypes={PROTOTYPES}", f"method.bottleneck_dim={BOTTLENECK}", f"method.hidden_dim={HIDDEN}"]
MULTI_CROP = ((2, 9), (4, 7))
PAIRS = ((4, 9),)
STEPS, SPE = 40, 10


def configured(*texts: str) -> PretrainConfig:
    base = {"data": {"images": "photos"}, **recipe_settings("dino")}
    return resolve(base, [parse_assignment(text) for text in texts])


def build(*texts: str) -> DINO:
    torch.manual_seed(0)
    config = configured(*SMALL, *texts)
    method = METHODS["dino"].build(wrap_backbone(nn.Conv2d(3, 4, 3, stride=2), 9), config)
    assert isinstance(method, DINO)
    with torch.no_grad():  # no teacher that equals the student, as it is at the first step alone, and no tiny weights
        for name, parameter in method.named_parameters():
            if "projector" in name or "last_layer" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return method.double()


def seen(sizes: tuple[tuple[int, int], ...], step: int = 0) -> MethodBatch:
    """Groups of views, each with a count and a size."""
    generator = torch.Generator().manual_seed(step)
    groups = tuple(
        torch.randn(IMAGES, count, 3, size, size, generator=generator, dtype=torch.float64) for count, size in sizes
    )
    return MethodBatch(groups, torch.arange(IMAGES), lambda count: torch.arange(count), Moment(step, STEPS, SPE))


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the normal distribution's cumulative probability."""
    return x * 0.5 * (1 + torch.erf(torch.from_numpy(x) / np.sqrt(2)).numpy())


def outputs(method: DINO, who: str, batch: MethodBatch, groups: int) -> np.ndarray:
    """g(x) by hand: (images, views, prototypes)."""
    backbone = method.get_submodule(f"{who}backbone")
    w1, b1, w2, b2, w3, b3 = (p.detach().numpy() for p in method.get_submodule(f"{who}projector").parameters())
    v = method.get_parameter(f"{who}last_layer.weight").detach().numpy()
    v = v / np.sqrt((v**2).sum(axis=1, keepdims=True))
    parts = []
    for group in batch.groups[:groups]:
        x = backbone(group.flatten(0, 1)).mean((2, 3)).detach().numpy()
        h = gelu(gelu(x @ w1.T + b1) @ w2.T + b2) @ w3.T + b3
        h = h / np.sqrt((h**2).sum(axis=1, keepdims=True))
        parts.append((h @ v.T).reshape(IMAGES, group.shape[1], -1))
    return np.concatenate(parts, axis=1)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.apply_along_axis(reference.softmax, -1, x)


@pytest.mark.parametrize("sizes", [PAIRS, MULTI_CROP, ((4, 9), (2, 7))], ids=["pairs", "multi-crop", "blocks first"])
def test_steps_are_those_of_algorithm_1(sizes: tuple[tuple[int, int], ...]) -> None:
    """Loss, teacher and center of three steps: center and teacher of each are those of the steps before."""
    method = build("method.teacher_temperature_epochs=2", "method.freeze_last_layer_epochs=0", "method.momentum=0.9")
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.5)
    center = np.zeros(PROTOTYPES)
    for step in range(3):
        batch = seen(sizes, step)
        tau = 0.04 + 0.03 * step / (2 * SPE)
        teacher = outputs(method, "teacher_", batch, 1)
        p = softmax(outputs(method, "", batch, len(sizes)) / 0.1)
        expected = reference.swapped(softmax((teacher - center) / tau), p, len(sizes))
        slow = {name: value.clone() for name, value in method.state_dict().items() if name.startswith("teacher_")}

        result = method(batch)
        assert result["loss"].item() == pytest.approx(expected, rel=1e-9)
        assert result["z"].shape == (IMAGES * sizes[0][0], BOTTLENECK)
        result["loss"].backward()
        assert all(p.grad is None for name, p in method.named_parameters() if name.startswith("teacher_"))
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(batch.moment)

        center = 0.9 * center + 0.1 * teacher.mean(axis=(0, 1))
        np.testing.assert_allclose(method.center.numpy(), center, rtol=1e-9, atol=1e-12)
        m = 1 - 0.1 * (1 + np.cos(np.pi * step / STEPS)) / 2
        now = method.state_dict()
        for name, old in slow.items():
            student = now[name.removeprefix("teacher_")]
            np.testing.assert_allclose(now[name].numpy(), m * old.numpy() + (1 - m) * student.numpy(), rtol=1e-9)


def test_a_step_follows_the_numerical_gradient() -> None:
    """Central differences of the definition in the last layer's vectors, whose length has no effect."""
    method, batch = build(), seen(MULTI_CROP)
    method(batch)["loss"].backward()
    weight = method.last_layer.weight
    assert weight.grad is not None
    targets = softmax(outputs(method, "teacher_", batch, 1) / 0.04)
    for row, column in ((0, 0), (2, 3), (5, 4)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[row, column] += sign * 1e-6
                values.append(reference.swapped(targets, softmax(outputs(method, "", batch, 2) / 0.1), 2))
                weight[row, column] -= sign * 1e-6
        assert weight.grad[row, column].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-8)
    np.testing.assert_allclose((weight.grad * weight).sum(dim=1).detach().numpy(), 0, atol=1e-10)


def test_the_center_of_accumulated_batches_is_their_mean() -> None:
    method = build()
    first, second = seen(PAIRS, 0), seen(PAIRS, 1)
    for batch in (first, second):
        method(batch)
    means = [outputs(method, "teacher_", batch, 1).mean(axis=(0, 1)) for batch in (first, second)]
    method.after_step(first.moment)
    np.testing.assert_allclose(method.center.numpy(), 0.1 * np.mean(means, axis=0), rtol=1e-9)


def test_the_teachers_temperature_warms_up() -> None:
    options = configured().method
    found = [teacher_temperature(options, epoch) for epoch in (0.0, 15.0, 29.999, 30.0, 99.0)]  # type: ignore[arg-type]
    np.testing.assert_allclose(found, [0.04, 0.055, 0.07, 0.07, 0.07], atol=1e-5)
    at_once = configured("method.teacher_temperature_epochs=0").method
    assert teacher_temperature(at_once, 0.0) == 0.07  # type: ignore[arg-type]


def test_the_last_layer_rests_at_first() -> None:
    method = build("method.freeze_last_layer_epochs=0.2")
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=0.1, weight_decay=0.5)
    for step, moves in ((0, False), (1, False), (2, True)):
        batch, before = seen(MULTI_CROP, step), method.last_layer.weight.detach().clone()
        method(batch)["loss"].backward()
        method.after_backward(batch.moment)
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(batch.moment)
        assert torch.equal(method.last_layer.weight, before) != moves


def test_the_teacher_is_measured_and_written(photos: Path, tmp_path: Path) -> None:
    """A transformer with small crops; the teacher's weights are those of the run."""
    views = {"views.kind": "groups", "views.groups": [{"size": 32}, {"size": 16, "count": 4, "scale": [0.1, 0.3]}]}
    run = train_tiny(
        photos,
        tmp_path / "run",
        recipe="dino",
        backbone="timm/test_vit",
        view_size=None,
        epochs=1,
        settings={**views, "training.warmup_epochs": 0.0, "training.base_learning_rate": 0.1},
    )
    checkpoint = load_file(str(run.path / "checkpoints" / "step-000000004.safetensors"))
    backbone = manyview.load_backbone(run)
    differ = 0
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, checkpoint[f"model.teacher_backbone.{name}"])
        differ += not torch.equal(value, checkpoint[f"model.backbone.{name}"])
    assert differ > 10
    assert run.read_json("run.json")["method"]["parts"]["backbone"]["module"] == "teacher_backbone"


def test_the_recipe_is_the_papers() -> None:
    config = configured()
    assert [(group.size, group.count) for group in config.views.layout] == [(224, 2), (96, 8)]
    assert config.learning_rate == pytest.approx(5e-4 * 1024 / 256)
    training = config.training
    assert (training.weight_decay, training.weight_decay_end, training.clip_norm) == (0.04, 0.4, 3.0)


def test_a_start_without_a_warm_up_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"teacher_temperature_start .* because method.teacher_temperature_epochs is 0"
    ):
        configured("method.teacher_temperature_epochs=0", "method.teacher_temperature_start=0.05")


def test_a_warm_up_longer_than_the_run_is_said() -> None:
    assert configured().method.remarks(configured(), 100.0) == []
    (remark,) = configured().method.remarks(configured(), 20.0)
    assert remark.startswith("The teacher's temperature does not reach 0.07, as its warm-up takes 30 epochs")


def test_small_crops_that_are_larger_are_pointed_out() -> None:
    config = configured("views.size=64")
    (remark,) = config.method.remarks(config, 100.0)
    assert remark.startswith("Views of 96 pixels predict the targets of views of 64; set views.groups")
