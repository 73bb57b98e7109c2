"""MoCo v2: Eq. 1 and 2, a step by hand in float64, the queue, shuffled keys, settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from manyview.backbones import wrap_backbone
from manyview.config import ConfigError, PretrainConfig, parse_assignment, resolve
from manyview.config.choices import CHOICES
from manyview.errors import UserError
from manyview.methods import METHODS, MethodBatch, Moment
from manyview.methods.moco import MoCo
from manyview.recipes import recipe_settings
from tests.helpers.tiny import photos, train_tiny

__all__ = ["photos"]

IMAGES, PAIRS, QUEUE, DIM, HIDDEN = 3, 2, 12, 5, 7
ROWS = IMAGES * PAIRS
TAU, M, RATE = 0.2, 0.9, 0.3
*OTHERS, LAST = CHOICES["method"].options
WITH_QUEUE = " or ".join(CHOICES["method"].having("queue"))
SMALL = ["method.queue=16", "method.dim=8", "method.hidden_dim=16", "method.shuffled_parts=2"]


def configured(*texts: str) -> PretrainConfig:
    base = {"data": {"images": "photos"}, **recipe_settings("mocov2")}
    return resolve(base, [parse_assignment(text) for text in texts])


def build(*, norm: bool = False, parts: int = 1) -> MoCo:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4) if norm else nn.Identity())
    sizes = [f"method.queue={QUEUE}", f"method.dim={DIM}", f"method.hidden_dim={HIDDEN}", f"method.momentum={M}"]
    config = configured(*sizes, f"method.shuffled_parts={parts}")
    method = METHODS["moco"].build(wrap_backbone(layers, 9), config)
    assert isinstance(method, MoCo)
    with torch.no_grad():  # no key encoder that equals the query encoder, as it is at the first step alone
        for parameter in method.key_projector.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return method.double()


def seen(number: int = 0) -> MethodBatch:
    generator = torch.Generator().manual_seed(number)
    views = torch.randn(IMAGES, 2 * PAIRS, 3, 9, 9, generator=generator, dtype=torch.float64)
    order = torch.randperm(ROWS, generator=generator)
    return MethodBatch((views,), torch.arange(IMAGES), lambda count: order[:count])


def numbers(method: MoCo, head: str) -> list[np.ndarray]:
    """Weights and biases of a head's two layers."""
    return [parameter.detach().numpy().copy() for parameter in method.get_submodule(head).parameters()]


def pooled(method: MoCo, encoder: str, views: Tensor) -> Tensor:
    return method.get_submodule(encoder)(views.flatten(0, 1)).mean((2, 3))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).sum(axis=1, keepdims=True))


