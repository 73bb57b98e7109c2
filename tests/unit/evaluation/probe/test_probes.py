"""Linear classifiers on few labels: the draw, the optimum, the scores, and the curve as an evaluation."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from scipy.optimize import minimize
from sklearn.metrics import average_precision_score
from sklearn.svm import LinearSVC

import manyview.evaluation.probe.classifiers as probes
import manyview.evaluation.probe.figure as probe_figure
from manyview.backbones import load_backbone
from manyview.backbones.build import untrained
from manyview.errors import UserError
from manyview.evaluation.features.extract import combine, extract
from manyview.evaluation.logistic import solver
from manyview.evaluation.metrics.multilabel import multilabel_metrics
from manyview.evaluation.probe.classifiers import ProbeSettings, draw, probe, scale
from manyview.evaluation.probe.evaluate import low_label_evaluation
from manyview.evaluation.probe.figure import chance, draw_low_label_curve
from manyview.evaluation.tables import format_low_label
from tests.helpers.few_costs import fewer_costs
from tests.helpers.tables import cells, percent

FAST: dict[str, Any] = {"size": 64, "workers": 0, "device": "cpu"}


def some_targets(seed: int, images: int = 200) -> np.ndarray:
    """Common and rare classes; the last has no positive."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, 5)) < [0.6, 0.2, 0.02, 0.02, 0]).astype(np.uint8)
    targets[rng.integers(0, images, 2), [2, 3]] = 1
    return targets


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("fraction", "count"), [(0.001, 1), (0.0225, 5), (0.05, 10), (0.5, 100), (1, 200)])
def test_a_draw_shows_every_class_that_has_positives(seed: int, fraction: float, count: int) -> None:
    targets = some_targets(seed)
    drawn = draw(targets, fraction, seed)
    assert len(drawn) == count
    assert (np.diff(drawn) > 0).all()
    shown = targets[drawn].any(axis=0).tolist()
    if count >= 4:
        assert shown == [True, True, True, True, False]
    else:
        # Room for one: a positive of the rarest class.
        rarest = targets.sum(axis=0)[:4].argmin()
        assert shown[rarest]


def test_a_draw_is_plainly_random_where_that_shows_every_class() -> None:
    targets = some_targets(0)
    orders = [np.random.default_rng(seed).permutation(200)[:100] for seed in range(30)]
    plain = [seed for seed, order in enumerate(orders) if targets[order].any(axis=0)[:4].all()]
    assert len(plain) > 10
    for seed in plain:
        assert draw(targets, 0.5, seed).tolist() == sorted(orders[seed])
    assert len({tuple(draw(targets, 0.5, seed)) for seed in range(30)}) == 30
    assert set(draw(targets, 0.05, 3)) < set(draw(targets, 0.5, 3))


def problem(seed: int, images: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scales, shifts = rng.uniform(0.1, 30, 6), rng.normal(size=6)
    train, val = (rng.normal(size=(count, 6)) * scales + shifts for count in (images, 25))
    logits = (train - shifts) / scales @ rng.normal(size=(6, 3)) + rng.normal(size=(images, 3))
    return train, (logits > 0.3).astype(np.uint8), val


def least(loss: Any, dim: int) -> np.ndarray:
    """The minimum that a general optimizer finds of a convex function without our gradients."""
    found = minimize(loss, np.zeros(dim), method="BFGS", options={"gtol": 1e-7})
    return found.x


@pytest.mark.parametrize("cost", [0.1, 1.0])
def test_logistic_regression_is_at_its_optimum(cost: float) -> None:
    train, targets, val = problem(0)
    mean, std = train.mean(axis=0), train.std(axis=0)
    own, others = (train - mean) / std, (val - mean) / std
    probed = probe(train, targets, val, ProbeSettings(costs=(cost,)))
    for column in range(3):
        signs = 2.0 * targets[:, column] - 1

        def loss(parameters: np.ndarray, signs: np.ndarray = signs) -> float:
            weights, bias = parameters[:-1], parameters[-1]
            return cost * np.logaddexp(0, -signs * (own @ weights + bias)).sum() + weights @ weights / 2

        best = least(loss, 7)
        expected = 1 / (1 + np.exp(-(others @ best[:-1] + best[-1])))
        np.testing.assert_allclose(probed.probabilities[:, column], expected, rtol=0, atol=2e-4)
    assert (probed.costs, probed.unconverged) == ([cost] * 3, 0)


def test_the_svm_is_at_its_optimum() -> None:
    train, targets, val = problem(1)
    own, others = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (train, val))
    probed = probe(train, targets, val, ProbeSettings("svm", (2.0,)))
    for column in range(3):
        signs = 2.0 * targets[:, column] - 1
        cost_of_each = np.where(signs > 0, 4.0, 2.0)

        def loss(parameters: np.ndarray, signs: np.ndarray = signs, costs: np.ndarray = cost_of_each) -> float:
            # LIBLINEAR regularizes the bias too.
            margins = 1 - signs * (own @ parameters[:-1] + parameters[-1])
            return costs @ np.maximum(margins, 0) ** 2 + parameters @ parameters / 2

        best = least(loss, 7)
        decisions = others @ best[:-1] + best[-1]
        np.testing.assert_allclose(probed.probabilities[:, column], 1 / (1 + np.exp(-decisions)), rtol=0, atol=2e-4)
        clear = np.abs(decisions) > 1e-3
        assert ((probed.probabilities[:, column] >= 0.5) == (decisions >= 0))[clear].all()


