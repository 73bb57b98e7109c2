"""CSV files with a column of 0 and 1 for each class: recognized, given by an option, or refused with that option."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from manyview.errors import UserError
from manyview.labels import LabelTable, read_labels

Write = Callable[[str, str], Path]
ONE_HOT = "filename,owl,traffic light,cat\na.jpg,1,0,1\nb.jpg,0,0,0\nc/d.png,0,0,1\n"
CLASSES = ("owl", "traffic light", "cat")
TARGETS = [[1, 0, 1], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("filename", "image"),
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",1", ", 1.0").replace(",0", ", 0.0"),
        lambda text: text.replace(",1", ",True").replace(",0", ",FALSE"),
        lambda text: text.replace(",1", ",Yes").replace(",0", ",no"),
    ],
)
def test_tables_by_class_are_recognized(write: Write, images: Path, change: Callable[[str], str]) -> None:
    labels = read_labels(write("l.csv", change(ONE_HOT)), images)
    assert (labels.names, labels.classes) == (("a.jpg", "b.jpg", "c/d.png"), CLASSES)
    assert labels.targets.tolist() == TARGETS  # classes that no image shows stay


def test_an_index_without_a_name_is_no_class(write: Write, images: Path) -> None:
    rows = ONE_HOT.splitlines()
    text = "\n".join([f",{rows[0]}", *(f"{number},{row}" for number, row in enumerate(rows[1:]))])
    for table in (LabelTable(), LabelTable(class_columns="all")):
        assert read_labels(write("l.csv", text), images, table=table).classes == CLASSES


@pytest.mark.parametrize(
    ("columns", "classes"),
    [
        ("owl:cat", CLASSES),
        ("owl\ncat", ("owl", "cat")),
        ("cat,owl", ("cat", "owl")),
        ("traffic light:cat,owl", ("traffic light", "cat", "owl")),
        ("Owl", ("owl",)),
    ],
)
def test_columns_are_given_beside_others(write: Write, images: Path, columns: str, classes: tuple[str, ...]) -> None:
    rows = ONE_HOT.splitlines()
    file = write("l.csv", "\n".join([f"{rows[0]},width", *(f"{row},640" for row in rows[1:])]))
    with pytest.raises(UserError, match=r"owl, traffic light, cat have .* while 'width' has .*columns 'owl:cat' reads"):
        read_labels(file, images)
    labels = read_labels(file, images, table=LabelTable(class_columns=columns))
    assert labels.classes == classes
    assert labels.targets.tolist() == [[row[CLASSES.index(name)] for name in classes] for row in TARGETS]


@pytest.mark.parametrize(
    ("text", "table", "complaint"),
    [
        ("image,cat\na.jpg,1\n", {}, "the column cat has nothing but 0 and 1.*columns 'cat' reads .*--label-column"),
        (ONE_HOT, {"label_column": "owl", "class_columns": "cat"}, "--class-columns and --label-column exclude each"),
        (ONE_HOT, {"class_columns": "owl:car"}, "no column 'owl:car'.*FIRST:LAST, or all"),
        (ONE_HOT, {"class_columns": "caat"}, r"no column 'caat'; did you mean cat\?"),
        (ONE_HOT, {"class_columns": "owl,owl:cat"}, "several columns 'owl'"),
        (ONE_HOT, {"class_columns": "filename:cat"}, "--class-columns names filename, which is the column of images"),
        ("image,cat,cat\na.jpg,1,0\n", {}, "several columns 'cat'"),
        (ONE_HOT, {"class_columns": ","}, "--class-columns names no column: give names"),
        ("n,cat,owl\n7,1,0\n", {}, "it has no column 'image'"),
        ("a.jpg,1,0\nb.jpg,0,1\n", {}, "must begin with the header image,labels, not with 'a.jpg,1,0'"),
        ('image,n,"a,b",c,d:e\na.jpg,7,1,0,1\n', {}, "--class-columns '\"a,b\",c,d:e' reads a class from each"),
        ("image,a,b\na.jpg,x,y\n", {}, "it has no column 'labels'.* or by --class-columns where each class has"),
    ],
)
def test_what_is_not_clear_is_refused(
    write: Write, images: Path, text: str, table: dict[str, str], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        read_labels(write("l.csv", text), images, table=LabelTable(**table))


def test_lines_and_cells_are_named_as_they_are_written(write: Write, images: Path) -> None:
    every = LabelTable(class_columns="all")
    file = write("l.csv", ONE_HOT.replace("b.jpg,0,0,0", "b.jpg,0,C:\\x,0").replace("d.png,0", "d.png,"))
    with pytest.raises(UserError) as refused:
        read_labels(file, images, table=every)
    assert r"line 3 has 'C:\x' in the column traffic light, where 0 or 1 is expected" in str(refused.value)
    assert "line 4 has '' in the column owl" in str(refused.value)
    assert read_labels(file, images, table=every, problems="skip").names == ("a.jpg",)
    many = write("m.csv", 'image,labels\nb.jpg,"red\ndog"\na.jpg,"x\n\\y|"\n')
    with pytest.raises(UserError) as refused:  # the number of the row's first line
        read_labels(many, images)
    assert r"(line 4 has an empty label in 'x\n\y|')" in str(refused.value)
