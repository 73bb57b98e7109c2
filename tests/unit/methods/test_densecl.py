"""DenseCL: a step by hand in float64, correspondence, grids, groups of views, the dense queue, settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from manyview.backbones import wrap_backbone
from manyview.config import ConfigError, PretrainConfig, parse_assignment, resolve
from manyview.errors import UserError
from manyview.methods import METHODS, MethodBatch, Moment
from manyview.methods.densecl import DenseCL, correspondence, matched
from manyview.recipes import recipe_settings
from references import contrastive
from references import dense_contrast as reference
from references.networks import Weights, numerical_gradients
from tests.helpers.tiny import photos, train_tiny

__all__ = ["photos"]

IMAGES, PAIRS, QUEUE, DIM, HIDDEN = 3, 2, 12, 4, 4
ROWS = IMAGES * PAIRS
TAU, M, RATE, LAMBDA = 0.2, 0.9, 0.3, 0.3


def configured(*texts: str) -> PretrainConfig:
    base = {"data": {"images": "photos"}, **recipe_settings("densecl")}
    return resolve(base, [parse_assignment(text) for text in texts])


def build(*texts: str, parts: int = 1) -> DenseCL:
    torch.manual_seed(0)
    sizes = {"queue": QUEUE, "dim": DIM, "hidden_dim": HIDDEN, "momentum": M, "dense_weight": LAMBDA}
    settings = [f"method.{key}={value}" for key, value in sizes.items()]
    config = configured(*settings, f"method.shuffled_parts={parts}", *texts)
    method = METHODS["densecl"].build(wrap_backbone(nn.Conv2d(3, 3, 3, stride=2), 9), config)
    assert isinstance(method, DenseCL)
    with torch.no_grad():  # no key encoder that equals the query encoder, as it does at the first step alone
        for name, parameter in method.named_parameters():
            if name.startswith("key_"):
                parameter.add_(0.1 * torch.randn_like(parameter))
    return method.double()


def seen(number: int = 0, sizes: tuple[int, ...] = (9,)) -> MethodBatch:
    generator = torch.Generator().manual_seed(number)
    groups = tuple(
        torch.randn(IMAGES, 2 * PAIRS, 3, size, size, generator=generator, dtype=torch.float64) for size in sizes
    )
    order = torch.randperm(len(sizes) * ROWS, generator=generator)
    return MethodBatch(groups, torch.arange(IMAGES), lambda count: order[:count].argsort())


def weights_of(method: DenseCL) -> tuple[Weights, Weights]:
    """Of the query encoder and of the key encoder."""
    everything = {name: value.detach().numpy().copy() for name, value in method.named_parameters()}
    key = {name: value for name, value in everything.items() if name.startswith("key_")}
    return {name: value for name, value in everything.items() if name not in key}, key


def queues_of(method: DenseCL) -> tuple[np.ndarray, np.ndarray]:
    return method.queue.numpy().copy(), method.dense_queue.numpy().copy()


def images_of(batch: MethodBatch, group: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Those of the queries and of their keys."""
    queries, keys = (batch.groups[group][:, which::2].flatten(0, 1).numpy() for which in (0, 1))
    return queries, keys


