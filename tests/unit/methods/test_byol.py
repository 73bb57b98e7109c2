"""BYOL: its loss, a step by hand in float64, the target's momentum and norms, the image-aware loss, settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from manyview.backbones import wrap_backbone
from manyview.config import ConfigError, PretrainConfig, parse_assignment, resolve
from manyview.methods import METHODS, MethodBatch, Moment
from manyview.methods.byol import BYOL, regression_loss
from manyview.methods.momentum import rising
from manyview.recipes import recipe_settings
from references import byol as reference
from references import contrastive
from references.networks import Weights, numerical_gradients
from tests.helpers.tiny import photos, train_tiny

__all__ = ["photos"]

IMAGES, PAIRS, DIM, HIDDEN = 3, 2, 5, 7
BASE, RATE = 0.9, 0.3
START = Moment(0, 1, 1)


def configured(*texts: str) -> PretrainConfig:
    base = {"data": {"images": "photos"}, **recipe_settings("byol")}
    return resolve(base, [parse_assignment(text) for text in texts])


def build(*texts: str) -> BYOL:
    torch.manual_seed(0)
    config = configured(f"method.dim={DIM}", f"method.hidden_dim={HIDDEN}", f"method.momentum={BASE}", *texts)
    method = METHODS["byol"].build(wrap_backbone(nn.Conv2d(3, 4, 3, stride=2), 9), config)
    assert isinstance(method, BYOL)
    with torch.no_grad():  # no target that equals the online network, as it does at the first step alone
        for name, parameter in method.named_parameters():
            if name.startswith("target_"):
                parameter.add_(0.1 * torch.randn_like(parameter))
    return method.double()


def seen(number: int = 0, moment: Moment = START) -> MethodBatch:
    generator = torch.Generator().manual_seed(number)
    views = torch.randn(IMAGES, 2 * PAIRS, 3, 9, 9, generator=generator, dtype=torch.float64)
    order = torch.randperm(IMAGES * PAIRS, generator=generator)
    return MethodBatch((views,), torch.arange(IMAGES), lambda count: order[:count], moment)


def weights_of(method: BYOL) -> tuple[Weights, Weights]:
    """Of the online network and of the target."""
    everything = {name: value.detach().numpy().copy() for name, value in method.named_parameters()}
    target = {name: value for name, value in everything.items() if name.startswith("target_")}
    return {name: value for name, value in everything.items() if name not in target}, target


def views_of(batch: MethodBatch) -> tuple[np.ndarray, np.ndarray]:
    first, second = (batch.groups[0][:, which::2].flatten(0, 1).numpy() for which in (0, 1))
    return first, second


def test_the_loss_is_the_squared_distance_of_directions() -> None:
    p, t = torch.randn(2, 6, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert regression_loss(p, t).item() == pytest.approx(reference.regression(p.numpy(), t.numpy()), rel=1e-12)
    assert regression_loss(p, 3 * p).item() == pytest.approx(0, abs=1e-12)
    assert regression_loss(p, -p).item() == pytest.approx(4, rel=1e-12)


def test_a_step_is_that_of_the_definition() -> None:
    """Loss, gradients of all online weights by central differences, SGD, and Eq. 4 with tau of the step."""
    moment = Moment(3, 8, 4)
    method, batch = build(), seen(moment=moment)
    online, target = weights_of(method)
    first, second = views_of(batch)

    result = method(batch)
    result["loss"].backward()
    torch.optim.SGD([parameter for parameter in method.parameters() if parameter.requires_grad], lr=RATE).step()
    method.after_step(moment)

    assert result["loss"].item() == pytest.approx(reference.loss(first, second, online, target, 2), rel=1e-12)
    np.testing.assert_allclose(result["z"].numpy(), reference.project(first, online, 2), rtol=1e-9)
    gradients = numerical_gradients(lambda weights: reference.loss(first, second, weights, target, 2), online)
    moved, target_moved = weights_of(method)
    for name, value in online.items():
        np.testing.assert_allclose(moved[name], value - RATE * gradients[name], rtol=1e-6, atol=1e-8, err_msg=name)
    tau = reference.momentum(BASE, 3, 8)
    for name, value in target.items():
        expected = tau * value + (1 - tau) * moved[name.removeprefix("target_")]
        np.testing.assert_allclose(target_moved[name], expected, rtol=1e-12, err_msg=name)


def test_the_momentum_rises_from_its_base_to_1() -> None:
    assert rising(BASE, 1.0, 0.0) == pytest.approx(BASE)
    assert rising(BASE, 1.0, 0.5) == pytest.approx((1 + BASE) / 2)
    taus = [rising(BASE, 1.0, Moment(step, 50, 5).progress) for step in range(50)]
    assert taus == sorted(taus)
    assert taus == pytest.approx([reference.momentum(BASE, step, 50) for step in range(50)])
    method = build()
    _, before = weights_of(method)
    method.after_step(Moment(50, 50, 5))
    _, after = weights_of(method)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_target_begins_as_a_copy_and_gets_no_gradient() -> None:
    method = METHODS["byol"].build(wrap_backbone(nn.Conv2d(3, 4, 3), 9), configured("method.hidden_dim=8"))
    state = method.state_dict()
    targets = [name for name in state if name.startswith("target_")]
    assert len(targets) == len([name for name in state if name.startswith(("backbone.", "projector."))])
    assert all(torch.equal(state[name], state[name.removeprefix("target_")]) for name in targets)
    assert {name.split("_")[0] for name, value in method.named_parameters() if not value.requires_grad} == {"target"}


def test_the_targets_norms_have_statistics_of_their_own() -> None:
    """As in the released code: those of its own features, which Eq. 4 leaves alone."""
    method, batch = build().train(), seen()
    _, target = weights_of(method)
    means = [np.zeros(HIDDEN)]
    for images in views_of(batch):
        maps = reference.convolved(
            images, target["target_backbone.network.weight"], target["target_backbone.network.bias"], 2
        )
        hidden = maps.mean(axis=2) @ target["target_projector.layers.0.weight"].T
        means.append(0.9 * means[-1] + 0.1 * hidden.mean(axis=0))
    method(batch)
    method.after_step(START)
    statistics = method.get_buffer("target_projector.layers.1.running_mean").numpy()
    np.testing.assert_allclose(statistics, means[-1], rtol=1e-9)


def test_the_image_aware_loss_is_that_of_online_predictions_and_projections() -> None:
    method, batch = build("losses.image_aware.weight=2"), seen()
    online, target = weights_of(method)
    views = views_of(batch)
    z = [reference.project(images, online, 2) for images in views]
    p = [reference.head(vectors, online, "predictor") for vectors in z]
    ids, order = np.arange(IMAGES).repeat(PAIRS), batch.permutation(IMAGES * PAIRS).numpy()
    term = contrastive.image_aware([(p[0], z[1]), (p[1], z[0])], ids, order, temperature=0.3)
    own = reference.loss(*views, online, target, 2)

    result = method(batch)

    assert result["loss"].item() == pytest.approx(own + 2 * term, rel=1e-10)
    assert result["regression"].item() == pytest.approx(own, rel=1e-10)
    assert result["image_aware"].item() == pytest.approx(term, rel=1e-10)


# --- settings


def test_values_of_the_recipe() -> None:
    """Appendix B of the paper and byol/configs/byol.py of the released code, for 1,000 epochs."""
    config = configured()
    views, training = config.views, config.training
    assert (config.method.name, views.kind, views.pairs, views.scale) == ("byol", "whole", 1, (0.08, 1))
    strength = (views.brightness, views.contrast, views.saturation, views.hue)
    assert (views.jitter, *strength, views.grayscale, views.flip) == (0.8, 0.4, 0.4, 0.2, 0.1, 0.2, 0.5)
    assert (views.blur, views.blur_sigma, views.solarize) == ((1, 0.1), (0.1, 2), (0, 0.2))
    assert config.method.model_dump() == {"name": "byol", "momentum": 0.996, "dim": 256, "hidden_dim": 4096}
    assert (training.optimizer, training.momentum, training.trust_coefficient) == ("lars", 0.9, 0.001)
    assert (training.epochs, training.batch_size, training.warmup_share) == (1000, 4096, 0.01)
    assert (training.weight_decay, training.schedule, training.schedule_by) == (1.5e-6, "cosine", "step")
    assert config.learning_rate == pytest.approx(0.2 * 4096 / 256)


def test_settings_of_other_methods_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.name is byol, which does not read it"):
        configured("losses.similarity.stop_gradient=false")
    with pytest.raises(ConfigError, match=r"method\.queue \(--set\) is read only with method\.name=moco"):
        configured("method.queue=8")
    crossed = configured("losses.image_aware.weight=1", "losses.image_aware.vectors=predictions")
    assert crossed.losses.image_aware.vectors == "predictions"


def test_blocks_give_a_pair_each(photos: Path, tmp_path: Path) -> None:
    run = train_tiny(photos, tmp_path / "run", recipe="byol", settings={"views.kind": "blocks"})

    assert run.read_json("run.json")["plan"]["views_per_step"] == 4 * 2 * 4
    assert run.read_json("run.json")["plan"]["learning_rate"] == pytest.approx(0.2 * 16 / 256)
    assert set(run.read_json("run.json")["method"]["parts"]) == {"backbone", "projector", "predictor"}
    assert all(0 <= record["loss"] <= 8 for record in run.read_metrics())
