"""kNN: against a brute force in float64 from the definition and against scikit-learn, and as an evaluation."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

import manyview.evaluation.knn as knn
from manyview.backbones import load_backbone
from manyview.errors import UserError
from manyview.evaluation.features.extract import combine, extract
from manyview.evaluation.knn import knn_evaluation, knn_scores
from manyview.evaluation.metrics.multilabel import multilabel_metrics
from manyview.evaluation.tables import format_knn
from tests.helpers.tables import cells, percent

FAST: dict[str, Any] = {"size": 64, "neighbours": 5, "resamples": 20, "workers": 0, "device": "cpu"}


def brute_force(
    queries: np.ndarray, keys: np.ndarray, targets: np.ndarray, k: int, temperature: float, excluded: Any = None
) -> np.ndarray:
    """Image by image and neighbor by neighbor, as the definition says it."""
    scores = np.zeros((len(queries), targets.shape[1]))
    for row, query in enumerate(queries):
        cosines = [float(query @ key / np.linalg.norm(query) / np.linalg.norm(key)) for key in keys]
        near = sorted((-cosine, place) for place, cosine in enumerate(cosines))
        near = [(cosine, place) for cosine, place in near if excluded is None or place != excluded[row]][:k]
        weights = [np.exp(-cosine / temperature) for cosine, _ in near]
        for weight, (_, place) in zip(weights, near, strict=True):
            scores[row] += weight * targets[place] / sum(weights)
    return scores.round(14)  # unanimous votes tie


def case(seed: int, queries: int = 30, images: int = 70) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    dim = int(rng.integers(2, 20))
    return (
        rng.normal(size=(queries, dim)),
        rng.normal(size=(images, dim)),
        rng.integers(0, 2, (images, 4)).astype(np.uint8),
    )


def scores_of(queries: np.ndarray, keys: np.ndarray, targets: np.ndarray, *rest: Any, **options: Any) -> np.ndarray:
    return knn_scores(*map(torch.from_numpy, (queries, keys, targets)), *rest, **options).numpy()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (7, 0.07), (20, 1.0), (70, 0.2)])
def test_scores_are_those_of_the_definition(seed: int, k: int, temperature: float) -> None:
    queries, keys, targets = case(seed)
    expected = brute_force(queries, keys, targets, k, temperature)
    np.testing.assert_allclose(scores_of(queries, keys, targets, k, temperature), expected, rtol=0, atol=1e-12)


def test_scores_are_those_of_scikit_learns_neighbours() -> None:
    queries, keys, targets = case(1, queries=200, images=500)
    found = NearestNeighbors(n_neighbors=20, metric="cosine", algorithm="brute").fit(keys)
    distances, places = found.kneighbors(queries)
    weights = np.exp((1 - distances) / 0.07)
    expected = np.einsum("qk,qkc->qc", weights, targets[places]) / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores_of(queries, keys, targets), expected, rtol=0, atol=1e-10)


def test_the_same_however_many_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, keys, targets = case(2)
    at_once = scores_of(queries, keys, targets, 5)
    calls: list[tuple[int, int, str]] = []
    monkeypatch.setattr(knn, "CHUNK_NUMBERS", 4 * len(keys))
    itself = torch.arange(len(queries))
    excluded = scores_of(queries, keys, targets, 5, itself=itself[:, None], progress=lambda *call: calls.append(call))
    np.testing.assert_allclose(scores_of(queries, keys, targets, 5), at_once, rtol=0, atol=1e-12)
    np.testing.assert_allclose(excluded, brute_force(queries, keys, targets, 5, 0.07, itself), rtol=0, atol=1e-12)
    assert [done for done, *_ in calls] == [0, 4, 8, 12, 16, 20, 24, 28, 30]


def test_of_equally_near_images_the_first_vote() -> None:
    keys = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    for k, voters in ((1, [1]), (2, [1, 2]), (3, [1, 2, 3])):
        scores = scores_of(np.array([[3.0, 0.0]]), keys, np.eye(5, dtype=np.uint8), k)[0]
        assert np.flatnonzero(scores).tolist() == voters
        assert scores[voters] == pytest.approx(1 / k)


@pytest.mark.parametrize("classes", [1, 3, 8, 17])
def test_unanimous_votes_tie_exactly(classes: int) -> None:
    """Average precision depends on the order of what is not tied."""
    queries, keys, _ = case(4, queries=300, images=90)
    targets = np.ones((90, classes), dtype=np.uint8)
    ignored = torch.from_numpy(np.random.default_rng(0).integers(0, 2, targets.shape, dtype=np.uint8))
    assert (scores_of(queries, keys, targets, 9) == 1).all()
    assert set(np.unique(scores_of(queries, keys, targets, 9, ignored=ignored))) <= {0.0, 1.0}


def test_an_image_does_not_vote_for_itself() -> None:
    _, keys, targets = case(3)
    itself = torch.arange(len(keys))
    expected = brute_force(keys, keys, targets, 5, 0.07, itself)
    np.testing.assert_allclose(scores_of(keys, keys, targets, 5, itself=itself[:, None]), expected, rtol=0, atol=1e-12)
    # With as many neighbours as images there is one vote fewer, and an image alone has none.
    all_others = brute_force(keys, keys, targets, 69, 0.07, itself)
    np.testing.assert_allclose(
        scores_of(keys, keys, targets, 70, itself=itself[:, None]), all_others, rtol=0, atol=1e-12
    )
    assert scores_of(keys[:1], keys[:1], targets[:1] | 1, 1, itself=itself[:1, None]).tolist() == [[0, 0, 0, 0]]
    nobody = torch.full((len(keys),), -1)
    assert (scores_of(keys, keys, targets, 1, itself=nobody[:, None]) == targets).all()


def test_an_ignored_label_is_no_vote() -> None:
    keys = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    targets = np.array([[1, 1], [0, 0], [1, 1]], dtype=np.uint8)
    ignored = torch.tensor([[1, 0], [0, 0], [0, 0]], dtype=torch.uint8)
    scores = scores_of(keys[:1], keys, targets, 2, 1.0, ignored=ignored)[0]
    cosines = np.array([1.0, 1 / np.sqrt(1.01)])
    assert scores.tolist() == pytest.approx([0, np.exp(cosines[0]) / np.exp(cosines).sum()])
    everywhere = torch.ones(3, 2, dtype=torch.uint8)
    assert scores_of(keys[:1], keys, targets, 2, ignored=everywhere).tolist() == [[0, 0]]


def test_hard_cases_give_shares() -> None:
    queries, keys, targets = case(4)
    queries[0], keys[:20] = 0, 0
    for temperature in (1e-4, 1e4):
        scores = scores_of(queries, keys, targets | 1, 20, temperature)
        assert (scores <= 1).all()
        assert scores == pytest.approx(1)
    # A vector of zeros is equally near to all: the first k vote alike.
    assert scores_of(queries[:1], keys, targets, 20)[0] == pytest.approx(targets[:20].mean(axis=0))


def evaluate(scenes: Any, **options: Any) -> dict[str, Any]:
    data = {"images": scenes.images, "train_labels": scenes.train, "val_labels": scenes.val}
    weights = options.pop("weights", scenes.weights)
    return knn_evaluation(weights, **(data | {"beside": "none"} | FAST | options))


def rows_of(file: Path) -> tuple[list[str], np.ndarray]:
    rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
    shown = [[name in labels.split("|") for name in ("green", "red")] for _, labels in rows]
    return [name for name, _ in rows], np.array(shown).astype(np.uint8)


def features_of(scenes: Any, names: list[str], pool: str, crop: str = "warp") -> np.ndarray:
    pooled = extract(load_backbone(scenes.weights), scenes.images, names, 64, device="cpu", workers=0, crop=crop)
    return combine(pooled, pool).double().numpy()


@pytest.mark.parametrize("pool", ["gamp", "cat"])
def test_the_figures_are_those_of_the_neighbours(drawn: Any, tmp_path: Path, pool: str) -> None:
    result = evaluate(drawn, pool=pool, out=tmp_path / "out", beside="random")
    (train, targets), (val, truth) = rows_of(drawn.train), rows_of(drawn.val)
    expected = brute_force(features_of(drawn, val, pool), features_of(drawn, train, pool), targets, 5, 0.07)
    aps = [average_precision_score(truth[:, column], expected[:, column]) for column in range(2)]
    report = result["results"]["pretrained"]
    assert report["AP"] == pytest.approx(aps)
    assert report["mAP"] == pytest.approx(np.mean(aps))
    assert report["mAP"] != result["results"]["random_init"]["mAP"]
    assert report["OR"] == pytest.approx(((expected >= 0.5) & (truth == 1)).sum() / truth.sum())
    low, high = report["intervals"]["mAP"]
    assert low < high
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result
    protocol = result["protocol"]
    stated = {"neighbours": 5, "temperature": 0.07, "pool": pool, "size": 64, "classes": ["green", "red"], "seed": 0}
    assert {key: protocol[key] for key in stated} == stated
    assert protocol["feature_dim"] == (192 if pool == "cat" else 96)
    assert protocol["train"]["positives"] == targets.sum(axis=0).tolist()


def test_the_center_the_11_points_and_ml_gcns_quotient(drawn: Any) -> None:
    options = {"threshold": 0.9, "average_precision": "voc07", "compatibility": "ml-gcn"}
    result = evaluate(drawn, crop="center", **options)
    (train, targets), (val, truth) = rows_of(drawn.train), rows_of(drawn.val)
    own, others = (features_of(drawn, names, "gamp", "center") for names in (val, train))
    shares = brute_force(own, others, targets, 5, 0.07).clip(max=1)
    report = result["results"]["pretrained"]
    for key, figure in multilabel_metrics(shares, truth, **options).items():
        assert report[key] == pytest.approx(figure), key
    usual = evaluate(drawn, threshold=0.9)["results"]["pretrained"]
    assert usual["AP"] != report["AP"]
    stated = {"crop": "center", **options}
    assert {key: result["protocol"][key] for key in stated} == stated


def test_difficult_labels_neither_vote_nor_count(scenes: Any, tmp_path: Path) -> None:
    names = [name for name, _ in zip(*rows_of(scenes.train), strict=True) if name.startswith("a/")]
    marks = {Path(name).stem: (1, -1, 0)[place % 3] for place, name in enumerate(names)}
    for part in ("train", "val"):
        (tmp_path / f"thing_{part}.txt").write_text("".join(f"{stem} {mark}\n" for stem, mark in marks.items()))
    labels = {"train_labels": tmp_path / "thing_train.txt", "val_labels": tmp_path / "thing_val.txt"}
    features = features_of(scenes, names, "gamp")
    certain = np.array(list(marks.values())) != 0
    positive = np.array(list(marks.values())) == 1
    votes = [
        brute_force(features, features, np.stack([column, certain], 1).astype(np.uint8), 3, 0.07, range(len(names)))
        for column in (positive, positive | ~certain)
    ]
    shares = votes[0][:, 0] / np.where(votes[0][:, 1] > 0, votes[0][:, 1], 1)
    ignoring, shown = (
        evaluate(scenes, images=scenes.images / "a", neighbours=3, resamples=0, difficult=difficult, **labels)
        for difficult in ("ignore", "positive")
    )
    expected = average_precision_score(positive[certain], shares[certain])
    assert ignoring["results"]["pretrained"]["AP"] == pytest.approx([expected])
    expected = average_precision_score(positive | ~certain, votes[1][:, 0])
    assert shown["results"]["pretrained"]["AP"] == pytest.approx([expected])
    assert [result["protocol"]["val"]["ignored"] for result in (ignoring, shown)] == [[(~certain).sum()], [0]]
    assert f"{(~certain).sum()} labels of difficult objects" in printed(ignoring)


def test_labels_that_cannot_be_used_are_left_out_and_reported(scenes: Any, tmp_path: Path) -> None:
    train = tmp_path / "train.csv"
    train.write_text(scenes.train.read_text() + "none.png,red\n")
    with pytest.raises(UserError, match=r"none\.png, which is missing"):
        evaluate(scenes, train_labels=train)
    result = evaluate(scenes, train_labels=train, label_problems="skip", out=tmp_path / "out")
    assert result["results"] == evaluate(scenes)["results"]
    assert result["protocol"]["train"]["skipped"] == {
        "count": 1,
        "first": ["line 26 names none.png, which is missing"],
    }
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result
    assert "1 label row was left out of train.csv: line 26 names none.png" in printed(result)


def test_images_in_both_files_do_not_vote_for_themselves(scenes: Any) -> None:
    result = evaluate(scenes, val_labels=scenes.train, neighbours=1, resamples=0)
    names, targets = rows_of(scenes.train)
    features = features_of(scenes, names, "gamp")
    expected = brute_force(features, features, targets, 1, 0.07, range(len(names)))
    aps = [average_precision_score(targets[:, column], expected[:, column]) for column in range(2)]
    report = result["results"]["pretrained"]
    assert report["AP"] == pytest.approx(aps)
    assert report["mAP"] < 1
    # The thresholds of the best F1 are found on these very scores: nobody voted for itself there either.
    best = report["rules"]["best F1 on train"]
    assert best["CF1"] >= report["CF1"]
    assert best["CF1"] < 1
    assert "24 of 24 validation images are also training images: none votes for itself" in printed(result)


def test_no_copy_of_an_image_votes_for_it(scenes: Any, tmp_path: Path) -> None:
    """Of one that stands twice among the training images, under its own name and another, neither does."""
    images = tmp_path / "images"
    shutil.copytree(scenes.images, images)
    names, targets = rows_of(scenes.train)
    twins = [f"{name}.twin.png" for name in names]
    for name, twin in zip(names, twins, strict=True):
        shutil.copy(images / name, images / twin)
    head, *lines = scenes.train.read_text().splitlines()
    both = [line.replace(name, twin) for line, name, twin in zip(lines, names, twins, strict=True)]
    train = tmp_path / "train.csv"
    train.write_text("\n".join([head, *lines, *both]) + "\n")
    options = {"images": images, "train_labels": train, "val_labels": scenes.train, "neighbours": 1, "resamples": 0}
    report = evaluate(scenes, **options)["results"]["pretrained"]
    features = features_of(scenes, names, "gamp")
    expected = brute_force(features, features, targets, 1, 0.07, range(len(names)))
    assert report["AP"] == pytest.approx([average_precision_score(targets[:, c], expected[:, c]) for c in range(2)])
    assert report["mAP"] < 1


def test_a_class_without_validation_images_is_none(scenes: Any, tmp_path: Path) -> None:
    lines = scenes.val.read_text().splitlines()
    val = tmp_path / "val.csv"
    val.write_text("\n".join([lines[0], *(line for line in lines[1:] if "green" not in line)]) + "\n")
    result = evaluate(scenes, val_labels=val, out=tmp_path / "out")
    assert result["results"]["pretrained"]["AP"][0] is None
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result
    assert "1 of 2 classes have no validation image" in printed(result)


def printed(result: dict[str, Any]) -> str:
    stream = io.StringIO()
    Console(file=stream, width=80).print(format_knn(result))
    return stream.getvalue()


def test_the_table_shows_every_rule_in_percent(scenes: Any) -> None:
    result = evaluate(scenes, threshold=0.3, beside="none")
    text = printed(result)
    report = result["results"]["pretrained"]
    assert list(report["rules"]) == ["p>=0.3", "p>=0.5", "logit>=0.6", "top-3", "best F1 on train"]
    for rule, figures in report["rules"].items():
        (row,) = (line for line in text.splitlines() if cells(line)[1:2] == [rule])
        shown = [figures[metric] for metric in ("OP", "OR", "OF1", "CP", "CR", "CF1")]
        assert cells(row)[2:] == [percent(figure) for figure in (report["mAP"], *shown)]
    (row,) = (line for line in text.splitlines() if line.strip(" │").startswith("red"))
    assert cells(row) == ["red", "12", "6", percent(report["AP"][1])]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "mean"}, "pool must be one of gamp, avg, max, avg_minus_max, cat, not 'mean'"),
        ({"crop": "middle"}, "crop must be one of warp, center, not 'middle'"),
        ({"size": 4}, "size must be at least 8 pixels, not 4"),
        ({"neighbours": 0}, "neighbours must be at least 1, not 0"),
        ({"neighbours": 25}, r"neighbours is 25, but .*train\.csv names only 24 images"),
        ({"temperature": 0}, "temperature must be above 0, not 0"),
        ({"temperature": float("nan")}, "temperature must be above 0, not nan"),
        ({"threshold": 2}, "threshold is a probability from 0 to 1, not 2"),
        ({"resamples": -1}, "resamples must be at least 0, not -1"),
        ({"seed": -1}, "seed must be from 0 to .*, not -1"),
        ({"seed": 2**64}, "seed must be from 0 to "),
        ({"workers": -1}, "workers must be at least 0, not -1"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"precision": "fp16"}, "precision must be"),
        ({"weights": "nowhere"}, "nowhere"),
    ],
)
def test_mistakes_are_named(scenes: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(scenes, **options)
