"""Evaluations side by side: which are joined, what their figures become, what is warned of and what refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyview.errors import UserError
from manyview.evaluation.compare import compare
from manyview.evaluation.compare.tables import label
from manyview.evaluation.knn import knn_evaluation
from manyview.evaluation.linear.evaluate import linear_evaluation
from manyview.evaluation.probe.evaluate import low_label_evaluation
from tests.helpers.random_weights import save_random

OVERALL = ("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1")
BY_CLASS = ("AP", "precision", "recall", "f1")
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def given(scenes: Any) -> dict[str, Any]:
    labels = {"train_labels": scenes.train, "val_labels": scenes.val}
    return {"images": scenes.images, **labels, "size": 16, "workers": 0, "device": "cpu"}


def write_run(folder: Path, seed: int, **settings: int) -> Path:
    """The weights of a run: all that is read of it are these and its configuration."""
    folder.mkdir(parents=True)
    weights = save_random(folder / "backbone.safetensors", seed=10 * seed + settings.get("epochs", 0))
    config = {"recipe": "paper", "training": {"seed": seed, "epochs": 1, **settings}}
    (folder / "config.json").write_text(json.dumps(config))
    return weights


@pytest.fixture(scope="module")
def root(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs a of seeds 0 to 2 and b of seeds 0 and 1, their kNN evaluations, and one low-label curve of each."""
    root = tmp_path_factory.mktemp("compared")
    for name, seeds, settings in (("a", (0, 1, 2), {}), ("b", (0, 1), {"epochs": 2})):
        for seed in seeds:
            weights = write_run(root / "runs" / f"{name}-seed{seed}", seed, **settings)
            out = root / "knn" / name / f"seed{seed}"
            knn_evaluation(weights, out=out, neighbours=4, resamples=20, beside="random", **given)
        out = root / "probe" / name
        low_label_evaluation(weights, out=out, fractions=(0.5, 1.0), seeds=(0, 1), costs=(0.01,), **given)
    return root


def copy(source: Path, target: Path, change: Change | None = None) -> Path:
    """An evaluation's file elsewhere, with a change."""
    result = json.loads((source / "metrics.json").read_text())
    if change is not None:
        change(result)
    target.mkdir(parents=True, exist_ok=True)
    (target / "metrics.json").write_text(json.dumps(result))
    return target


def other_weights(result: dict[str, Any]) -> None:
    result["protocol"].update(weights="elsewhere.pth", weights_sha256="0123456789abcdef")


def rows_by_name(result: dict[str, Any]) -> dict[tuple[str | None, str], dict[str, Any]]:
    return {(row["group"], row["network"]): row for row in result["results"]}


def numbers(value: Any) -> np.ndarray:
    return np.array(value, dtype=np.float64)  # None becomes nan


def read_results(folders: list[Path], network: str = "pretrained") -> list[Any]:
    return [json.loads((folder / "metrics.json").read_text())["results"][network] for folder in folders]


def test_mean_and_deviation_are_those_of_numpy(root: Path) -> None:
    result = compare([root / "knn" / "a", root / "knn" / "b"])
    means = {}
    for name in "ab":
        reports = read_results(sorted((root / "knn" / name).iterdir()))
        row = rows_by_name(result)[name, "pretrained"]
        for metric in (*OVERALL, *BY_CLASS):
            values = numbers([report[metric] for report in reports])
            means[name, metric] = values.mean(axis=0)
            np.testing.assert_allclose(numbers(row["summary"][metric]["mean"]), values.mean(axis=0), rtol=0, atol=1e-12)
            expected = np.sqrt(((values - values.mean(axis=0)) ** 2).sum(axis=0) / (len(values) - 1))
            np.testing.assert_allclose(numbers(row["summary"][metric]["std"]), expected, rtol=0, atol=1e-12)
            assert row["summary"][metric]["n"] == len(reports)
    difference = rows_by_name(result)["b", "pretrained"]["difference"]
    for metric in (*OVERALL, *BY_CLASS):
        expected = means["b", metric] - means["a", metric]
        np.testing.assert_allclose(numbers(difference[metric]), expected, rtol=0, atol=1e-12)
    assert rows_by_name(result)["a", "pretrained"]["difference"] is None
    assert result["warnings"] == []