def test_the_sigmoid_keeps_order_and_sign_to_the_ends() -> None:
    decisions = np.array([-800.0, -700, -1e-300, -0.0, 0, 1e-300, 20, 36, 1000])
    probabilities = probes._sigmoid(decisions)
    assert (np.diff(probabilities) >= 0).all()
    assert probabilities[[0, -1]].tolist() == [0, 1]
    assert (probabilities[decisions >= 0] >= 0.5).all()
    assert probabilities[6] == pytest.approx(1 / (1 + np.exp(-20)), abs=1e-15)


def test_each_class_gets_the_cost_of_the_best_cross_validation() -> None:
    train, targets, val = problem(2, images=90)
    settings = ProbeSettings("svm", (100.0, 0.0001, 1.0))
    probed = probe(train, targets, val, settings, seed=5)
    own, _ = scale(train, val, "unit")
    assert set(probed.costs) <= {0.0001, 1.0, 100.0}
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    for column in range(3):
        folds = StratifiedKFold(3, shuffle=True, random_state=5)
        means = [
            cross_val_score(
                LinearSVC(C=cost, dual=False, class_weight={0: 1, 1: 2}, tol=1e-6, max_iter=10_000),
                own,
                targets[:, column],
                cv=folds,
                scoring="average_precision",
            ).mean()
            for cost in (0.0001, 1.0, 100.0)
        ]
        assert probed.costs[column] == (0.0001, 1.0, 100.0)[int(np.argmax(means))]
    alone = probe(train, targets, val, ProbeSettings("svm", (probed.costs[0] or 0,)))
    np.testing.assert_array_equal(probed.probabilities[:, 0], alone.probabilities[:, 0])


def test_logistic_regression_has_one_cost_for_all_classes_or_one_for_each() -> None:
    train, targets, val = problem(2, images=90)
    shared = probe(train, targets, val, ProbeSettings(), seed=5)
    assert (len(set(shared.costs)), shared.at_edge) == (1, 0)
    costs = (1e-4, 1.0, 100.0)
    by_class = probe(train, targets, val, ProbeSettings(costs=costs, cost_by_class=True), seed=5)
    assert len(set(by_class.costs)) > 1
    assert by_class.at_edge == sum(cost in (1e-4, 100.0) for cost in by_class.costs)
    for column, cost in enumerate(by_class.costs):
        alone = probe(train, targets, val, ProbeSettings(costs=(cost or 0,)))
        np.testing.assert_allclose(by_class.probabilities[:, column], alone.probabilities[:, column], rtol=0, atol=1e-6)


def test_classes_of_one_label_and_with_too_few_for_folds() -> None:
    train, targets, val = problem(3)
    targets = np.column_stack([targets[:, 0], np.zeros(60), np.ones(60), np.arange(60) == 7]).astype(np.uint8)
    for classifier in ("logistic", "svm"):
        probed = probe(train, targets, val, ProbeSettings(classifier, (10.0, 0.5)))
        assert (probed.probabilities[:, 1] == 0).all()
        assert (probed.probabilities[:, 2] == 1).all()
        assert probed.costs[1:3] == [None, None]
        # The SVM's rare class gets the smaller one; logistic regression's that of the class that could be measured.
        assert probed.costs[3] == (0.5 if classifier == "svm" else probed.costs[0])


def test_of_equally_good_costs_the_smallest_is_taken() -> None:
    shown = np.arange(12) % 2
    parted = np.column_stack([2.0 * shown - 1, np.ones(12)])
    probed = probe(parted, shown[:, None].astype(np.uint8), parted, ProbeSettings("svm", (10.0, 0.1, 1.0)))
    assert (probed.costs, probed.at_edge) == ([0.1], 1)


