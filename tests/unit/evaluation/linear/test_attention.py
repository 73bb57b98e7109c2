"""Attention pooling that is learned with the head of a linear evaluation."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import average_precision_score

import manyview.evaluation.linear.sgd as sgd_module
import manyview.evaluation.resume as unfinished_module
from manyview.backbones import load_backbone
from manyview.errors import UserError
from manyview.evaluation import compare, format_table, knn_evaluation, linear_evaluation
from manyview.evaluation.features.extract import FeatureSettings, collect
from manyview.evaluation.linear.attention import AttentiveHead, check_memory
from manyview.evaluation.linear.head import HeadSettings, HeadTraining, new_head, train_head
from manyview.evaluation.linear.sgd import cached_batches, probabilities
from manyview.labels import read_labels
from manyview.pooling import attention_pool, pool, query_count
from tests.references.attentive_head import attend, gradients

FAST: dict[str, Any] = {
    **{"recipe": "sgd", "pool": "attention", "size": 64, "epochs": 4, "batch_size": 8, "workers": 0, "device": "cpu"},
    "resamples": 20,
}
HEAD = "pre-trained: training the linear head"


class Stop(Exception):  # noqa: N818
    """What stands in for Ctrl-C."""


def evaluate(scenes: Any, **options: Any) -> dict[str, Any]:
    data = {"images": scenes.images, "train_labels": scenes.train, "val_labels": scenes.val}
    return linear_evaluation(scenes.weights, **(data | {"beside": "none"} | FAST | options))


def some_maps(images: int, dim: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).gamma(1.0, 1.0, (images, dim, 3, 2)).astype(np.float32))


def test_pooling_is_that_of_its_definition() -> None:
    maps, queries = some_maps(5, 12), torch.from_numpy(np.random.default_rng(1).normal(size=(4, 12)))
    expected, weights = attend(maps.numpy(), queries.numpy())
    assert weights.max() > 0.6  # positions are told apart
    np.testing.assert_allclose(attention_pool(maps.double(), queries).numpy(), expected, rtol=1e-12)


def test_queries_of_zeros_average() -> None:
    maps = some_maps(3, 12)
    torch.testing.assert_close(attention_pool(maps, torch.zeros(4, 12)), pool(maps, "avg"))


@pytest.mark.parametrize(("dim", "count"), [(512, 32), (2048, 32), (768, 32), (40, 20), (31, 31), (37, 1)])
def test_queries_divide_the_channels(dim: int, count: int) -> None:
    assert query_count(dim) == count


def test_a_new_head_begins_as_the_linear_layer_on_averages() -> None:
    state = torch.get_rng_state()
    head, plain = new_head(16, 3, 5, AttentiveHead), new_head(16, 3, 5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(head.weight, plain.weight)
    assert not head.queries.any()
    maps = some_maps(300, 16)  # more than are scored together
    torch.testing.assert_close(probabilities(head, maps), probabilities(plain, pool(maps, "avg")))


def test_training_equals_sgd_written_out_in_float64() -> None:
    maps, targets = some_maps(11, 12), (np.random.default_rng(2).random((11, 3)) < 0.4).astype(np.float64)
    settings = HeadSettings(epochs=3, batch_size=4, base_learning_rate=40.0, weight_decay=1e-2, seed=3)
    head = new_head(12, 3, 3, AttentiveHead)
    own = {name: value.detach().double().numpy() for name, value in head.named_parameters()}
    velocity, losses = {name: np.zeros_like(value) for name, value in own.items()}, []
    for epoch in range(3):
        rate = 40 * 4 / 256 * (1 + math.cos(math.pi * epoch / 3)) / 2
        order, total = np.random.default_rng((3, epoch)).permutation(11), 0.0
        for start in range(0, 11, 4):
            rows = order[start : start + 4]
            loss, found = gradients(maps.numpy()[rows], targets[rows], **own)
            total += loss * len(rows)
            for name in own:
                velocity[name] = 0.9 * velocity[name] + found[name] + 1e-2 * own[name]
                own[name] = own[name] - rate * velocity[name]
        losses.append(total / 11)
    training = HeadTraining(head, settings)
    train_head(cached_batches(maps, None, torch.from_numpy(targets).float(), settings), training, 11)
    assert np.abs(own["queries"]).max() > 0.01
    for name, value in head.named_parameters():
        np.testing.assert_allclose(value.detach().numpy(), own[name], atol=2e-5, err_msg=name)
    np.testing.assert_allclose(training.losses, losses, atol=1e-5)


def test_maps_of_mirrored_images_take_their_turn() -> None:
    maps, settings = some_maps(8, 4), HeadSettings(epochs=1, batch_size=8, seed=1)
    [(batch, _)] = cached_batches(maps, -maps, torch.zeros(8, 2), settings)
    signs = batch.flatten(1).sign().mean(1)
    assert set(signs.tolist()) == {-1.0, 1.0}


@pytest.fixture(scope="module")
def cached(scenes: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("attention") / "out"
    return evaluate(scenes, cached=True, beside="random", out=out), out


def test_the_record_says_how_it_was_pooled(cached: tuple[dict[str, Any], Path]) -> None:
    result, out = cached
    protocol = result["protocol"]
    assert json.loads((out / "metrics.json").read_text()) == result
    assert (protocol["pool"], protocol["queries"], protocol["feature_dim"]) == ("attention", 32, 96)
    assert protocol["beside"]["random_init"]["queries"] == 32
    assert "softmax attention of learned queries" in protocol["pooling_is"]
    stream = io.StringIO()
    Console(file=stream, width=120).print(format_table(result))
    assert "attention at 64 px" in stream.getvalue()


def test_compare_keeps_poolings_apart(scenes: Any, cached: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    plain = evaluate(scenes, cached=True, beside="random", pool="avg", out=tmp_path / "avg")
    assert not {"queries", "pooling_is"} & plain["protocol"].keys()
    [warning] = [each for each in compare([cached[1], tmp_path / "avg"])["warnings"] if each.startswith("pool")]
    assert "attention" in warning
    assert "avg" in warning


@pytest.mark.parametrize("mode", [{"cached": True, "flips": True}, {"measured": "best"}])
def test_a_stopped_evaluation_ends_with_the_same_figures(
    scenes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: dict[str, Any]
) -> None:
    monkeypatch.setattr(unfinished_module, "_SECONDS_BETWEEN", 0.0)

    def stop(now: int, _total: int, of: str) -> None:
        if (now, of) == (2, HEAD):
            raise Stop

    with pytest.raises(Stop):
        evaluate(scenes, **mode, out=tmp_path, progress=stop)
    seen: list[int] = []
    resumed = evaluate(
        scenes, **mode, out=tmp_path, resume=True, progress=lambda now, _, of: seen.append(now) if of == HEAD else None
    )
    assert seen[0] == 2
    whole = evaluate(scenes, **mode)
    assert resumed["results"] == whole["results"]
    assert resumed["protocol"] == whole["protocol"]


def test_augmented_images_are_scored_by_the_trained_head(scenes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []

    def keep(batches: Any, training: Any, *rest: Any, **more: Any) -> None:
        train_head(batches, training, *rest, **more)
        heads.append(training.head)

    monkeypatch.setattr(sgd_module, "train_head", keep)
    result = evaluate(scenes, epochs=2)
    [head] = heads
    assert head.queries.any()
    labels = read_labels(scenes.val, scenes.images)
    settings = FeatureSettings("avg", 64, 0, "cpu", "float32")
    maps = collect(load_backbone(scenes.weights), scenes.images, labels.names, settings, lambda maps: {"maps": maps})
    expected, _ = attend(maps["maps"].numpy(), head.queries.detach().double().numpy())
    scores = expected @ head.weight.detach().double().numpy().T + head.bias.detach().double().numpy()
    assert result["results"]["pretrained"]["mAP"] == pytest.approx(average_precision_score(labels.targets, scores))


def test_maps_must_fit_in_memory(scenes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_backbone(scenes.weights)
    check_memory(network, 5, 64, "cpu", most=5 * 96 * 2 * 2 * 4)
    with pytest.raises(UserError, match=r"memory, and 5 of 96 x 2 x 2 numbers take 0.0 GiB, more than .*: leave out"):
        check_memory(network, 5, 64, "cpu", most=5 * 96 * 2 * 2 * 4 - 1)
    counted: list[int] = []
    monkeypatch.setattr(sgd_module, "check_memory", lambda _network, images, *_: counted.append(images))
    evaluate(scenes, cached=True, epochs=1)
    evaluate(scenes, cached=True, flips=True, epochs=1)
    assert counted == [36, 60]  # 24 to train on, 12 to validate


def test_only_a_head_can_learn_it(scenes: Any) -> None:
    with pytest.raises(UserError, match=r"not with --recipe logistic: choose --recipe sgd, or another pool"):
        evaluate(scenes, recipe="logistic", epochs=None, batch_size=None)
    data = {"images": scenes.images, "train_labels": scenes.train, "val_labels": scenes.val}
    with pytest.raises(UserError, match=r"pool attention is learned with a head, which manyview linear trains"):
        knn_evaluation(scenes.weights, **data, pool="attention", neighbours=3)