def test_the_baseline_may_be_another(root: Path) -> None:
    places = [root / "knn" / "a", root / "knn" / "b"]
    first, second = compare(places), compare(places, baseline="b")
    of_b = rows_by_name(first)["b", "pretrained"]["difference"]["mAP"]
    assert rows_by_name(second)["a", "pretrained"]["difference"]["mAP"] == pytest.approx(-of_b, abs=1e-15)
    assert rows_by_name(second)["b", "pretrained"]["difference"] is None


def test_the_same_untrained_backbone_stands_in_one_row_and_counts_once(root: Path) -> None:
    result = compare([root / "knn" / "a", root / "knn" / "b"])
    (report, *others) = read_results(sorted((root / "knn").glob("*/*")), "random_init")
    assert all(other["mAP"] == report["mAP"] for other in others)
    row = rows_by_name(result)[None, "random_init"]
    assert len(result["results"]) == 3
    assert (row["summary"]["mAP"]["mean"], row["summary"]["mAP"]["n"]) == (report["mAP"], 1)
    assert row["summary"]["mAP"]["std"] is None
    assert row["intervals"]["mAP"] == report["intervals"]["mAP"]


def test_untrained_backbones_that_differ_stand_beside_their_groups(root: Path, tmp_path: Path) -> None:
    def change(result: dict[str, Any]) -> None:
        other_weights(result)
        result["results"]["random_init"]["mAP"] += 0.01

    result = compare([root / "knn/a/seed0", copy(root / "knn/b/seed0", tmp_path / "changed", change)])
    untrained = [row["group"] for row in result["results"] if row["network"] == "random_init"]
    assert untrained == ["seed0", "changed"]


def test_evaluations_of_runs_that_differ_in_the_seed_alone_are_joined(root: Path) -> None:
    places = [root / "knn/a/seed0", root / "knn/b/seed0", root / "knn/a/seed2", root / "knn/b/seed1"]
    result = compare(places)
    members = {name: [member["file"] for member in group] for name, group in result["groups"].items()}
    assert members == {
        "a": [str(places[0] / "metrics.json"), str(places[2] / "metrics.json")],
        "b": [str(places[1] / "metrics.json"), str(places[3] / "metrics.json")],
    }


def test_without_the_runs_only_a_folder_joins(root: Path, tmp_path: Path) -> None:
    def gone(name: str) -> Change:
        def change(result: dict[str, Any]) -> None:
            result["protocol"]["weights"] = f"/gone/{name}/backbone.safetensors"

        return change

    places = [copy(root / "knn/a" / name, tmp_path / "c" / name, gone(name)) for name in ("seed0", "seed1")]
    assert list(compare(places)["groups"]) == ["seed0", "seed1"]
    joined = compare([tmp_path / "c", root / "knn" / "b"])
    assert {name: len(group) for name, group in joined["groups"].items()} == {"c": 2, "b": 2}


def test_a_folder_of_evaluations_that_do_not_repeat_each_other_is_several_groups(root: Path, tmp_path: Path) -> None:
    for name in "ab":
        copy(root / "knn" / name / "seed0", tmp_path / f"{name}-knn")
    assert list(compare([tmp_path])["groups"]) == ["a-knn", "b-knn"]


def elsewhere(result: dict[str, Any]) -> None:
    result["protocol"]["device"] = "cuda"


def test_the_same_weights_with_the_same_seed_are_no_repetition(root: Path, tmp_path: Path) -> None:
    places = [copy(root / "knn/a/seed0", tmp_path / "cpu"), copy(root / "knn/a/seed0", tmp_path / "cuda", elsewhere)]
    for given in (places, [tmp_path]):
        result = compare(given)
        assert list(result["groups"]) == ["cpu", "cuda"]
        assert result["warnings"] == ["device is cpu (cpu), cuda (cuda)"]
    with pytest.raises(UserError, match="of the group both, have the same weights and the same seed"):
        compare(groups={"both": places})