def test_a_step_is_that_of_algorithm_1() -> None:
    method, batch = build(), seen()
    queue = method.queue.numpy().copy()
    h = pooled(method, "backbone", batch.groups[0][:, 0::2])
    h_key = pooled(method, "key_backbone", batch.groups[0][:, 1::2]).detach().numpy()
    w1, b1, w2, b2 = numbers(method, "projector")
    k1, c1, k2, c2 = numbers(method, "key_projector")

    # Eq. 1, forward and backward, by hand.
    x = h.detach().numpy()
    a = np.maximum(x @ w1.T + b1, 0)
    u = a @ w2.T + b2
    q, k = unit(u), unit(np.maximum(h_key @ k1.T + c1, 0) @ k2.T + c2)
    logits = np.concatenate([(q * k).sum(1, keepdims=True), q @ queue.T], axis=1) / TAU
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[:, 0]).mean()
    d_logits = p.copy()
    d_logits[:, 0] -= 1
    d_logits /= TAU * ROWS
    d_q = d_logits[:, :1] * k + d_logits[:, 1:] @ queue
    d_u = (d_q - (d_q * q).sum(1, keepdims=True) * q) / np.sqrt((u**2).sum(1, keepdims=True))
    d_a = d_u @ w2 * (a > 0)
    gradients = [d_a.T @ x, d_a.sum(0), d_u.T @ a, d_u.sum(0)]
    convolution = next(method.backbone.parameters())
    (d_convolution,) = torch.autograd.grad(h, convolution, torch.from_numpy(d_a @ w1))
    first = {name: value.detach().numpy().copy() for name, value in method.named_parameters()}

    result = method(batch)
    result["loss"].backward()
    trainable = [parameter for parameter in method.parameters() if parameter.requires_grad]
    torch.optim.SGD(trainable, lr=RATE).step()
    method.after_step(Moment(0, 1, 1))

    assert result["loss"].item() == pytest.approx(loss, rel=1e-12)
    assert result["accuracy"].item() == pytest.approx((logits.argmax(1) == 0).mean())
    np.testing.assert_allclose(result["z"].numpy(), u, rtol=1e-12)
    for moved, before, gradient in zip(numbers(method, "projector"), (w1, b1, w2, b2), gradients, strict=True):
        np.testing.assert_allclose(moved, before - RATE * gradient, rtol=1e-10, atol=1e-14)
    expected = first["backbone.network.0.weight"] - RATE * d_convolution.numpy()
    np.testing.assert_allclose(convolution.detach().numpy(), expected, rtol=1e-10)
    # Eq. 2 of every parameter, from the query encoder as it is after its step.
    after = {name: value.detach().numpy() for name, value in method.named_parameters()}
    for name in first:
        if name.startswith("key_"):
            query = after[name.removeprefix("key_")]
            np.testing.assert_allclose(after[name], M * first[name] + (1 - M) * query, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(method.queue.numpy(), np.concatenate([k, queue[ROWS:]]), rtol=1e-12)


def test_the_key_encoder_begins_as_a_copy_and_gets_no_gradient() -> None:
    method = METHODS["moco"].build(wrap_backbone(nn.Conv2d(3, 4, 3), 9), configured(*SMALL))
    state = method.state_dict()
    for name, value in state.items():
        if name.startswith("key_"):
            assert torch.equal(value, state[name.removeprefix("key_")])
    torch.testing.assert_close(state["queue"].norm(dim=1), torch.ones(16))
    assert {name.split("_")[0] for name, value in method.named_parameters() if not value.requires_grad} == {"key"}


def test_the_newest_keys_take_the_place_of_the_oldest() -> None:
    """Of a queue of 12, by steps of 6: after each, the last twelve keys are there, in any order."""
    method = build()
    keys: list[Tensor] = []
    for number in range(5):
        batch = seen(number)
        keys.append(method._keys(batch.groups[0][:, 1::2].flatten(0, 1), batch))
        method(batch)
        method.after_step(Moment(0, 1, 1))
        recent = torch.cat(keys[-2:])
        if number:
            distance = torch.cdist(recent, method.queue).min(dim=1).values
            assert distance.max() < 1e-12
    assert int(method.oldest) == 5 * ROWS % QUEUE


def test_a_pass_leaves_the_queue_until_the_step() -> None:
    """Accumulated batches are all contrasted with the keys of the steps before."""
    method = build()
    queue = method.queue.clone()
    for number in range(2):
        method(seen(number))
    assert torch.equal(method.queue, queue)
    method.after_step(Moment(0, 1, 1))
    assert not torch.isclose(method.queue, queue).all(dim=1).any()


def test_keys_are_normalized_in_parts_of_the_shuffled_batch() -> None:
    method, batch = build(norm=True, parts=3), seen()
    images = batch.groups[0][:, 1::2].flatten(0, 1)
    keys = method._keys(images, batch)
    order = batch.permutation(ROWS)
    convolution = method.key_backbone.state_dict
    weights, bias = (convolution()[f"0.{name}"] for name in ("weight", "bias"))
    expected = torch.empty(ROWS, DIM, dtype=torch.float64)
    for part in order.split(ROWS // 3):
        maps = nn.functional.conv2d(images[part], weights, bias, stride=2)
        mean, variance = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), keepdim=True, unbiased=False)
        features = ((maps - mean) / (variance + 1e-5).sqrt()).mean((2, 3))
        expected[part] = nn.functional.normalize(method.key_projector(features).detach(), dim=1)
    torch.testing.assert_close(keys, expected, rtol=1e-9, atol=1e-12)


# --- settings


