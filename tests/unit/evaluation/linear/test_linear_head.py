from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from manyview.errors import UserError
from manyview.evaluation.linear.head import (
    HeadSettings,
    HeadTraining,
    known_loss,
    new_head,
    shuffled_batches,
    train_head,
)


def batches_of(features: Tensor, targets: Tensor, settings: HeadSettings) -> Iterator[tuple[Tensor, Tensor]]:
    for places in shuffled_batches(settings, len(features)):
        indices = [index for _, index in places]
        yield features[indices], targets[indices]


def labeled_clouds(images: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Non-negative features, as after a ReLU, in which each of four classes raises a few dimensions."""
    rng = np.random.default_rng(seed)
    directions = np.abs(np.random.default_rng(99).normal(size=(4, 16)))
    targets = (rng.random((images, 4)) < 0.35).astype(np.float32)
    features = np.maximum(targets @ directions + noise * rng.normal(size=(images, 16)), 0)
    return torch.from_numpy(features.astype(np.float32)), torch.from_numpy(targets)


def test_learning_rate_follows_the_linear_rule_and_the_cosine() -> None:
    settings = HeadSettings(epochs=10, batch_size=64)
    assert settings.learning_rate == 2.5  # 10 x 64 / 256
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    for epoch in range(10):
        assert settings.learning_rate_at(epoch) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()


def test_every_epoch_is_a_new_permutation_that_only_seed_and_epoch_decide() -> None:
    settings = HeadSettings(epochs=3, batch_size=4, seed=5)
    batches = list(shuffled_batches(settings, 10))
    assert [len(batch) for batch in batches] == [4, 4, 2] * 3
    orders = [[place for batch in batches[3 * e : 3 * e + 3] for place in batch] for e in range(3)]
    for epoch, order in enumerate(orders):
        assert {e for e, _ in order} == {epoch}
        assert sorted(index for _, index in order) == list(range(10))
    indices = [[index for _, index in order] for order in orders]
    assert indices[0] != indices[1] != indices[2]
    longer = HeadSettings(epochs=5, batch_size=4, seed=5)
    assert list(shuffled_batches(longer, 10))[:9] == batches
    assert list(shuffled_batches(HeadSettings(epochs=3, batch_size=4, seed=6), 10)) != batches
    assert list(shuffled_batches(settings, 10, first_epoch=2)) == batches[6:]


def test_new_head_is_normal_with_standard_deviation_a_hundredth() -> None:
    state = torch.get_rng_state()
    head = new_head(2048, 80, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert head.weight.shape == (80, 2048)
    assert not head.bias.any()
    weights = head.weight.detach().double()
    assert float(weights.mean()) == pytest.approx(0, abs=1e-4)
    assert float(weights.std()) == pytest.approx(0.01, rel=0.01)
    assert float((weights.abs() < 0.01).double().mean()) == pytest.approx(0.6827, abs=0.01)
    assert torch.equal(head.weight, new_head(2048, 80, seed=1).weight)
    assert not torch.equal(head.weight, new_head(2048, 80, seed=2).weight)


def test_training_equals_sgd_written_out_in_float64() -> None:
    features, targets = labeled_clouds(22, 0.3, seed=0)
    settings = HeadSettings(epochs=4, batch_size=8, base_learning_rate=10, weight_decay=1e-2, seed=3)
    head = new_head(16, 4, seed=3)
    weights = np.hstack([head.weight.detach().double().numpy(), head.bias.detach().double().numpy()[:, None]])
    x = np.hstack([features.double().numpy(), np.ones((22, 1))])
    y, velocity, expected_losses = targets.double().numpy(), np.zeros_like(weights), []
    for epoch in range(4):
        rate = 10 * 8 / 256 * (1 + math.cos(math.pi * epoch / 4)) / 2
        losses = []
        for places in [batch for batch in shuffled_batches(settings, 22) if batch[0][0] == epoch]:
            rows = [index for _, index in places]
            p = 1 / (1 + np.exp(-x[rows] @ weights.T))
            losses += list(-(y[rows] * np.log(p) + (1 - y[rows]) * np.log(1 - p)).mean(1))
            gradient = (p - y[rows]).T @ x[rows] / p.size + 1e-2 * weights
            velocity = 0.9 * velocity + gradient
            weights = weights - rate * velocity
        expected_losses.append(np.mean(losses))

    training = HeadTraining(head, settings)
    train_head(batches_of(features, targets, settings), training, 22)
    np.testing.assert_allclose(head.weight.detach().numpy(), weights[:, :-1], atol=1e-5)
    np.testing.assert_allclose(head.bias.detach().numpy(), weights[:, -1], atol=1e-5)
    np.testing.assert_allclose(training.losses, expected_losses, atol=1e-5)


def test_mean_average_precision_is_that_of_logistic_regression() -> None:
    train, train_targets = labeled_clouds(600, 0.7, seed=1)
    val, val_targets = labeled_clouds(400, 0.7, seed=2)
    settings = HeadSettings(epochs=100, batch_size=64)
    head = new_head(16, 4, seed=0)
    training = HeadTraining(head, settings)
    train_head(batches_of(train, train_targets, settings), training, len(train))
    scores = head(val).detach().numpy()
    # No regularization to speak of: weight decay of 1e-4 on a loss averaged over 4 classes is next to none.
    theirs = [
        LogisticRegression(C=100, max_iter=1000).fit(train, train_targets[:, c]).decision_function(val)
        for c in range(4)
    ]
    ours, expected = (
        np.mean([average_precision_score(val_targets[:, c], columns[c]) for c in range(4)])
        for columns in (scores.T, theirs)
    )
    assert 0.75 < expected < 0.99
    assert ours == pytest.approx(expected, abs=0.01)
    assert training.losses[-1] < 0.7 * training.losses[0]


@pytest.mark.parametrize("stopped_after", [0, 1, 3])
def test_a_training_taken_up_again_is_the_same_to_the_bit(stopped_after: int) -> None:
    features, targets = labeled_clouds(22, 0.3, seed=0)
    settings = HeadSettings(epochs=4, batch_size=8, seed=3)
    whole = HeadTraining(new_head(16, 4, seed=3), settings)
    kept: dict[int, tuple[dict[str, Tensor], list[float]]] = {0: (whole.tensors(), [])}

    def keep(training: HeadTraining) -> None:
        kept[training.epoch] = (training.tensors(), list(training.losses))

    train_head(batches_of(features, targets, settings), whole, 22, after_epoch=keep)
    again = HeadTraining(new_head(16, 4, seed=9), settings)
    again.restore(*kept[stopped_after])
    rest = batches_of(features, targets, settings)
    for _ in range(3 * stopped_after):
        next(rest)
    train_head(rest, again, 22)
    assert torch.equal(again.head.weight, whole.head.weight)
    assert torch.equal(again.head.bias, whole.head.bias)
    assert again.losses == whole.losses


def test_progress_counts_epochs() -> None:
    features, targets = labeled_clouds(8, 0.3, seed=0)
    settings = HeadSettings(epochs=2, batch_size=4)
    calls: list[tuple[int, int, str]] = []
    train_head(
        batches_of(features, targets, settings),
        HeadTraining(new_head(16, 4, 0), settings),
        8,
        progress=lambda *call: calls.append(call),
        phase="head",
    )
    assert calls == [(0, 2, "head"), (1, 2, "head"), (2, 2, "head")]


@pytest.mark.parametrize("epochs", [1, 5])
def test_divergence_is_one_clear_sentence(epochs: int) -> None:
    features, targets = labeled_clouds(8, 0.3, seed=0)
    settings = HeadSettings(epochs=epochs, batch_size=8, base_learning_rate=1e39)
    with pytest.raises(UserError, match=r"diverged in epoch \d of \d \(loss .*\): lower base_learning_rate"):
        train_head(batches_of(1e3 * features, targets, settings), HeadTraining(new_head(16, 4, 0), settings), 8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("base_learning_rate", 0.0),
        ("base_learning_rate", math.inf),
        ("base_learning_rate", math.nan),
        ("weight_decay", -1e-4),
        ("momentum", 1.0),
        ("seed", -1),
    ],
)
def test_settings_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"{name} must be .* not {value}"):
        HeadSettings(**{name: value})


def test_labels_left_out_count_neither_way() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=generator)
    targets = torch.randint(0, 2, (5, 3), generator=generator).float()
    left_out = torch.zeros(5, 3, dtype=torch.bool)
    left_out[1, 2] = left_out[4, 0] = True
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    terms = -(targets.numpy() * np.log(p) + (1 - targets.numpy()) * np.log(1 - p))
    assert float(known_loss(logits, targets)) == pytest.approx(terms.mean(), rel=1e-6)
    some = targets.masked_fill(left_out, torch.nan)
    assert float(known_loss(logits, some)) == pytest.approx(terms[~left_out.numpy()].mean(), rel=1e-6)
    assert float(known_loss(logits, torch.full_like(targets, torch.nan))) == 0