def test_only_in_one_folder_may_repetitions_run_on_other_devices(root: Path, tmp_path: Path) -> None:
    places = [copy(root / "knn/a/seed0", tmp_path / "0"), copy(root / "knn/a/seed1", tmp_path / "1", elsewhere)]
    assert len(compare(places)["groups"]) == 2
    joined = compare([tmp_path])
    assert len(joined["groups"]) == 1
    assert joined["warnings"] == [f"device is cpu or cuda ({tmp_path.name})"]


def test_groups_by_name_join_and_part(root: Path) -> None:
    a = root / "knn" / "a"
    result = compare(groups={"first": [a / "seed0"], "rest": [a / "seed1", a / "seed2"]})
    assert {name: len(group) for name, group in result["groups"].items()} == {"first": 1, "rest": 2}
    assert rows_by_name(result)["first", "pretrained"]["summary"]["mAP"]["std"] is None


def test_a_group_that_joins_other_settings_is_reported(root: Path) -> None:
    result = compare(groups={"mixed": [root / "knn/a/seed0", root / "knn/b/seed0"], "a": [root / "knn/a/seed1"]})
    (warning,) = result["warnings"]
    assert warning.startswith("mixed joins runs of different settings: training.epochs is 1 (")
    assert ", 2 (" in warning


def test_equal_figures_of_the_same_weights_count_once(root: Path, given: dict[str, Any], tmp_path: Path) -> None:
    weights = root / "runs/a-seed0/backbone.safetensors"
    for seed in (1, 2):  # which change the bootstrap alone
        knn_evaluation(weights, out=tmp_path / f"a-s{seed}", neighbours=4, resamples=20, seed=seed, **given)
    result = compare([tmp_path / "a-s1", tmp_path / "a-s2", root / "knn/b/seed0"], baseline="a")
    assert rows_by_name(result)["a", "pretrained"]["summary"]["mAP"]["n"] == 1
    assert len(result["groups"]["a"]) == 2
    (warning,) = result["warnings"]
    assert warning.startswith("a has 2 evaluations, but only 1 different")


def test_each_difference_between_protocols_is_reported(root: Path, given: dict[str, Any], tmp_path: Path) -> None:
    weights = root / "runs/b-seed0/backbone.safetensors"
    settings = {**given, "size": 24, "pool": "avg", "neighbours": 5}
    knn_evaluation(weights, out=tmp_path / "b", resamples=20, **settings)
    result = compare([root / "knn/a/seed0", tmp_path / "b"])
    assert sorted(result["warnings"]) == [
        "neighbours is 4 (seed0), 5 (b)",
        "pool is gamp (seed0), avg (b)",
        "size is 16 (seed0), 24 (b)",
    ]
    assert result["protocol"]["differing"]["size"] == {"seed0": [16], "b": [24]}
    assert "size" not in result["protocol"]["shared"]
    assert result["protocol"]["shared"]["temperature"] == 0.07


def test_other_labels_are_reported_by_their_checksum(root: Path, tmp_path: Path) -> None:
    def change(result: dict[str, Any]) -> None:
        other_weights(result)
        result["protocol"]["train"].update(labels_sha256="f" * 64, labels="elsewhere.csv")

    result = compare([root / "knn/a/seed0", copy(root / "knn/b/seed0", tmp_path / "b", change)])
    (warning,) = result["warnings"]
    assert warning.startswith("train.labels_sha256 is ")
    assert warning.endswith(", ffffffff (b)")