@pytest.mark.parametrize("grid", [None, 2])
def test_a_step_is_that_of_the_definition(grid: int | None) -> None:
    """Loss, gradients of all weights by central differences, SGD, the key encoder, and both queues."""
    method, batch = build(*([f"method.dense_grid={grid}"] if grid else [])), seen()
    query, key = weights_of(method)
    queues = queues_of(method)
    images, key_images = images_of(batch)
    keys = reference.encode(key_images, key, 2, "key_", grid)

    def loss(weights: Weights) -> float:
        l_q, l_r = reference.losses(reference.encode(images, weights, 2, grid=grid), keys, queues, TAU)
        return (1 - LAMBDA) * l_q + LAMBDA * l_r

    result = method(batch)
    result["loss"].backward()
    torch.optim.SGD([parameter for parameter in method.parameters() if parameter.requires_grad], lr=RATE).step()
    method.after_step(Moment(0, 1, 1))

    l_q, l_r = reference.losses(reference.encode(images, query, 2, grid=grid), keys, queues, TAU)
    assert result["loss"].item() == pytest.approx((1 - LAMBDA) * l_q + LAMBDA * l_r, rel=1e-12)
    assert result["info_nce"].item() == pytest.approx(l_q, rel=1e-12)
    assert result["dense"].item() == pytest.approx(l_r, rel=1e-12)
    np.testing.assert_allclose(result["z"].numpy(), reference.encode(images, query, 2)[0], rtol=1e-9)
    gradients = numerical_gradients(loss, query)
    moved, key_moved = weights_of(method)
    for name, value in query.items():
        np.testing.assert_allclose(moved[name], value - RATE * gradients[name], rtol=1e-6, atol=1e-8, err_msg=name)
    for name, value in key.items():
        expected = M * value + (1 - M) * moved[name.removeprefix("key_")]
        np.testing.assert_allclose(key_moved[name], expected, rtol=1e-12, err_msg=name)
    # The dense queue gets the mean over positions, normalized only then.
    newest = contrastive.unit(keys[0]), contrastive.unit(keys[1].mean(axis=1))
    for after, before, vectors in zip(queues_of(method), queues, newest, strict=True):
        np.testing.assert_allclose(after, np.concatenate([vectors, before[ROWS:]]), rtol=1e-9)
    assert int(method.oldest) == ROWS


def test_positions_are_matched_by_the_largest_cosine() -> None:
    generator = torch.Generator().manual_seed(0)
    features, key_features = torch.randn(2, 4, 7, 9, generator=generator, dtype=torch.float64)
    found = correspondence(features, nn.functional.normalize(key_features, dim=1))
    expected = [
        reference.matches(f.T, f_key.T) for f, f_key in zip(features.numpy(), key_features.numpy(), strict=True)
    ]
    assert found.tolist() == expected
    shuffle = torch.randperm(9, generator=generator)
    moved = nn.functional.normalize(features, dim=1)[:, :, shuffle]
    assert torch.equal(correspondence(features, moved), shuffle.argsort().expand(4, 9))
    assert torch.equal(matched(features[:, :, shuffle], shuffle.argsort().expand(4, 9)), features)


def test_groups_of_other_sizes_have_grids_of_their_own() -> None:
    """Each query counts once, whether its grid has 16 or 9 vectors."""
    method, batch = build(), seen(sizes=(9, 7))
    query, key = weights_of(method)
    parts = []
    for group in (0, 1):
        images, key_images = images_of(batch, group)
        keys = reference.encode(key_images, key, 2, "key_")
        parts.append(reference.losses(reference.encode(images, query, 2), keys, queues_of(method), TAU))
    l_q, l_r = np.mean(parts, axis=0)

    result = method(batch)

    assert result["info_nce"].item() == pytest.approx(l_q, rel=1e-12)
    assert result["dense"].item() == pytest.approx(l_r, rel=1e-12)
    assert len(result["z"]) == 2 * ROWS
    method.after_step(Moment(0, 1, 1))
    assert int(method.oldest) == 2 * ROWS % QUEUE


def test_the_image_aware_loss_is_that_of_global_queries_and_keys() -> None:
    method, batch = build("losses.image_aware.weight=2"), seen()
    query, key = weights_of(method)
    images, key_images = images_of(batch)
    own, keys = reference.encode(images, query, 2), reference.encode(key_images, key, 2, "key_")
    l_q, l_r = reference.losses(own, keys, queues_of(method), TAU)
    ids, order = np.arange(IMAGES).repeat(PAIRS), batch.permutation(ROWS).numpy()
    term = contrastive.image_aware([(own[0], keys[0])], ids, order, temperature=0.3)

    result = method(batch)

    assert result["densecl"].item() == pytest.approx((1 - LAMBDA) * l_q + LAMBDA * l_r, rel=1e-10)
    assert result["loss"].item() == pytest.approx(result["densecl"].item() + 2 * term, rel=1e-10)


