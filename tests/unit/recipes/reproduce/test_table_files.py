"""Tables and scales of the package, and mistakes in one's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyview.errors import UserError
from manyview.images import ImageFiles
from manyview.recipes import RECIPES
from manyview.recipes.reproduce.files import shipped
from manyview.recipes.reproduce.inputs import Inputs, labeled_images
from manyview.recipes.reproduce.plan import TablePlan
from manyview.recipes.reproduce.planned_runs import planned_run, row_settings, steps_of
from manyview.recipes.reproduce.scales import OF_MATCH, matched_amount, read_scale
from manyview.recipes.reproduce.tables import Row, Table, read_table

Make = Callable[..., dict[str, Any]]
TABLES, SCALES = sorted(shipped("tables")), sorted(shipped("scales"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, labels: tuple[Path, Path]) -> Inputs:
    """Names of as many images as queues and batches of some thousand images need; none is opened."""
    names = [f"{index}.jpg" for index in range(200_000)]
    return Inputs(ImageFiles(tmp_path_factory.mktemp("names"), names), True, labels[0], {}, {}, "all of the folder")


def rows(table: str) -> list[Row]:
    return [row for row in read_table(table)[0].rows if row.recipe is not None]


def test_what_is_shipped() -> None:
    assert TABLES == ["figure4", "methods", "table1", "table2", "table3", "table4", "table5"]
    assert SCALES == ["gpu10", "paper", "small"]


def test_the_table_of_methods_has_every_recipe() -> None:
    named = {row.recipe for row in read_table("methods")[0].rows if row.recipe}
    # The first is another at a smaller size, the second starts from weights, the third is a weight of "sup".
    assert RECIPES.keys() - named == {"paper-160", "continue", "sup-matched"}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("table", TABLES)
def test_every_row_has_a_run_at_every_scale(table: str, scale: str, inputs: Inputs, tmp_path: Path) -> None:
    sizes = read_scale(scale)
    for row in rows(table):
        base = row_settings(row, sizes, inputs, {})
        equal, amount = matched_amount(sizes, None, None)
        steps = None if amount is None else steps_of(base, equal, amount, None)
        run = planned_run(base, steps, 0, inputs, tmp_path)
        assert run.config.training.seed == 0
        assert run.config.views.layout[0].size == sizes.view_size
        if scale == "paper" and row.epochs is not None:
            assert run.config.training.epochs == row.epochs


@pytest.mark.parametrize("scale", ["gpu10", "small"])
def test_scales_have_a_budget_for_everything_that_may_be_equal(scale: str) -> None:
    sizes = read_scale(scale)
    assert all(matched_amount(sizes, match, None)[1] for match in OF_MATCH)


def test_the_figures_of_tables_4_and_5_are_the_papers() -> None:
    overlap, zoom = read_table("table4")[0], read_table("table5")[0]
    assert [row.settings["views.overlap"] for row in overlap.rows] == [0, 0.1, 0.2, 0.3, 0.4]
    assert [row.paper["mAP"] for row in overlap.rows] == [45.6, 51.0, 54.3, 55.5, 54.7]
    assert [row.settings["views.scale"][0] for row in zoom.rows] == [0.1, 0.2, 0.4, 0.6]
    assert [row.paper["mAP"] for row in zoom.rows] == [53.3, 54.3, 52.1, 39.6]
    assert all(
        row.epochs == 100 and row.settings["losses.image_aware.weight"] == 0 for row in (*overlap.rows, *zoom.rows)
    )


@pytest.mark.parametrize("table", ["table1", "table2", "table3", "table4", "table5"])
def test_every_row_of_the_paper_has_all_its_figures_and_f1_is_of_the_averages(table: str) -> None:
    read = read_table(table)[0]
    for row in read.rows:
        assert list(row.paper) == [column.title for column in read.columns]
        # Of rounded figures; a copying error in Table 1's "57.2" row repeats figures that still agree.
        if table != "table3":
            for f1, p, r in (("OF1", "OP", "OR"), ("CF1", "CP", "CR")):
                expected = 2 * row.paper[p] * row.paper[r] / (row.paper[p] + row.paper[r])
                assert row.paper[f1] == pytest.approx(expected, abs=0.15), (row.name, f1)


def test_the_whole_method_is_ahead_in_the_papers_tables() -> None:
    for table in ("table1", "table2"):
        rows = read_table(table)[0].rows
        assert max(rows, key=lambda row: row.paper["mAP"]).name == "BAM + IA-CLoss, 200 epochs"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("recipe = ", "recpie = "), r"mine.toml: unknown key rows\[1\].recpie; did you mean recipe"),
        (('"paper"', '"papr"'), "row 'blocks': unknown recipe 'papr'; did you mean paper"),
        (('"mAP", "CF1"', '"mAp", "CF1"'), "evaluations.gamp: linear has no metric 'mAp'; did you mean mAP"),
        (('"mAP", "CF1"', '"mAP", "mAP"'), "two columns are titled 'mAP': leave one out, or rename its evaluation"),
        (("[evaluations.gamp]", "[curves]\nquantities = []\n[evaluations.gamp]"), "curves.quantities: .* at least 1"),
        (("{mAP = 54.3}", "{map = 54.3}"), "row 'blocks' has a figure of the paper for 'map'"),
        (('recipe = "simsiam"', 'weights = "nix.pth"'), r"row 'half as long': there is no file or folder .*nix\.pth"),
        (('recipe = "simsiam"', ""), "row 'half as long' needs one of recipe, weights and given, not none"),
        (("share = 0.5", "share = 2"), r"rows\[2\].share: must be less than or equal to 1"),
        (("weight", "wieght"), "row 'blocks': unknown key losses.image_aware.wieght .*did you mean"),
        (("{", '{"training.epochs" = 3, '), "row 'blocks' sets training.epochs, but what rows have in common"),
        (('name = "half as long"', 'name = "blocks"'), "the row 'blocks' is there twice"),
        (("metrics =", 'verb = "lineer"\nmetrics ='), "evaluations.gamp.verb: must be 'linear', 'knn' or 'detect'"),
        (("metrics =", "options = {pol = 1}\nmetrics ="), "linear takes no option 'pol' here; did you mean pool"),
        (("metrics =", 'options = {out = "x"}\nmetrics ='), "linear takes no option 'out' here"),
        (("metrics =", 'verb = "detect"\nenlarge = 2\nmetrics ='), "detect has no metric 'mAP'"),
        (
            ("[evaluations.gamp]", "picture = ['F1']\n[evaluations.gamp]"),
            "picture names no column 'F1'",
        ),
        (("share", 'evaluate = {pol = "avg"}\nshare'), "row 'half as long': linear takes no option 'pol'"),
        (("title = ", "title "), "is not valid TOML"),
    ],
)
def test_mistakes_in_a_table_are_a_sentence(
    make: Make, files: tuple[Path, Path], change: tuple[str, str], sentence: str, tmp_path: Path
) -> None:
    text = files[0].read_text()
    assert change[0] in text
    files[0].write_text(text.replace(*change, 1) if "metrics" not in change[0] else text.replace(*change))

    with pytest.raises(UserError, match=sentence):
        make()

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("view_size", "view_sise"), r"the scale .*tiny.toml: unknown key view_sise; did you mean view_size"),
        (("steps = 4,", "step = 4,"), r"unknown key budget.step; did you mean steps"),
        (("cost", "csot"), r"linear takes no option 'csot' here; did you mean cost"),
        (("[set]", "[recipes.mocov3]\n[set]"), r"recipes.mocov3: there is no such recipe; did you mean mocov2"),
        (("size = 32", "size = 4"), "size: must be greater than or equal to 8"),
        (('"timm/test_resnet"', '"resnet81"'), "unknown backbone 'resnet81'; did you mean"),
    ],
)
def test_mistakes_in_a_scale_are_a_sentence(
    make: Make, files: tuple[Path, Path], change: tuple[str, str], sentence: str
) -> None:
    text = files[1].read_text()
    assert change[0] in text
    files[1].write_text(text.replace(*change, 1))
    with pytest.raises(UserError, match=sentence):
        make(dry_run=True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"only": ["block"]}, r"the table has no row 'block'; did you mean blocks"),
        ({"scale": "smal"}, r"unknown scale 'smal'; did you mean small.; one of your own ends in .toml"),
        ({"scale": "no.toml"}, "the scale no.toml cannot be read: No such file"),
        ({"match": "own", "budget": 3}, "--budget has no effect with --match own"),
        ({"scale": "paper", "match": "views"}, "does not say how much a row gets with --match views: give it views by"),
        ({"budget": -1}, "--budget must be above 0, not -1"),
        ({"val_labels": None}, "--train-labels and --val-labels go together"),
        ({"train_labels": None, "val_labels": None}, "this table evaluates its rows: give --train-labels and"),
        ({"weights": {"a": "nix.pth"}}, r"--weights a: there is no file or folder nix\.pth"),
        ({"data": {"voc": ("a", "b")}}, "--data voc: give a folder of images, training labels and validation labels"),
        ({"gpus": "0,0"}, "--gpus 0,0: give the GPUs' numbers, each once"),
        ({"set": {"monitor.eval_patience": 3}}, "row 'blocks': .*eval_patience"),
        ({"set": {"training.steps": 3}}, "--set training.steps has no effect, as --match and --budget say"),
    ],
)
def test_mistakes_in_options_are_a_sentence(make: Make, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make(**options)


def test_columns_of_several_evaluations_with_the_same_title() -> None:
    evaluations = {"voc": {"verb": "detect", "metrics": ["box.AP", "voc.AP"]}, "all": {"metrics": ["mAP"]}}
    with pytest.raises(ValueError, match="two columns are titled 'voc AP'"):
        Table.model_validate({"title": "", "evaluations": evaluations, "rows": [{"name": "a", "recipe": "paper"}]})


def test_data_that_the_table_does_not_have(make: Make, photos: Path, labels: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="--data voc: the table measures on no voc"):
        make(data={"voc": (photos, *labels)})


def test_images_with_an_object_are_chosen_from_cocos_annotations(tmp_path: Path) -> None:
    names = ["b.jpg", "a.jpg", "crowd.jpg", "none.jpg"]
    for name in names:
        (tmp_path / name).touch()
    annotations = [
        {"id": 1, "image_id": 10, "category_id": 1, "iscrowd": 0},
        {"id": 2, "image_id": 11, "category_id": 2, "iscrowd": 0},
        {"id": 3, "image_id": 11, "category_id": 1, "iscrowd": 0},
        {"id": 4, "image_id": 12, "category_id": 2, "iscrowd": 1},
    ]
    content = {
        "images": [{"id": 10 + index, "file_name": name} for index, name in enumerate(names)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": annotations,
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))

    assert labeled_images(tmp_path / "instances.json", tmp_path, with_objects=True) == names[:3]
    assert labeled_images(tmp_path / "instances.json", tmp_path, with_objects=False) == names


def test_an_image_of_difficult_objects_alone_has_an_object(tmp_path: Path) -> None:
    for name, difficult in (("a", 1), ("b", 0), ("c", None)):
        (tmp_path / f"{name}.jpg").touch()
        shown = "" if difficult is None else f"<object><name>cat</name><difficult>{difficult}</difficult></object>"
        (tmp_path / f"{name}.xml").write_text(f"<annotation>{shown}</annotation>")

    assert labeled_images(tmp_path, tmp_path, with_objects=True) == ["a.jpg", "b.jpg"]


def test_images_are_in_the_order_of_their_names_however_the_labels_name_them(
    plan: Callable[..., TablePlan], labels: tuple[Path, Path], tmp_path: Path
) -> None:
    """A run draws its views by the images' indices."""
    header, *lines = labels[0].read_text().splitlines()
    (tmp_path / "turned.csv").write_text("\n".join([header, *lines[::-1]]))

    assert [*plan(train_labels=tmp_path / "turned.csv").inputs.files] == [*plan().inputs.files]


def test_the_papers_scale_pretrains_on_those_alone(
    make: Make, usual: dict[str, Any], labels: tuple[Path, Path]
) -> None:
    options = {"scale": "paper", "match": "steps", "budget": 1, "only": ["gamma 20 %"]}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("manyview.recipes.reproduce.pace.measure_step", lambda config, plan, inputs: float(plan.images))
        patched.setattr("manyview.recipes.reproduce.pace.measure_image", lambda *_: 2.0)
        [row] = make("table4", **options, dry_run=True)["plan"]

    # Of twelve labeled images, three show neither: one step of the other nine.
    assert (row["steps"], row["views_per_step"]) == (1, 9 * 8)
    assert row["hours"] == pytest.approx(9 / 3600)
    assert row["evaluation_hours"] == pytest.approx(2 * (100 * 12 + 4) / 3600)