def test_values_of_the_recipe() -> None:
    """moco/main_moco.py with --mlp --moco-t 0.2 --aug-plus --cos, as its README runs MoCo v2."""
    config = configured()
    views, training = config.views, config.training
    assert (config.method.name, views.kind, views.pairs, views.scale) == ("moco", "whole", 1, (0.2, 1))
    strength = (views.brightness, views.contrast, views.saturation, views.hue)
    assert (views.jitter, *strength, views.grayscale, views.flip) == (0.8, 0.4, 0.4, 0.4, 0.1, 0.2, 0.5)
    assert (views.blur, views.blur_sigma, views.solarize) == ((0.5, 0.5), (0.1, 2), (0, 0))
    method = config.method.model_dump()
    assert method == {
        **{"name": "moco", "queue": 65536, "momentum": 0.999, "dim": 128, "hidden_dim": 2048},
        **{"temperature": 0.2, "shuffled_parts": 8},
    }
    assert (training.optimizer, training.momentum, training.weight_decay) == ("sgd", 0.9, 1e-4)
    assert (training.epochs, training.batch_size, training.schedule) == (200, 256, "cosine")
    assert (config.learning_rate, config.backbone.zero_init_residual) == (0.03, False)
    assert configured("training.batch_size=512").learning_rate == 0.06


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (
            ["method.projection_dim=8"],
            "method.projection_dim (--set) is read only with method.name=simsiam, but method.name is moco",
        ),
        (
            ["method.name=simsiam", "method.queue=8"],
            f"method.queue (--set) is read only with method.name={WITH_QUEUE}, but method.name is simsiam",
        ),
        (
            ["losses.similarity.stop_gradient=false"],
            "losses.similarity.stop_gradient (--set) has no effect because method.name is moco, which does not read "
            "it; leave one of them out",
        ),
        (
            ["losses.image_aware.weight=1", "losses.image_aware.vectors=predictions"],
            "losses.image_aware.vectors (--set) has no effect because method.name is moco, which has only projections; "
            "leave one of them out",
        ),
        (
            ["training.constant_predictor_lr=true"],
            "training.constant_predictor_lr (--set) has no effect because method.name is moco, which does not read it; "
            "leave one of them out",
        ),
        (
            ["method.name=mocco"],
            f"method.name must be {', '.join(map(repr, OTHERS))} or {LAST!r}, not 'mocco'",
        ),
        (["method.temperature=0"], "method.temperature (--set) must be greater than 0, not 0"),
    ],
)
def test_settings_that_nothing_would_read(texts: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(*texts)
    assert caught.value.problems == (sentence,)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"method.queue": 65536},
            "method.queue is 65,536, but an epoch of 16 images gives only 16 keys, so that an image's own keys would "
            "be its negatives; set method.queue=8",
        ),
        ({"method.queue": 3}, "method.queue is 3, but one step gives 4 keys; set method.queue=4"),
        (
            {"method.queue": 4, "training.accumulate": 2},
            "method.queue is 4, but one step gives 8 keys; set method.queue=8",
        ),
        (
            {"method.shuffled_parts": 8},
            "method.shuffled_parts is 8, but a batch has only 4 keys, and each part needs two; "
            "set method.shuffled_parts=2, or use a larger batch",
        ),
        (  # the keys of each group of views are shuffled and normalized by themselves
            {"views.kind": "groups", "views.groups": [{}, {}], "method.shuffled_parts": 4},
            "method.shuffled_parts is 4, but a batch has only 4 keys, and each part needs two; "
            "set method.shuffled_parts=2, or use a larger batch",
        ),
    ],
)
def test_what_does_not_fit_the_images(photos: Path, tmp_path: Path, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        train_tiny(photos, tmp_path / "run", recipe="mocov2", settings=settings)
    assert str(caught.value) == sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("parts", "batch", "processes", "fits"),
    [(8, 64, 2, True), (8, 64, 4, True), (3, 64, 1, True), (3, 63, 2, False), (1, 64, 2, False), (8, 60, 2, False)],
)
def test_parts_are_shared_out_evenly_over_processes(parts: int, batch: int, processes: int, fits: bool) -> None:
    config = configured("method.queue=128", f"method.shuffled_parts={parts}", f"training.batch_size={batch}")
    if fits:
        config.method.check(config, 1000, processes)
    else:
        with pytest.raises(UserError, match=f"set method.shuffled_parts={processes}, or use another batch size"):
            config.method.check(config, 1000, processes)


# --- runs


def test_a_run_logs_what_moco_is_watched_by_and_keeps_its_queue(photos: Path, tmp_path: Path) -> None:
    run = train_tiny(photos, tmp_path / "run", recipe="mocov2", settings={"method.queue": 8})

    epochs = [record for record in run.read_metrics() if record["kind"] == "epoch"]
    assert all(0 <= record["accuracy"] <= 1 and record["loss"] > 0 for record in epochs)
    state = load_file(str(run.path / "checkpoints" / "step-000000008.safetensors"))
    assert int(state["model.oldest"]) == 8 * 4 % 8
    assert state["model.queue"].shape == (8, 8)
    torch.testing.assert_close(state["model.queue"].norm(dim=1), torch.ones(8))
    assert run.read_json("run.json")["method"]["parts"]["projector"]["layers"][0] == {
        **{"layer": "linear", "in": 16, "out": 16, "bias": True}
    }


def test_blocks_give_a_query_and_a_key_each(photos: Path, tmp_path: Path) -> None:
    run = train_tiny(photos, tmp_path / "run", recipe="mocov2", settings={"views.kind": "blocks"}, epochs=1)

    assert run.read_json("run.json")["plan"]["views_per_step"] == 4 * 2 * 4
    assert run.read_json("run.json")["plan"]["learning_rate"] == pytest.approx(0.03 * 16 / 256)


def test_initial_weights_fill_both_encoders_of_a_run_that_has_no_checkpoint(photos: Path, tmp_path: Path) -> None:
    """Or a run stopped before its first checkpoint would go on with another key encoder."""
    settings = {"backbone.zero_init_residual": True}
    named = {"backbone": "timm/test_resnet", "view_size": 32, "recipe": "mocov2"}
    first = train_tiny(photos, tmp_path / "first", settings=settings, epochs=1, **named)
    whole = train_tiny(photos, tmp_path / "whole", settings=settings, init=first.path, epochs=1, **named)
    again = shutil.copytree(whole.path, tmp_path / "again")
    shutil.rmtree(again / "checkpoints")
    resumed = train_tiny(None, again, backbone="timm/test_resnet", view_size=32, epochs=1, resume=True)

    assert resumed.weights.read_bytes() == whole.weights.read_bytes()