def test_without_the_dense_loss_it_is_moco() -> None:
    method, batch = build("method.dense_weight=0"), seen()
    values = {key: value for key, value in method.options.model_dump().items() if not key.startswith("dense_")}
    settings = [f"method.{key}={value}" for key, value in values.items() if key != "name"]
    moco = (
        METHODS["moco"]
        .build(wrap_backbone(nn.Conv2d(3, 3, 3, stride=2), 9), configured("method.name=moco", *settings))
        .double()
    )
    moco.load_state_dict({name: value for name, value in method.state_dict().items() if "dense" not in name})
    for _ in range(2):
        assert method(batch)["loss"].item() == moco(batch)["loss"].item()
        for each in (method, moco):
            each.after_step(Moment(0, 1, 1))
        assert torch.equal(method.get_buffer("queue"), moco.get_buffer("queue"))


# --- settings


def test_values_of_the_recipe() -> None:
    """configs/selfsup/densecl/densecl_imagenet_200ep.py of the released code: those of MoCo v2 but for the method."""
    config = configured()
    moco = resolve({"data": {"images": "photos"}, **recipe_settings("mocov2")}, [])
    assert config.model_copy(update={"method": moco.method, "recipe": "mocov2"}) == moco
    assert config.method.model_dump() == {
        **{"name": "densecl", "queue": 65536, "momentum": 0.999, "dim": 128, "hidden_dim": 2048, "temperature": 0.2},
        **{"shuffled_parts": 8, "dense_weight": 0.5, "dense_grid": None},
    }


def test_settings_out_of_range_and_of_other_methods_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.dense_weight \(--set\) must be less than or equal to 1, not 1\.5"):
        configured("method.dense_weight=1.5")
    with pytest.raises(ConfigError, match=r"method\.dense_grid \(--set\) is read only with method\.name=densecl"):
        configured("method.name=moco", "method.dense_grid=7")


def test_a_queue_longer_than_an_epoch_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"an epoch of 16 images gives only 16 keys.* set method\.queue=8$"):
        train_tiny(photos, tmp_path / "run", recipe="densecl", settings={"method.queue": 65536})


def test_blocks_give_a_query_and_a_key_each(photos: Path, tmp_path: Path) -> None:
    run = train_tiny(photos, tmp_path / "run", recipe="densecl", settings={"views.kind": "blocks"}, epochs=1)

    assert run.read_json("run.json")["plan"]["views_per_step"] == 4 * 2 * 4
    for record in run.read_metrics():
        assert record["loss"] == pytest.approx((record["info_nce"] + record["dense"]) / 2, rel=1e-5)
        assert 0 <= record["accuracy"] <= 1


def test_queries_of_all_groups_count_alike_however_many_a_group_has() -> None:
    """Groups of other grids, one of six queries and one of three."""
    method, (first, second) = build(), seen(3, (9, 13)).groups
    batch = seen(3)._replace(groups=(first, second[:, :2]))
    query, key = weights_of(method)

    result = method(batch)

    counts, losses = [], []
    for group in range(2):
        images, key_images = images_of(batch, group)
        encoded, keys = reference.encode(images, query, 2), reference.encode(key_images, key, 2, "key_")
        losses.append(reference.losses(encoded, keys, queues_of(method), TAU))
        counts.append(len(images))
    assert counts == [ROWS, IMAGES]
    l_q, l_r = np.average(losses, axis=0, weights=counts)
    assert result["info_nce"].item() == pytest.approx(l_q, rel=1e-12)
    assert result["dense"].item() == pytest.approx(l_r, rel=1e-12)
