"""The columns and the separator of CSV files reach every verb that reads labels of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from manyview.errors import UserError
from manyview.evaluation.data import Sources
from manyview.evaluation.quality.instrument import QualityInstrument
from manyview.evaluation.quality.labeled import read_held_out
from manyview.labels import LabelTable
from manyview.options.base import declared, defaults
from manyview.options.labeled import KnnOptions, LinearOptions, ProbeOptions
from manyview.options.pretrain import PretrainOptions
from manyview.options.reproduce import ReproduceOptions
from manyview.options.shared import CsvLayout
from manyview.recipes import resolve_settings
from manyview.recipes.reproduce.inputs import read_inputs
from manyview.training.targets import find_labeled_images
from tests.helpers.tiny import write_images

LAYOUT = {"label_separator": ";", "image_column": "name", "label_column": "tags"}
SETTINGS = [f"data.{name}={value}" for name, value in LAYOUT.items()]
COUNT = 30


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), COUNT)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Training and validation labels, of two thirds and of the rest of the images."""
    parts = range(20), range(20, COUNT)
    written = tmp_path / "train.csv", tmp_path / "val.csv"
    for file, indices in zip(written, parts, strict=True):
        rows = [f"x,{index:02d}.jpg,{'odd' if index % 2 else 'even'};all" for index in indices]
        file.write_text("id,name,tags\n" + "\n".join(rows) + "\n")
    return written


@pytest.mark.parametrize("options", [LinearOptions, KnnOptions, ProbeOptions, PretrainOptions, ReproduceOptions])
def test_every_verb_has_the_options(options: type) -> None:
    assert {*LAYOUT, "class_columns"} == set(CsvLayout.__annotations__) <= declared(options).keys()


def test_evaluations_read_by_them(images: Path, files: tuple[Path, Path]) -> None:
    data = Sources(images, *files, **LAYOUT).read()  # type: ignore[arg-type]
    assert data.classes == ("all", "even", "odd")
    assert data.val.labels.targets.sum(axis=0).tolist() == [10, 5, 5]
    with pytest.raises(UserError, match="has no column 'labels'"):
        Sources(images, *files).read()


def test_pretraining_on_labels_reads_by_them(images: Path, files: tuple[Path, Path]) -> None:
    config = resolve_settings(images, recipe="supervised", set=[*SETTINGS, f"data.labels={files[0]}"])
    _, targets = find_labeled_images(config)
    assert targets is not None
    assert targets.classes == ("all", "even", "odd")


@pytest.mark.parametrize("val", [True, False])
def test_labels_to_measure_by_are_read_by_them(images: Path, files: tuple[Path, Path], val: bool) -> None:
    given = [*SETTINGS, f"monitor.eval_labels={files[0]}", *([f"monitor.eval_val_labels={files[1]}"] if val else [])]
    config = resolve_settings(images, recipe="paper", set=given)
    found = read_held_out(images, config.monitor, LabelTable(*LAYOUT.values()))
    assert found is not None
    assert found.val.targets.shape[1] == 3


def test_a_column_for_each_class_is_read_by_every_reader(images: Path, tmp_path: Path) -> None:
    rows = [f"{index:02d}.jpg,{index},{index % 2},{1 - index % 2}" for index in range(COUNT)]
    file = tmp_path / "one_hot.csv"
    file.write_text("image,id,odd,even\n" + "\n".join(rows) + "\n")
    columns = {"class_columns": "odd:even"}
    assert Sources(images, file, file, **columns).read().classes == ("odd", "even")  # type: ignore[arg-type]
    settings = [f"data.labels={file}", "data.class_columns=odd:even"]
    _, targets = find_labeled_images(resolve_settings(images, recipe="supervised", set=settings))
    assert targets is not None
    assert targets.classes == ("odd", "even")
    inputs = read_inputs(options(images, (file, file), **columns), with_objects=True)
    assert (len(inputs.files), inputs.layout) == (COUNT, {"data.class_columns": "odd:even"})


def test_names_of_yolos_classes_reach_every_reader(images: Path, tmp_path: Path) -> None:
    labels, names = tmp_path / "labels", tmp_path / "birds.txt"
    labels.mkdir()
    names.write_text("owl\nheron\nstork\n")
    for index in range(COUNT):
        (labels / f"{index:02d}.txt").write_text(f"{index % 2} .5 .5 .2 .2\n")
    given = [f"data.class_names={names}", f"data.labels={labels}"]
    config = resolve_settings(images, recipe="supervised", set=[*given, f"monitor.eval_labels={labels}"])

    _, targets = find_labeled_images(config)
    held_out = QualityInstrument.of(config).held_out
    inputs = read_inputs(options(images, (labels, labels), class_names=names), with_objects=True)

    assert targets is not None
    assert held_out is not None
    assert targets.classes == ("owl", "heron", "stork")
    assert held_out.train.targets.shape[1] == 3
    assert inputs.layout == {"data.class_names": str(names)}
    assert inputs.labeled[""].options()["class_names"] == str(names)
    assert len(inputs.files) == COUNT


def test_tables_go_by_what_the_file_of_names_holds_and_refuse_it_in_vain(images: Path, tmp_path: Path) -> None:
    labels, names, moved = tmp_path / "labels", tmp_path / "birds.txt", tmp_path / "moved.txt"
    labels.mkdir()
    (labels / "00.txt").write_text("0 .5 .5 .2 .2\n")

    def fingerprint(file: Path, text: str) -> str:
        file.write_text(text)
        return (
            read_inputs(options(images, (labels, labels), class_names=file), with_objects=True).labeled[""].fingerprint
        )

    assert fingerprint(names, "owl\n") == fingerprint(moved, "owl\n") != fingerprint(names, "heron\n")
    table = tmp_path / "plain.csv"
    table.write_text("image,labels\n00.jpg,a\n")
    with pytest.raises(UserError, match="--names has no effect, as no labels in YOLO's format are given"):
        read_inputs(options(images, (table, table), class_names=names), with_objects=True)
    with pytest.raises(UserError, match="--label-column has no effect, as no labels in CSV format are given"):
        read_inputs(options(images, (labels, labels), label_column="tags"), with_objects=True)


@pytest.mark.parametrize("name", [*LAYOUT, "class_columns", "class_names"])
def test_settings_without_labels_are_refused(images: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"data.{name} .* has no effect because neither data.labels nor monitor.eval_l"):
        resolve_settings(images, recipe="paper", set=[f"data.{name}=x"])


def options(images: Path, files: tuple[Path, Path], **given: Any) -> Any:
    return {**defaults(ReproduceOptions), "images": images, "train_labels": files[0], "val_labels": files[1], **given}


def test_tables_pass_them_on(images: Path, files: tuple[Path, Path]) -> None:
    inputs = read_inputs(options(images, files, **LAYOUT), with_objects=True)
    assert len(inputs.files) == 20
    assert inputs.layout == {f"data.{name}": value for name, value in LAYOUT.items()}
    sources = inputs.labeled[""]
    given: Mapping[str, str] = sources.options()
    assert {name: given[name] for name in LAYOUT} == LAYOUT
    plain = files[0].parent / "plain.csv"
    plain.write_text("image,labels\n00.jpg,a\n")
    usual = read_inputs(options(images, (plain, plain)), with_objects=True)
    assert usual.layout == {}
    assert set(usual.labeled[""].options()) == {"images", "train_labels", "val_labels"}
