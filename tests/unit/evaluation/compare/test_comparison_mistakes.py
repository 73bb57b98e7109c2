"""What cannot be compared is refused in one sentence that says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manyview.errors import UserError
from manyview.evaluation.compare import compare

KNN = "multi-label classification by the nearest neighbours of a frozen backbone's features"
LINEAR = "multi-label linear classification on a frozen backbone"
REPORT = {
    **dict.fromkeys(("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1"), 0.5),
    **{metric: [0.25, 0.75] for metric in ("AP", "precision", "recall", "f1")},
    "rule": "p>=0.5",
    "rules": {},
}


def result_of(name: str, **protocol: Any) -> dict[str, Any]:
    """The least that a kNN evaluation's file holds."""
    split = {"count": 8, "positives": [3, 5], "labels": "x.csv", "labels_sha256": "5" * 8}
    basis = {
        "evaluation": KNN,
        "neighbours": 4,
        "weights": f"{name}.pth",
        "weights_sha256": name,
        "classes": ["cat", "dog"],
        "val": split,
    }
    return {"protocol": {**basis, **protocol}, "results": {"pretrained": REPORT}}


def write(folder: Path, content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "metrics.json").write_text(text)
    return folder


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path / "good", result_of("good"))


def refused(*places: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        compare(places, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_least_file_is_compared(good: Path, tmp_path: Path) -> None:
    result = compare([good, write(tmp_path / "other", result_of("other"))])
    assert [row["difference"] and row["difference"]["mAP"] for row in result["results"]] == [None, 0]


def test_a_missing_folder(good: Path, tmp_path: Path) -> None:
    assert refused(good, tmp_path / "nix").startswith(f"{tmp_path / 'nix'} does not exist: give the --out folder")


def test_a_folder_without_any(good: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refused(good, tmp_path / "empty").startswith(f"{tmp_path / 'empty'} holds no metrics.json")


def test_a_folder_with_evaluations_far_below(good: Path, tmp_path: Path) -> None:
    below = write(tmp_path / "far" / "a" / "b", result_of("far"))
    message = refused(good, tmp_path / "far")
    assert message == f"{tmp_path / 'far'} holds no evaluation, but folders below it do: give {below}"


@pytest.mark.parametrize("evaluated", [False, True])
def test_a_run(good: Path, tmp_path: Path, evaluated: bool) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    if evaluated:
        write(run / "knn", result_of("run"))
    advice = f"it holds these: {run / 'knn'}" if evaluated else "evaluate it first with manyview linear, knn or probe"
    assert refused(good, run) == f"{run} is a pre-training run, not an evaluation: {advice}"


@pytest.mark.parametrize("text", ["", '{"protocol": {', "\udcff", "[1, 2]", "{}", '{"protocol": 3}'])
def test_a_file_that_is_no_result(good: Path, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "metrics.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert refused(good, folder).startswith(str(folder / "metrics.json"))


def test_another_verbs_result(good: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "check", {"protocol": {"evaluation": "label-free measures"}, "results": {}})
    message = f"{other / 'metrics.json'} is of another type (label-free measures): compare takes results of manyview "
    assert refused(good, other) == message + "linear, knn or probe"


def test_a_comparison(good: Path, tmp_path: Path) -> None:
    compare([good, write(tmp_path / "other", result_of("other"))], out=tmp_path / "out")
    assert "is of another type (comparison of evaluations)" in refused(good, tmp_path / "out")


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        ({"pretrained": {key: REPORT[key] for key in REPORT if key != "CF1"}}, "pretrained.CF1: Field required"),
        ({"pretrained": {**REPORT, "mAP": "high"}}, "pretrained.mAP: Input should be a valid number"),
        ({"pretrained": {**REPORT, "AP": [0.5]}}, "AP of pretrained is not one number for each of 2 classes"),
        ({"random_init": REPORT}, "it has no results for the pre-trained backbone"),
        (None, "results: Input should be a valid dictionary"),
    ],
)
def test_figures_that_are_not_there(good: Path, tmp_path: Path, results: Any, problem: str) -> None:
    damaged = write(tmp_path / "damaged", {**result_of("damaged"), "results": results})
    assert refused(good, damaged) == f"{damaged / 'metrics.json'} is damaged: {problem}; evaluate the weights again"


@pytest.mark.parametrize(
    ("classes", "how"),
    [
        (["cat", "cow"], "1 only in the first, such as dog; 1 only in the second, such as cow"),
        (["dog", "cat"], "the same, in another order"),
    ],
)
def test_other_classes(good: Path, tmp_path: Path, classes: list[str], how: str) -> None:
    other = write(tmp_path / "other", result_of("other", classes=classes))
    expected = f"{good} and {other} have different classes ({how}): their figures cannot be compared"
    assert refused(good, other) == expected


def test_other_types(good: Path, tmp_path: Path) -> None:
    linear = write(tmp_path / "linear", result_of("linear", evaluation=LINEAR))
    expected = f"{good} is of manyview knn and {linear} of manyview linear: compare one type of evaluation at a time"
    assert refused(good, linear) == expected


def test_the_same_twice(good: Path) -> None:
    assert refused(good, good / "metrics.json") == f"{good} is given twice: give each evaluation once"


def test_the_same_evaluation_made_twice(good: Path, tmp_path: Path) -> None:
    again = write(tmp_path / "again", result_of("good"))
    assert refused(good, again).startswith(f"{good} and {again} are the same evaluation")


def test_a_group_whose_members_do_not_repeat_each_other(good: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", result_of("other", neighbours=5))
    message = refused(groups={"x": [good, other]})
    assert message.startswith(
        f"the evaluations of the group x do not repeat one another: neighbours is 4 ({good}), 5 ({other})"
    )


def test_a_group_without_members(good: Path) -> None:
    assert refused(good, groups={"x": []}) == "the group x has no evaluation: name at least one"


def test_a_name_that_is_taken(good: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", result_of("other"))
    assert refused(good, groups={"good": [other]}).startswith("there are two groups called good")


def test_an_unknown_baseline(good: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", result_of("other"))
    expected = "there is no group worse to be the baseline: the groups are good, other"
    assert refused(good, other, baseline="worse") == expected


def test_one_alone(good: Path) -> None:
    assert refused(good).startswith("there are fewer than two evaluations")


@pytest.mark.parametrize("name", ["metrics.json", "comparison.md", "comparison.csv", "comparison.png"])
def test_nothing_is_replaced(good: Path, tmp_path: Path, name: str) -> None:
    other, out = write(tmp_path / "other", result_of("other")), tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    assert refused(good, other, out=out) == f"{out} already holds a {name}: choose another folder"
    assert (out / name).read_text() == "mine"


def test_no_classes_to_draw(good: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", result_of("other"))
    assert refused(good, other, classes=0) == "classes must be at least 1, not 0"


@pytest.mark.parametrize(("tag", "refusal"), [("knn", None), ("linear", "compare one type"), ("views", "another type")])
def test_the_type_of_a_result_is_its_tag(good: Path, tmp_path: Path, tag: str, refusal: str | None) -> None:
    content = {"evaluation": tag, **result_of("tagged", evaluation="in other words")}
    tagged = write(tmp_path / "tagged", content)
    if refusal is None:
        assert compare([good, tagged])["protocol"]["kind"] == "knn"  # the other has no tag, as earlier versions wrote
    else:
        assert refusal in refused(good, tagged)
