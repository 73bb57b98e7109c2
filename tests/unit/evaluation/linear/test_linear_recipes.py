"""Recipes of linear evaluation: logistic regression, and heads at the paper's rate, a fitting one and the authors'."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.linear_model import LogisticRegression

from manyview.backbones import load_backbone
from manyview.errors import UserError
from manyview.evaluation import compare, extract, format_table, linear_evaluation, multilabel_metrics
from manyview.evaluation.linear.recipes import of_recipe
from manyview.evaluation.linear.settings import settings_of
from manyview.evaluation.linear.sgd import base_rate_entropy
from manyview.options.base import defaults
from manyview.options.labeled import LinearOptions

FAST: dict[str, Any] = {"size": 48, "workers": 0, "device": "cpu", "resamples": 20, "beside": "none"}
HEAD: dict[str, Any] = {"cached": True, "epochs": 3, "batch_size": 8}


def evaluate(scenes: Any, **options: Any) -> dict[str, Any]:
    data = {"images": scenes.images, "train_labels": scenes.train, "val_labels": scenes.val}
    return linear_evaluation(scenes.weights, **(data | FAST | options))


def printed(result: dict[str, Any], width: int = 160) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(format_table(result))
    return stream.getvalue()


@pytest.fixture(scope="module")
def logistic(scenes: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("logistic") / "out"
    return evaluate(scenes, out=out, beside="random"), out


def rows_of(file: Path) -> tuple[list[str], np.ndarray]:
    rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
    return [row[0] for row in rows], np.array(
        [[name in row[1].split("|") for name in ("green", "red")] for row in rows]
    )


def test_the_default_is_logistic_regression_on_standardized_features(
    scenes: Any, logistic: tuple[dict[str, Any], Path]
) -> None:
    report = logistic[0]["results"]["pretrained"]
    assert logistic[0]["protocol"]["recipe"] == "logistic"
    (cost,) = set(report["costs"])
    (train, targets), (val, truth) = rows_of(scenes.train), rows_of(scenes.val)
    backbone = load_backbone(scenes.weights)
    own, others = (
        (pooled["avg"] + pooled["max"]).double().numpy() / 2
        for pooled in (extract(backbone, scenes.images, names, 48, device="cpu", workers=0) for names in (train, val))
    )
    std = np.where(own.std(axis=0) > 0, own.std(axis=0), 1)
    own, others = ((part - own.mean(axis=0)) / std for part in (own, others))
    models = [LogisticRegression(C=cost, tol=1e-9, max_iter=10_000).fit(own, targets[:, index]) for index in range(2)]
    scores = np.stack([model.predict_proba(others)[:, 1] for model in models], axis=1)
    expected = multilabel_metrics(scores, truth.astype(np.uint8))
    for figure in ("mAP", "OF1", "CF1", "AP"):
        assert report[figure] == pytest.approx(expected[figure], abs=1e-6)


def test_its_result_says_how_c_was_chosen(logistic: tuple[dict[str, Any], Path]) -> None:
    result, out = logistic
    assert json.loads((out / "metrics.json").read_text()) == result
    assert [path.name for path in out.iterdir()] == ["metrics.json"]
    protocol = result["protocol"]
    assert protocol["cost"] is None
    assert protocol["cost_by_class"] is False
    assert "best mAP in 3-fold cross-validation on the training" in protocol["cost_chosen"]
    assert "1e-6 to 1e2" in protocol["cost_chosen"]
    assert not protocol.keys() & {"epochs", "measured", "batch_size", "base_learning_rate", "weight_decay", "cached"}
    for report in result["results"].values():
        (cost,) = set(report["costs"])
        tried = dict(map(tuple, report["cross_validated"]))
        assert tried[cost] == max(tried.values())
        assert (report["unconverged"], report["costs_at_edge"]) == (0, 0)
        assert set(report["intervals"]) >= {"mAP", "CF1"}
    text = printed(result)
    assert "gamp at 48 px, logistic regression on features extracted once" in text
    shown = ", ".join(
        f"{name} {result['results'][key]['costs'][0]:g}"
        for key, name in (("pretrained", "pre-trained"), ("random_init", "random init"))
    )
    assert f"C of the best cross-validated mAP on the training labels: {shown}." in text


def test_c_may_be_given_or_chosen_by_class(scenes: Any) -> None:
    given, by_class = evaluate(scenes, cost=0.01), evaluate(scenes, cost_by_class=True)
    assert given["results"]["pretrained"]["costs"] == [0.01, 0.01]
    assert given["protocol"]["cost_chosen"] == "given"
    assert not given["results"]["pretrained"].keys() & {"cross_validated", "costs_at_edge"}
    assert "C 0.01, as given." in printed(given)
    assert by_class["protocol"]["cost_by_class"] is True
    assert "by class" in printed(by_class)


def test_what_was_extracted_is_kept_for_resuming(scenes: Any, tmp_path: Path) -> None:
    def stop(done: int, total: int, phase: str) -> None:
        if phase == "pre-trained: choosing C":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(scenes, out=tmp_path / "out", progress=stop)
    phases: list[str] = []
    again = evaluate(scenes, out=tmp_path / "out", resume=True, progress=lambda *call: phases.append(call[2]))
    assert again["results"] == evaluate(scenes)["results"]
    assert not any("features" in phase for phase in phases)
    assert not (tmp_path / "out" / "unfinished").exists()


@pytest.mark.parametrize(
    ("recipe", "rate", "decay", "threshold", "crop"),
    [
        ("sgd", 10 / 80 * 2, 1e-4, 0.5, "warp"),
        ("paper", 10.0, 1e-4, 0.5, "warp"),
        ("released", 10.0, 0.0, 1 / (1 + np.exp(-0.6)), "warp"),
        ("voc", 1.0, 0.0, 1 / (1 + np.exp(-0.6)), "center"),
    ],
)
def test_heads_differ_in_rate_decay_threshold_and_crop(
    scenes: Any, recipe: str, rate: float, decay: float, threshold: float, crop: str
) -> None:
    result = evaluate(scenes, recipe=recipe, **HEAD)
    protocol = result["protocol"]
    assert protocol["recipe"] == recipe
    assert (protocol["base_learning_rate"], protocol["learning_rate"]) == (rate, rate * 8 / 256)
    assert (protocol["weight_decay"], protocol["crop"], protocol["measured"]) == (decay, crop, "last")
    assert protocol["threshold"] == pytest.approx(threshold, abs=1e-12)
    assert not protocol.keys() & {"cost", "cost_by_class", "cost_chosen"}
    assert f"Evaluated after the last epoch (3), recipe {recipe}." in printed(result)
    own = {"weight_decay": 0.1, "threshold": 0.2, "base_learning_rate": 0.5, "crop": "warp"}
    changed = of_recipe({**usual(recipe=recipe), **own})
    assert {name: changed[name] for name in own} == own


def usual(**options: Any) -> Any:
    return {**defaults(LinearOptions), "images": "i", "train_labels": "t", "val_labels": "v", **options}


@pytest.mark.parametrize("classes", [10, 20, 80])
def test_the_fitting_rate_is_that_of_the_paper_for_80_classes(classes: int) -> None:
    head = settings_of(of_recipe(usual(recipe="sgd")), classes).head
    assert head.base_learning_rate == pytest.approx(10 * classes / 80)
    assert (head.epochs, head.batch_size) == (100, 64)
    assert settings_of(of_recipe(usual(recipe="sgd", base_learning_rate=3)), classes).head.base_learning_rate == 3


def test_a_rate_for_more_classes_than_there_are_gives_a_warning(scenes: Any) -> None:
    found = {
        rate: evaluate(scenes, recipe="paper", base_learning_rate=rate, **{**HEAD, "epochs": 7}) for rate in (0.2, 500)
    }
    assert "entropy" not in printed(found[0.2])  # below 10 / 80 for each of the two classes
    losses = found[500]["results"]["pretrained"]["loss_by_epoch"][:5]
    assert (
        f"pre-trained: the mean loss of the first 5 epochs, {np.mean(losses):.2f}, is above the entropy of the base "
        "rates, 0.69, which needs no features: a base learning rate of 500 is for 4000 classes, and 2 classes need "
        "0.25 (--recipe sgd)."
    ) in printed(found[500], 400)
    found[500]["results"]["pretrained"]["base_rate_entropy"] = 1e9
    assert "entropy" not in printed(found[500])
    del found[500]["results"]["pretrained"]["base_rate_entropy"], found[500]["protocol"]["recipe"]  # as earlier results
    assert "Evaluated after the last epoch (7).\n" in printed(found[500])


def test_the_base_rates_entropy_is_the_loss_of_a_head_that_knows_only_them() -> None:
    rng = np.random.default_rng(0)
    targets = torch.from_numpy((rng.random((60, 4)) < [0.5, 0.1, 0, 1]).astype(np.float32))
    targets[:10, 1] = torch.nan
    known = ~targets.isnan()
    rates = torch.stack([column[~column.isnan()].double().mean() for column in targets.T])
    logits = torch.logit(rates, eps=1e-12).expand(60, 4)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets.double(), reduction="none")
    assert base_rate_entropy(targets) == pytest.approx(float(losses[known].mean()), abs=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"epochs": 3},
            r"epochs \(--epochs\) is for heads trained with SGD \(--recipe sgd, paper, released, voc\), not",
        ),
        (
            {"measured": "best"},
            r"measured \(--epoch\) is for heads .* not for --recipe logistic, which does not read it",
        ),
        ({"batch_size": 64}, r"batch_size \(--batch-size\) is for heads"),
        ({"base_learning_rate": 1}, r"base_learning_rate \(--base-learning-rate\) is for heads"),
        ({"weight_decay": 0.0}, r"weight_decay \(--weight-decay\) is for heads"),
        ({"cached": True}, r"cached \(--cached\) is for heads .*, which extracts features once anyway: leave it out"),
        ({"flips": True}, r"flips \(--flips\) is for heads"),
        ({"recipe": "paper", "cost": 1}, r"cost \(--cost\) is for --recipe logistic, not for --recipe paper"),
        ({"recipe": "sgd", "cost_by_class": True}, r"cost_by_class \(--cost-by-class\) is for --recipe logistic"),
        ({"cost": 0}, "cost must be above 0, not 0"),
        ({"cost": 1, "cost_by_class": True}, "cost_by_class chooses C, and cost gives it: leave out one of them"),
        ({"threshold": 2}, "threshold is a probability"),
        ({"resamples": -1}, "resamples must be at least 0"),
        ({"seed": -1}, "seed must be from 0"),
        ({"crop": "centre"}, "crop must be one of warp, center, not 'centre'"),
        ({"recipe": "sgd", "epochs": 0}, "epochs must be at least 1"),
    ],
)
def test_options_of_the_other_classifiers_and_mistakes_are_refused(
    scenes: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(scenes, **options, progress=lambda *_: pytest.fail("extracted"))


def test_compare_tells_the_recipes_apart(scenes: Any, logistic: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    evaluate(scenes, recipe="paper", out=tmp_path / "paper", **HEAD)
    result = compare([logistic[1], tmp_path / "paper"])
    (recipes,) = (warning for warning in result["warnings"] if "recipe" in warning)
    assert recipes.startswith("recipe is logistic (out), paper (paper): their figures do not measure the same")
    assert recipes.endswith("momentum, head_init)")
    assert not any("epochs is unset" in warning for warning in result["warnings"])
    assert result["protocol"]["differing"]["epochs"] == {"out": [None], "paper": [3]}
    assert set(result["groups"]) == {"out", "paper"}