def test_low_label_curves_point_by_point(root: Path) -> None:
    result = compare([root / "probe" / "a", root / "probe" / "b"])
    for name in "ab":
        (entries,) = read_results([root / "probe" / name])
        rows = [row for row in result["results"] if row["group"] == name]
        assert [row["fraction"] for row in rows] == [0.5, 1.0]
        for row, entry in zip(rows, entries, strict=True):
            values = numbers([run["mAP"] for run in entry["runs"]])
            assert row["images"] == entry["images"]
            assert row["summary"]["mAP"]["mean"] == pytest.approx(values.mean(), abs=1e-12)
        assert rows[0]["over"] == "draws"
        assert rows[0]["summary"]["mAP"]["std"] == pytest.approx(
            numbers([run["mAP"] for run in entries[0]["runs"]]).std(ddof=1)
        )
        assert rows[1]["over"] is None  # of all images there is but one draw
    assert result["protocol"]["per_class_fraction"] == 1.0


def test_several_curves_are_compared_by_their_means(root: Path, tmp_path: Path) -> None:
    def change(result: dict[str, Any]) -> None:
        other_weights(result)
        for run in result["results"]["pretrained"][0]["runs"]:
            run["mAP"] -= 0.1

    again = copy(root / "probe/a", tmp_path / "again", change)
    result = compare([root / "probe/b"], groups={"both": [root / "probe/a", again]})
    row = next(row for row in result["results"] if row["group"] == "both" and row["fraction"] == 0.5)
    mean = numbers([run["mAP"] for run in read_results([root / "probe/a"])[0][0]["runs"]]).mean()
    assert row["over"] == "evaluations"
    assert row["summary"]["mAP"]["n"] == 2
    assert row["summary"]["mAP"]["mean"] == pytest.approx(mean - 0.05, abs=1e-12)
    assert row["summary"]["mAP"]["std"] == pytest.approx(0.1 / np.sqrt(2), abs=1e-12)


def test_classes_are_compared_at_the_largest_fraction_of_all(root: Path, tmp_path: Path) -> None:
    def change(result: dict[str, Any]) -> None:
        other_weights(result)
        result["protocol"]["fractions"] = [0.5]
        del result["results"]["pretrained"][1]

    half = copy(root / "probe/b", tmp_path / "half", change)
    result = compare([root / "probe/a", half])
    assert result["protocol"]["per_class_fraction"] == 0.5
    assert result["warnings"] == ["fractions is 0.5, 1 (a), 0.5 (half)"]


def test_curves_without_a_common_fraction_are_refused(root: Path, tmp_path: Path) -> None:
    def change(kept: int) -> Change:
        return lambda result: result["results"]["pretrained"].pop(1 - kept)

    places = [copy(root / "probe" / name, tmp_path / name, change(kept)) for kept, name in enumerate("ab")]
    with pytest.raises(UserError, match="no fraction of the labels in common"):
        compare(places)


def test_linear_evaluations(root: Path, given: dict[str, Any], tmp_path: Path) -> None:
    for name in "ab":
        weights = root / "runs" / f"{name}-seed0" / "backbone.safetensors"
        linear_evaluation(weights, out=tmp_path / name, recipe="sgd", cached=True, epochs=2, batch_size=8, **given)
    result = compare([tmp_path / "a", tmp_path / "b"])
    assert result["protocol"]["kind"] == "linear"
    a, b = (report["mAP"] for report in read_results([tmp_path / "a", tmp_path / "b"]))
    assert rows_by_name(result)["b", "pretrained"]["difference"]["mAP"] == pytest.approx(b - a, abs=1e-15)


def long_cells(metric: str, entry: dict[str, Any], difference: dict[str, Any], classes: list[str]) -> list[list[Any]]:
    """Class, mean, standard deviation, number and difference of each line that a metric takes."""
    if metric in OVERALL:
        return [["", entry["mean"], entry["std"], entry["n"], difference.get(metric)]]
    return [
        [name, entry["mean"][place], entry["std"][place], entry["n"], difference[metric][place] if difference else None]
        for place, name in enumerate(classes)
    ]


