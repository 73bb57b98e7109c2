"""Evaluations of a plan: whose options count, what tells them apart, and what is read from their results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyview.errors import UserError
from manyview.recipes.reproduce.jobs import Job
from manyview.recipes.reproduce.plan import TablePlan
from manyview.recipes.reproduce.results import read_metric

Plan = Callable[..., TablePlan]
DETECT = """
[detect]
iterations = 2
masks = false
"""


def jobs(plan: TablePlan, row: int = 0) -> list[Job]:
    return [each.job for each in plan.rows[row].seeds[0].measurements]


def test_a_table_says_how_features_are_read_and_a_scale_how_large_detectors_are(
    plan: Plan, files: tuple[Path, Path], photos: Path, labels: tuple[Path, Path]
) -> None:
    files[1].write_text(
        files[1].read_text().replace("cost = 0.01", 'cost = 0.01\npool = "max"\ncrop = "center"') + DETECT
    )
    only = {"only": ["BAM, 200 epochs"], "data": {"voc": (photos, *labels)}}

    [linear] = jobs(plan("table2", only=["BAM, 200 epochs"]))
    voc, coco = jobs(plan("table3", **only))

    assert (linear.options["pool"], linear.options["crop"], linear.options["size"]) == ("gamp", "center", 64)
    assert (voc.options["recipe"], voc.options["iterations"]) == ("voc-24k", 2)
    assert (coco.options["recipe"], coco.options["masks"]) == ("coco-1x", False)
    assert "size" not in coco.options


def test_only_evaluations_that_read_csv_files_are_told_their_layout(
    plan: Plan, photos: Path, labels: tuple[Path, Path]
) -> None:
    given = {"only": ["BAM, 200 epochs"], "label_separator": "|"}

    [linear] = jobs(plan("table2", **given))
    voc, _ = jobs(plan("table3", **given, data={"voc": (photos, *labels)}))

    assert linear.options["label_separator"] == "|"
    assert "label_separator" not in voc.options
    assert {name: voc.options[name] for name in ("images", "train_labels", "val_labels")} == {
        "images": str(photos),
        "train_labels": str(labels[0]),
        "val_labels": str(labels[1]),
    }


def test_a_row_reads_features_its_own_way_and_each_evaluation_has_its_folder(plan: Plan) -> None:
    by_name = {row.row.name: row for row in plan("table1").rows}
    pooled = {name: by_name[name].seeds[0].measurements[0].job for name in ("SimSiam", "SimSiam, GAP")}
    first, second = pooled.values()

    assert [job.options["pool"] for job in (first, second)] == ["gamp", "avg"]
    assert first.weights == second.weights
    assert first.folder != second.folder


def test_evaluations_are_told_apart_by_what_their_figures_depend_on(
    plan: Plan, files: tuple[Path, Path], labels: tuple[Path, Path], tmp_path: Path
) -> None:
    def folder(**options: Any) -> str:
        return Path(jobs(plan(only=["blocks"], **options))[0].folder).name

    moved, changed = tmp_path / "moved.csv", tmp_path / "changed.csv"
    moved.write_bytes(labels[1].read_bytes())
    changed.write_text(labels[1].read_text().replace("dog", "cat"))
    usual = folder()

    assert {folder(val_labels=moved), folder(workers=3), folder(first_seed=1)} == {usual}
    others = [folder(val_labels=changed), folder(precision="bf16")]
    files[1].write_text(files[1].read_text().replace("size = 32\n", "size = 40\n"))
    assert len({usual, *others, folder()}) == 4


def test_random_weights_are_told_apart_by_network_images_and_their_size(
    plan: Plan, files: tuple[Path, Path], photos: Path, tmp_path: Path
) -> None:
    """Statistics of their norms are measured on the images at that size."""
    files[0].write_text(files[0].read_text().partition("[[rows]]")[0] + '[[rows]]\nname = "r"\nweights = "random"\n')
    (tmp_path / "some.txt").write_text("00.jpg\n01.jpg\n")

    def folder(**options: Any) -> str:
        making = plan(**options).rows[0].seeds[0].making
        assert making is not None
        return Path(making.folder).name

    found = [
        folder(),
        folder(set={"backbone.name": "resnet18"}),
        folder(list=tmp_path / "some.txt"),
        folder(first_seed=1),
    ]
    files[1].write_text(files[1].read_text().replace("size = 32\n", "size = 40\n"))
    assert len({*found, folder()}) == 5


def test_weights_of_others_are_told_apart_by_their_content(
    plan: Plan, files: tuple[Path, Path], tmp_path: Path
) -> None:
    """Of a file that others took the place of, what was measured before is not shown."""
    files[0].write_text(files[0].read_text().partition("[[rows]]")[0] + '[[rows]]\nname = "r"\ngiven = "theirs"\n')
    found = []
    for name, content in (("a.pth", b"first"), ("moved.pth", b"first"), ("a.pth", b"others")):
        (tmp_path / name).write_bytes(content)
        [job] = jobs(plan(weights={"theirs": tmp_path / name}))
        assert job.weights == str(tmp_path / name)
        found.append(job.folder)
    assert found[0] == found[1] != found[2]

    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match=r"row 'r': .*run is not a run folder"):
        plan(weights={"theirs": tmp_path / "run"})


def test_instruments_measure_each_row_once(plan: Plan, files: tuple[Path, Path]) -> None:
    files[1].write_text(files[1].read_text() + '[instruments.paper]\nrecipe = "paper"\ncached = true\n')
    made = plan(seeds=2)

    for row in made.rows:
        for seed in row.seeds:
            assert [each.instrument for each in seed.measurements] == ["logistic", "paper"]
            assert {each.job.options["seed"] for each in seed.measurements} == {seed.seed}
    assert [len(group) for group in made.groups().values()] == [3] * 4


@pytest.mark.parametrize(
    ("verb", "metric", "figure"),
    [
        ("linear", "mAP", 0.5),
        ("linear", "CF1", None),
        ("detect", "box.AP50", 0.25),
        ("detect", "mask.AP", None),
        ("detect", "voc.AP", None),
    ],
)
def test_metrics_by_verb(verb: str, metric: str, figure: float | None) -> None:
    results: dict[str, Any] = {
        "linear": {"pretrained": {"mAP": 0.5, "CF1": None}, "random_init": {"mAP": 0.1}},
        "detect": {"box": {"AP": 0.1, "AP50": 0.25}, "voc": {"AP": None}},
    }
    assert read_metric({"results": results[verb]}, verb, metric) == figure
    assert read_metric(None, verb, metric) is None
