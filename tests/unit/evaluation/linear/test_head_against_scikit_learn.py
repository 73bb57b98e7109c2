"""The trained head against scikit-learn's logistic regression at the same regularization.

SGD with weight decay d adds d w to the gradient of each parameter, the bias too, and so descends

    J(w, b) = 1/(N K) sum_i sum_k bce(y_ik, w_k . x_i + b_k) + d/2 sum_k (|w_k|^2 + b_k^2)

over N images and K classes, as the head's loss is a mean over both. J is a sum over classes, so each class has a
minimum of its own. scikit-learn's LogisticRegression minimizes, for one class and without an intercept,

    C sum_i bce(y_i, v . u_i) + 1/2 |v|^2.

With u_i = (x_i, 1) and v = (w_k, b_k), J's share of class k divided by d is just this, if C = 1 / (d N K). Its own
intercept would be regularized not at all, hence the 1 among the features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float64
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from torch import Tensor

from manyview.backbones import build_backbone, load_backbone, save_backbone
from manyview.evaluation import extract, linear_evaluation
from manyview.evaluation.features.extract import combine
from manyview.evaluation.linear.head import HeadSettings, HeadTraining, new_head, shuffled_batches, train_head
from manyview.labels import read_labels

HALF_A_POINT = 0.005

Array = Float64[np.ndarray, "rows columns"]


def with_one(features: np.ndarray) -> Array:
    return np.hstack([features.astype(np.float64), np.ones((len(features), 1))])


def minimum(features: Array, targets: np.ndarray, strength: float) -> Array:
    """Weights with the bias last, (classes, dim + 1), at scikit-learn's C = ``strength``."""
    regression = LogisticRegression(C=strength, fit_intercept=False, solver="newton-cholesky", tol=1e-10, max_iter=500)
    return np.vstack([regression.fit(features, column).coef_ for column in targets.T])


def objective(weights: Array, features: Array, targets: np.ndarray, decay: float) -> float:
    """J, in float64."""
    logits = features @ weights.T
    return float(np.mean(np.logaddexp(0, logits) - targets * logits) + decay / 2 * (weights**2).sum())


def mean_average_precision(weights: Array, features: Array, targets: np.ndarray) -> float:
    scores = features @ weights.T
    return float(np.mean([average_precision_score(*pair) for pair in zip(targets.T, scores.T, strict=True)]))


def labeled_features(images: int, dim: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As after a ReLU and pooling: never negative, correlated; each class shifts them along a direction of its own."""
    world = np.random.default_rng(dim)
    directions = world.normal(size=(classes, dim)) / np.sqrt(dim)
    mixing = world.normal(size=(dim, dim)) / np.sqrt(dim)
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, classes)) < rng.uniform(0.1, 0.4, classes)).astype(np.float32)
    features = 2 * targets @ directions + rng.normal(size=(images, dim)) @ mixing
    return np.maximum(features + 0.3, 0).astype(np.float32), targets


def batches_of(features: np.ndarray, targets: np.ndarray, settings: HeadSettings) -> Iterator[tuple[Tensor, Tensor]]:
    for places in shuffled_batches(settings, len(features)):
        indices = [index for _, index in places]
        yield torch.from_numpy(features[indices]), torch.from_numpy(targets[indices])


def trained(features: np.ndarray, targets: np.ndarray, settings: HeadSettings) -> Array:
    head = new_head(features.shape[1], targets.shape[1], seed=0)
    train_head(batches_of(features, targets, settings), HeadTraining(head, settings), len(features))
    return torch.cat([head.weight, head.bias[:, None]], dim=1).detach().double().numpy()


@pytest.mark.parametrize(
    ("images", "dim", "classes", "decay"), [(500, 64, 5, 1e-3), (400, 128, 18, 1e-3), (300, 256, 10, 1e-3)]
)
def test_the_head_ends_at_scikit_learns_minimum(images: int, dim: int, classes: int, decay: float) -> None:
    features, targets = labeled_features(images, dim, classes, seed=1)
    others, wanted = labeled_features(600, dim, classes, seed=2)
    known, others = with_one(features), with_one(others)

    # A smaller learning rate and more epochs than the defaults, as so few images make few steps an epoch.
    ours = trained(features, targets, HeadSettings(epochs=200, base_learning_rate=2, weight_decay=decay))
    theirs = minimum(known, targets, 1 / (decay * images * classes))

    lowest = objective(theirs, known, targets, decay)
    assert lowest - 1e-9 <= objective(ours, known, targets, decay) < 1.001 * lowest
    assert np.linalg.norm(ours - theirs) < 0.03 * np.linalg.norm(theirs)
    expected = mean_average_precision(theirs, others, wanted)
    assert 1.5 * wanted.mean() < expected < 0.95
    assert mean_average_precision(ours, others, wanted) == pytest.approx(expected, abs=HALF_A_POINT)
    # The minimum is sharp enough to tell: were the classes left out of C, the weights would be others by far.
    wrong = minimum(known, targets, 1 / (decay * images))
    assert np.linalg.norm(wrong - theirs) > 0.5 * np.linalg.norm(theirs)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = build_backbone("timm/test_resnet", zero_init_residual=False)
    file = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    save_backbone(network, file, {})
    return file


def write_squares(root: Path, images: int) -> None:
    """Gray noise with a square of each class's color, of any subset of five classes, and their labels in two files."""
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (5, 3))
    (root / "images").mkdir()
    rows = []
    for index in range(images):
        pixels = rng.integers(60, 190, (32, 32, 1), dtype=np.uint8).repeat(3, axis=2)
        shown = np.flatnonzero(rng.random(5) < 0.3)
        for number in shown:
            top, left = rng.integers(0, 22, 2)
            pixels[top : top + 10, left : left + 10] = colors[number]
        Image.fromarray(pixels).save(root / "images" / f"{index}.png")
        rows.append(f"{index}.png,{'|'.join(f'color {number}' for number in shown)}\n")
    for part, first in (("train", 0), ("val", 1)):
        (root / f"{part}.csv").write_text("image,labels\n" + "".join(rows[first::2]))


def test_linear_evaluation_on_cached_features_agrees(weights: Path, tmp_path: Path) -> None:
    write_squares(tmp_path, 400)
    images, size, decay = tmp_path / "images", 32, 1e-3
    train, val = (read_labels(tmp_path / f"{part}.csv", images) for part in ("train", "val"))
    assert train.classes == val.classes

    def features(names: Sequence[str]) -> Array:
        return with_one(combine(extract(load_backbone(weights), images, names, size, workers=0), "gamp").numpy())

    strength = 1 / (decay * len(train.names) * len(train.classes))
    theirs = minimum(features(train.names), train.targets, strength)
    expected = mean_average_precision(theirs, features(val.names), val.targets)

    result = linear_evaluation(
        weights,
        images=images,
        train_labels=tmp_path / "train.csv",
        val_labels=tmp_path / "val.csv",
        size=size,
        weight_decay=decay,
        recipe="paper",
        epochs=200,
        cached=True,
        workers=0,
        device="cpu",
        beside="none",
        resamples=0,
    )
    assert result["results"]["pretrained"]["mAP"] == pytest.approx(expected, abs=HALF_A_POINT)
    assert expected > 2 * val.targets.mean()