def test_files_say_the_same(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = compare([root / "knn" / "a", root / "knn" / "b"], out=out)
    assert json.loads((out / "metrics.json").read_text()) == result
    with (out / "comparison.csv").open(newline="") as lines:
        table = list(csv.DictReader(lines))
    assert {tuple(line[key] for key in ("group", "network")) for line in table} == {
        ("a", "pretrained"),
        ("b", "pretrained"),
        ("", "random_init"),
    }
    expected = [
        [row["group"] or "", metric, name, *("" if cell is None else float(cell) for cell in cells)]
        for row in result["results"]
        for metric, entry in row["summary"].items()
        for name, *cells in long_cells(metric, entry, row["difference"] or {}, result["protocol"]["classes"])
    ]
    numbers_of = ("mean", "std", "n", "difference")
    read = [
        [line["group"], line["metric"], line["class"], *(float(line[key]) if line[key] else "" for key in numbers_of)]
        for line in table
    ]
    assert read == expected
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert f"{100 * result['results'][0]['summary']['mAP']['mean']:.1f}" in (out / "comparison.md").read_text()


def test_a_file_may_stand_for_its_evaluation(root: Path, tmp_path: Path) -> None:
    named = tmp_path / "mine.json"
    named.write_bytes((root / "knn/a/seed0/metrics.json").read_bytes())
    assert list(compare([named, root / "knn/b/seed0/metrics.json"])["groups"]) == ["mine", "seed0"]


def before_baselines(result: dict[str, Any]) -> None:
    """As an earlier version wrote it: norm statistics of 0 and 1, without a record."""
    del result["protocol"]["beside"], result["differences"]
    result["results"]["random_init"]["mAP"] -= 0.01


def test_random_initialization_with_other_norm_statistics_is_told_apart(root: Path, tmp_path: Path) -> None:
    earlier = copy(root / "knn/a/seed0", tmp_path / "earlier", before_baselines)
    result = compare([root / "knn/a/seed1", earlier])
    rows = [row for row in result["results"] if row["network"] == "random_init"]
    assert [(row["group"], row["norm_statistics"]) for row in rows] == [("seed1", "measured"), ("earlier", "zero-one")]
    assert [label(row) for row in rows] == ["random init (seed1)", "random init, norms 0 and 1 (earlier)"]
    warning = "random init has norm statistics measured (seed1), zero-one (earlier): its figures do not compare"
    assert warning in result["warnings"]
    assert not any("beside" in key for key in result["protocol"]["differing"])
    with pytest.raises(UserError, match=r"norm statistics measured, .* with zero-one; compare them as groups"):
        compare(groups={"a": [root / "knn/a/seed1", earlier], "b": [root / "knn/b/seed0"]})


def test_the_same_weights_are_compared_with_both_norm_statistics(root: Path, tmp_path: Path) -> None:
    earlier = copy(root / "knn/a/seed0", tmp_path / "earlier", before_baselines)
    result = compare([root / "knn/a/seed0", earlier])
    assert list(result["groups"]) == ["seed0", "earlier"]


def test_any_number_of_baselines_stand_below_the_groups(root: Path, given: dict[str, Any], tmp_path: Path) -> None:
    others = [root / "runs" / "b-seed0", root / "runs" / "b-seed1"]
    weights = root / "runs" / "a-seed0"
    out = tmp_path / "many"
    knn_evaluation(weights, out=out, neighbours=4, resamples=20, beside=["random", *others], **given)
    result = compare([out, root / "knn/b/seed0"], out=tmp_path / "compared")
    assert [(row["group"], row["network"]) for row in result["results"]] == [
        ("many", "pretrained"),
        ("seed0", "pretrained"),
        (None, "random_init"),
        ("many", "b-seed0"),
        ("many", "b-seed1"),
    ]
    # What stands beside one evaluation is what the other evaluated.
    assert rows_by_name(result)["many", "b-seed0"]["summary"] == rows_by_name(result)["seed0", "pretrained"]["summary"]
    text = (tmp_path / "compared" / "comparison.md").read_text()
    assert "mAP against b-seed1 (95 % interval" in text.replace("over", "against")
    assert (tmp_path / "compared" / "comparison.png").is_file()
