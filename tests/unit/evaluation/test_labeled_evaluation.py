"""What every evaluation on labeled images begins and ends with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyview.errors import UserError
from manyview.evaluation import knn_evaluation, linear_evaluation, low_label_evaluation, session
from manyview.options.base import declared, recorded
from manyview.options.labeled import KnnOptions, LinearOptions, ProbeOptions

FAST: dict[str, Any] = {"size": 32, "workers": 0, "device": "cpu"}
EVALUATIONS: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, Any]]] = {
    "linear": (linear_evaluation, {"recipe": "paper", "cached": True, "epochs": 1, "resamples": 5}),
    "logistic": (linear_evaluation, {"resamples": 5, "cost": 0.01}),
    "knn": (knn_evaluation, {"neighbours": 3, "resamples": 5}),
    "low-label": (low_label_evaluation, {"fractions": [1.0], "seeds": [0], "costs": [0.01]}),
}


@pytest.fixture(params=EVALUATIONS)
def evaluate(request: pytest.FixtureRequest, scenes: Any) -> Callable[..., dict[str, Any]]:
    function, options = EVALUATIONS[request.param]
    labels = {"images": scenes.images, "train_labels": scenes.train, "val_labels": scenes.val}
    return lambda **more: function(scenes.weights, **(labels | FAST | options | more))


def test_the_record_is_of_the_beginning(
    evaluate: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def provenance() -> dict[str, Any]:
        seen.append("provenance")
        return {"started": "now"}

    monkeypatch.setattr(session, "provenance", provenance)

    result = evaluate(progress=lambda done, total, phase: seen.append(phase))

    assert seen[0] == "provenance"
    assert "pre-trained: training features" in seen[1:]
    assert result["provenance"].keys() == {"started", "environment", "seconds"}
    assert result["provenance"]["seconds"] >= 0


def test_what_is_returned_is_written(evaluate: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    result = evaluate(out=tmp_path / "deep" / "out", beside="random")
    assert json.loads((tmp_path / "deep" / "out" / "metrics.json").read_text()) == result
    assert result["results"].keys() == {"pretrained", "random_init"}


@pytest.mark.parametrize(
    ("evaluate", "group", "options"),
    [
        (
            "linear",
            LinearOptions,
            {
                "recipe": "released",
                "measured": "best",
                "batch_size": 5,
                "weight_decay": 0.1,
                "threshold": 0.4,
                "seed": 3,
            }
            | {"base_learning_rate": 2.0, "flips": True, "average_precision": "voc07", "compatibility": "ml-gcn"},
        ),
        (
            "knn",
            KnnOptions,
            {"temperature": 0.5, "threshold": 0.4, "seed": 3, "average_precision": "voc07", "compatibility": "ml-gcn"},
        ),
        (
            "low-label",
            ProbeOptions,
            {"fractions": [0.5], "seeds": [3], "classifier": "svm", "costs": [2.0], "scaling": "standardised"}
            | {"average_precision": "voc07", "compatibility": "ml-gcn"},
        ),
    ],
    indirect=["evaluate"],
)
def test_the_protocol_says_every_recorded_option(
    evaluate: Callable[..., dict[str, Any]], request: pytest.FixtureRequest, group: type, options: dict[str, Any]
) -> None:
    given = EVALUATIONS[request.node.callspec.params["evaluate"]][1] | options
    assert given.keys() >= {name for name, each in declared(group).items() if each.option.recorded}
    protocol = evaluate(**options)["protocol"]
    expected = recorded(group, given)
    assert {name: protocol[name] for name in expected} == expected


@pytest.mark.parametrize("evaluate", ["linear", "logistic", "knn"], indirect=True)
def test_the_protocol_says_what_the_intervals_are(evaluate: Callable[..., dict[str, Any]]) -> None:
    assert evaluate()["protocol"]["intervals"].startswith("95 %, by the bootstrap over validation photographs")
    assert evaluate(resamples=0)["protocol"]["intervals"] is None


def test_nothing_is_extracted_where_nothing_could_be_measured(
    evaluate: Callable[..., dict[str, Any]], scenes: Any, tmp_path: Path
) -> None:
    nothing = tmp_path / "val.csv"
    nothing.write_text("image,labels\n" + "".join(f"{line.split(',')[0]},\n" for line in label_lines(scenes.val)))
    with pytest.raises(UserError, match=r"no image of .*val\.csv shows any of the classes"):
        evaluate(val_labels=nothing, progress=lambda *_: pytest.fail("extracted"))


def label_lines(file: Path) -> list[str]:
    return file.read_text().splitlines()[1:]