def test_ignored_labels_have_no_part() -> None:
    train, targets, val = problem(4)
    ignored = np.zeros_like(targets)
    ignored[40:, 0] = 1
    wrong = targets ^ ignored
    unscaled = ProbeSettings(costs=(1.0,), scaling="unit")
    part = probe(train[:40], targets[:40], val, unscaled).probabilities
    whole = probe(train, targets, val, unscaled).probabilities
    found = probe(train, wrong, val, unscaled, ignored=ignored).probabilities
    np.testing.assert_allclose(found[:, 0], part[:, 0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[:, 1:], whole[:, 1:], rtol=0, atol=1e-5)


def test_scaling() -> None:
    train, _, val = problem(5)
    train[:, 2], val[:, 2] = 0.1, 0.3
    own, others = scale(train, val, "standardised")
    assert own.mean(axis=0) == pytest.approx(0, abs=1e-12)
    assert own.std(axis=0) == pytest.approx([1, 1, 0, 1, 1, 1], abs=1e-12)
    assert others[:, 2] == pytest.approx(0.2)
    assert others[:, 0] == pytest.approx((val[:, 0] - train[:, 0].mean()) / train[:, 0].std())
    train[3] = 0
    own, others = scale(train, val, "unit")
    assert np.linalg.norm(own, axis=1) == pytest.approx([0 if row == 3 else 1 for row in range(60)])
    assert others == pytest.approx(val / np.linalg.norm(val, axis=1, keepdims=True))


def test_what_does_not_converge_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_ITERATIONS", 1)
    monkeypatch.setattr(solver, "_ITERATIONS", 1)
    for classifier in ("logistic", "svm"):
        assert probe(*problem(6), ProbeSettings(classifier, (1.0,))).unconverged == 3


def evaluate(scenes: Any, **options: Any) -> dict[str, Any]:
    data = {"images": scenes.images, "train_labels": scenes.train, "val_labels": scenes.val}
    weights = options.pop("weights", scenes.weights)
    return low_label_evaluation(weights, **(data | {"beside": "none"} | FAST | options))


@pytest.fixture(scope="module")
def curve(scenes: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("probe") / "out"
    options = {"fractions": [1, 0.25], "seeds": [4, 1], "beside": "random", "untrained_norms": "zero-one"}
    with fewer_costs():
        return evaluate(scenes, **options, out=out), out


def rows_of(file: Path) -> tuple[list[str], np.ndarray]:
    rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
    shown = [[name in labels.split("|") for name in ("green", "red")] for _, labels in rows]
    return [name for name, _ in rows], np.array(shown).astype(np.uint8)


def test_the_figures_are_those_of_the_draws(scenes: Any, curve: tuple[dict[str, Any], Path]) -> None:
    (train, targets), (val, truth) = rows_of(scenes.train), rows_of(scenes.val)
    backbone = load_backbone(scenes.weights)
    for name, network in (("pretrained", backbone), ("random_init", untrained(backbone, 4))):
        own, others = (
            combine(extract(network, scenes.images, names, 64, device="cpu", workers=0), "gamp").double().numpy()
            for names in (train, val)
        )
        quarter, whole = curve[0]["results"][name]
        assert [(entry["fraction"], entry["images"]) for entry in (quarter, whole)] == [(0.25, 6), (1, 24)]
        assert [run["seed"] for run in quarter["runs"]] == [4, 1]
        assert [run["seed"] for run in whole["runs"]] == [4]
        maps = []
        for run in quarter["runs"]:
            drawn = draw(targets, 0.25, run["seed"])
            with fewer_costs():
                scores = probe(own[drawn], targets[drawn], others, ProbeSettings(), run["seed"]).probabilities
            aps = [average_precision_score(truth[:, column], scores[:, column]) for column in range(2)]
            assert run["AP"] == pytest.approx(aps)
            assert run["OR"] == pytest.approx(((scores >= 0.5) & (truth == 1)).sum() / truth.sum())
            assert run["positives"] == targets[drawn].sum(axis=0).tolist()
            maps.append(np.mean(aps))
        assert quarter["summary"]["mAP"]["mean"] == pytest.approx(np.mean(maps))
        assert quarter["summary"]["mAP"]["std"] == pytest.approx(np.std(maps, ddof=1))
        assert whole["summary"]["mAP"] == {"mean": whole["runs"][0]["mAP"], "std": None, "n": 1}
    assert curve[0]["results"]["pretrained"][1]["summary"]["mAP"]["mean"] > 0.85


def test_the_folder_holds_the_result_and_the_curve(scenes: Any, curve: tuple[dict[str, Any], Path]) -> None:
    result, out = curve
    assert sorted(path.name for path in out.iterdir()) == ["curve.png", "metrics.json"]
    assert json.loads((out / "metrics.json").read_text()) == result
    stated = {
        "classifier": "logistic",
        "costs": [],
        "cost_by_class": False,
        "scaling": "standardised",
        "fractions": [0.25, 1],
        "seeds": [4, 1],
        "pool": "gamp",
        "size": 64,
        "classes": ["green", "red"],
    }
    assert {key: result["protocol"][key] for key in stated} == stated
    assert result["provenance"]["seconds"] > 0


def test_the_curve_shows_each_backbone_and_chance(curve: tuple[dict[str, Any], Path]) -> None:
    result, out = curve
    assert chance(result["protocol"]) == pytest.approx(0.5)
    with Image.open(io.BytesIO(draw_low_label_curve(result))) as picture:
        both = np.asarray(picture.convert("RGB")).astype(int)
    with Image.open(out / "curve.png") as written:
        assert (np.asarray(written.convert("RGB")) == both).all()
    for color in ((0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)):
        assert (np.abs(both - color).max(axis=2) < 8).sum() > 300
    alone = {**result, "results": {"pretrained": result["results"]["pretrained"]}}
    with Image.open(io.BytesIO(draw_low_label_curve(alone))) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (np.abs(pixels - (0x00, 0x72, 0xB2)).max(axis=2) < 8).sum() == 0


@pytest.mark.parametrize("name", ["a$x_{$b", "日本", "_old"])
def test_the_curve_has_every_name_of_a_baseline_in_its_legend(
    name: str, curve: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    legend = Figure.legend

    def listed(figure: Figure, **options: Any) -> Any:
        made = legend(figure, **options)
        shown.extend(text.get_text().strip() for text in made.get_texts())
        return made

    monkeypatch.setattr(Figure, "legend", listed)
    own = curve[0]["results"]["pretrained"]
    draw_low_label_curve({**curve[0], "results": {"pretrained": own, name: own}})
    assert sorted(shown) == sorted(["pre-trained", name, "chance"])


def test_a_curve_that_fails_takes_no_figure_with_it(
    scenes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(result: dict[str, Any]) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(probe_figure, "draw_low_label_curve", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate(scenes, fractions=[0.25], seeds=[0], costs=[1.0], out=tmp_path / "out")
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["results"]["pretrained"][0]["images"] == 6


def test_the_table_shows_mean_and_deviation(curve: tuple[dict[str, Any], Path]) -> None:
    result, _ = curve
    stream = io.StringIO()
    Console(file=stream, width=100).print(format_low_label(result))
    lines = stream.getvalue().splitlines()
    for name, label in (("pretrained", "pre-trained"), ("random_init", "random init")):
        rows = [line for line in lines if line.strip(" │").startswith(label) and "%" in line]
        for row, entry in zip(rows, result["results"][name], strict=True):
            summary = entry["summary"]["mAP"]
            std = "" if summary["std"] is None else f" ±{100 * summary['std']:.1f}"
            rest = [entry["summary"][metric]["mean"] for metric in ("OP", "OR", "OF1", "CP", "CR", "CF1")]
            assert cells(row)[1:] == [
                f"{entry['images']} ({100 * entry['fraction']:g} %)",
                f"{percent(summary['mean'])}{std}",
                *map(percent, rest),
            ]
    (row,) = (line for line in lines if line.strip(" │").startswith("green"))
    aps = [percent(entries[-1]["runs"][0]["AP"][0]) for entries in result["results"].values()]
    assert cells(row) == ["green", "12", "6", *aps]
    assert "±: standard deviation over 2 draws." in stream.getvalue()


def test_of_all_images_there_is_one_draw_whose_deviation_nobody_explains(
    curve: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = {**curve[0], "results": {name: entries[1:] for name, entries in curve[0]["results"].items()}}
    stream = io.StringIO()
    Console(file=stream, width=100).print(format_low_label(result))
    assert "±" not in stream.getvalue()
    titles: list[str] = []
    monkeypatch.setattr(Axes, "set_xlabel", lambda axes, title, **style: titles.append(title))
    for given in (result, curve[0]):
        draw_low_label_curve(given)
    assert titles == ["labeled images", "labeled images; bars: standard deviation over 2 draws"]


def test_absent_classes_and_images_in_both_are_reported(scenes: Any, tmp_path: Path) -> None:
    lines = scenes.train.read_text().splitlines()
    val = tmp_path / "val.csv"
    val.write_text("\n".join([lines[0], *(line for line in lines[1:] if "green" not in line)]) + "\n")
    result = evaluate(scenes, val_labels=val, fractions=[1], seeds=[0], classifier="svm", costs=[0.1, 10])
    assert result["results"]["pretrained"][0]["summary"]["AP"]["mean"][0] is None
    assert result["protocol"]["cost_chosen"].startswith("by class, of the best average precision in 3-fold")
    assert result["protocol"]["scaling"] == "unit"
    stream = io.StringIO()
    Console(file=stream, width=140).print(format_low_label(result))
    assert "12 of 12 validation images are also training images" in stream.getvalue()
    assert "1 of 2 classes have no validation image" in stream.getvalue()


def test_the_center_the_11_points_and_ml_gcns_quotient(scenes: Any) -> None:
    options = {"average_precision": "voc07", "compatibility": "ml-gcn"}
    seed, cost = 2, 1e-4  # so small a cost that only the class with more positives than not is ever predicted
    result = evaluate(scenes, fractions=[0.25], seeds=[seed], costs=[cost], crop="center", **options)
    (train, targets), (val, truth) = rows_of(scenes.train), rows_of(scenes.val)
    backbone = load_backbone(scenes.weights)
    own, others = (
        combine(extract(backbone, scenes.images, names, 64, device="cpu", workers=0, crop="center"), "gamp")
        for names in (train, val)
    )
    drawn = draw(targets, 0.25, seed)
    settings = ProbeSettings(costs=(cost,))
    scores = probe(own.double().numpy()[drawn], targets[drawn], others.double().numpy(), settings).probabilities
    (run,) = result["results"]["pretrained"][0]["runs"]
    for key, figure in multilabel_metrics(scores, truth, **options).items():
        assert run[key] == pytest.approx(figure), key
    usual = multilabel_metrics(scores, truth)
    assert (run["AP"] != usual["AP"], run["OP"] < usual["OP"]) == (True, True)
    stated = {"crop": "center", "threshold": 0.5, **options}
    assert {key: result["protocol"][key] for key in stated} == stated


def test_labels_that_cannot_be_used_are_left_out_and_reported(scenes: Any, tmp_path: Path) -> None:
    val = tmp_path / "val.csv"
    val.write_text(scenes.val.read_text() + "a/0.png,blue\n")
    once: dict[str, Any] = {"fractions": [1], "seeds": [0], "costs": [0.01]}
    with pytest.raises(UserError, match="unknown class 'blue'"):
        evaluate(scenes, val_labels=val, **once)
    result = evaluate(scenes, val_labels=val, label_problems="skip", **once)
    assert result["results"] == evaluate(scenes, **once)["results"]
    assert result["protocol"]["val"]["skipped"]["count"] == 1
    stream = io.StringIO()
    Console(file=stream, width=140).print(format_low_label(result))
    text = stream.getvalue()
    assert text.startswith("timm/test_resnet from a checkpoint in the format of manyview: 15 of 15 convolutions")
    assert "1 label row was left out of val.csv: line 14 gives a/0.png the unknown class 'blue'" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": []}, "fraction needs at least one value"),
        ({"fractions": [0]}, "fraction is a share of the images above 0 and up to 1, not 0"),
        ({"fractions": [1.5]}, "not 1.5"),
        ({"fractions": [0.1, 0.1]}, "fraction has one value twice"),
        ({"seeds": [1, 1]}, "seed has one value twice"),
        ({"seeds": [-1]}, "seed must be from 0 to .*, not -1"),
        ({"seeds": [0, 2**64]}, "seed must be from 0 to "),
        ({"classifier": "tree"}, "classifier must be one of logistic, svm, not 'tree'"),
        ({"costs": [0]}, "cost must be above 0, not 0"),
        ({"costs": [float("nan")]}, "cost must be above 0, not nan"),
        ({"classifier": "svm", "cost_by_class": True}, "cost_by_class is for the classifier"),
        ({"costs": [1], "cost_by_class": True}, "cost_by_class chooses C, and one cost gives it"),
        ({"scaling": "none"}, "scaling must be one of standardised, unit, not 'none'"),
        ({"pool": "mean"}, "pool must be one of"),
        ({"weights": "nowhere"}, "nowhere"),
    ],
)
def test_mistakes_are_named(scenes: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(scenes, **options)
