"""CSV files of other layouts: separators that are refused or given, columns by name, lists, faulty quotes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from manyview.errors import UserError
from manyview.labels import LabelTable, read_labels
from manyview.labels.table import list_items

Write = Callable[[str, str], Path]

SHOWN = [["cat", "dog"], ["dog"], ["dog", "cow", "cat"], ["cow"], [], ["cow", "cat"]]
NAMES = [f"{index}.jpg" for index in range(len(SHOWN))]
SEPARATORS = [",", ";", " ", "\t", "\n", "/", "+", "&", "#", ":"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in NAMES:
        (folder / name).touch()
    return folder


def in_csv(cells: Sequence[str], header: str = "image,labels") -> str:
    quoted = ('"' + cell.replace('"', '""') + '"' for cell in cells)
    return header + "\n" + "".join(f"{name},{cell}\n" for name, cell in zip(NAMES, quoted, strict=True))


@pytest.mark.parametrize("separator", SEPARATORS)
def test_another_separator_is_refused_by_name_and_taken_by_the_option(
    write: Write, photos: Path, separator: str
) -> None:
    usual = read_labels(write("usual.csv", in_csv(["|".join(shown) for shown in SHOWN])), photos)
    file = write("l.csv", in_csv([separator.join(shown) for shown in SHOWN]))
    shown = {"\t": r"\t", "\n": r"\n"}.get(separator, separator)
    with pytest.raises(UserError) as refused:
        read_labels(file, photos)
    assert f"--label-separator '{shown}' takes them apart" in str(refused.value)
    labels = read_labels(file, photos, table=LabelTable(shown))
    assert labels.fingerprint() == usual.fingerprint()
    assert read_labels(file, photos, table=LabelTable("|")).targets.shape == (6, 5)


@pytest.mark.parametrize(
    "write_list",
    [
        repr,
        lambda shown: "[" + " ".join(map(repr, shown)) + "]",  # NumPy's
        lambda shown: "[" + ", ".join(f'"{name}"' for name in shown) + "]",  # JSON's
        lambda shown: repr(tuple(shown)),
        lambda shown: "{" + ", ".join(map(repr, shown)) + "}",
        lambda shown: "[" + ", ".join(shown) + "]",
        lambda shown: "[" + " ".join(shown) + "]",
    ],
)
def test_the_text_of_a_list(write: Write, photos: Path, write_list: Callable[[list[str]], str]) -> None:
    usual = read_labels(write("usual.csv", in_csv(["|".join(shown) for shown in SHOWN])), photos)
    file = write("l.csv", in_csv([write_list(shown) for shown in SHOWN]))
    with pytest.raises(UserError, match=r"gives labels as the text of a list, as in .*--label-separator 'list' takes"):
        read_labels(file, photos)
    assert read_labels(file, photos, table=LabelTable("list")).fingerprint() == usual.fingerprint()


def test_items_of_lists() -> None:
    assert list_items("['traffic light', \"dog's\", 'a, b', 'it\\'s']") == ["traffic light", "dog's", "a, b", "it's"]
    assert list_items("[1 19]") == list_items("[1, 19]") == list_items("(1, 19,)") == ["1", "19"]
    assert list_items("[]") == []
    for text in ("cat", "[cat", "['cat'", "['a' 'b]", "[[1], [2]]"):
        with pytest.raises(ValueError, match="is no list"):
            list_items(text)


@pytest.mark.parametrize(
    "cells",
    [
        ["traffic light", "traffic sign", "fire hydrant", "dining table", "", "dog"],  # names with blanks
        ["cat, small", "cat, large", "dog", "cow", "", "dog"],
        ["and/or", "cat", "dog", "cow", "", "dog"],
        ["traffic light|dog", "dog", "traffic light", "light", "traffic", "dog"],  # a bar somewhere
        ["1", "2", "3", "12", "", "1"],
        ["hot dog", "dog", "cat", "cow", "cow", "cat"],
    ],
)
def test_names_that_hold_a_separator_are_names(write: Write, photos: Path, cells: list[str]) -> None:
    labels = read_labels(write("l.csv", in_csv(cells)), photos)
    assert set(labels.classes) == {name for cell in cells for name in cell.split("|") if name}


def test_one_cell_of_several_known_labels_is_enough(write: Write, photos: Path) -> None:
    cells = ["cat", "dog", "cat,dog", "cow", "", "dog"]
    with pytest.raises(UserError, match="joins labels by ',', as in 'cat,dog'"):
        read_labels(write("l.csv", in_csv(cells)), photos)


@pytest.mark.parametrize(
    ("separator", "cell", "advice"),
    [
        (None, "cat||dog", r"join the labels of an image by \|, and"),
        (";", "cat;;dog", "join the labels of an image by ;, and"),
        (r"\t", "cat\t\tdog", "join the labels of an image by tabs, and"),
        ("list", "cat", r"text of a list such as \['cat', 'dog'\], and"),
    ],
)
def test_advice_names_the_separator_that_is_in_use(
    write: Write, photos: Path, separator: str | None, cell: str, advice: str
) -> None:
    with pytest.raises(UserError, match=advice):
        read_labels(write("l.csv", f"image,labels\n0.jpg,{cell}\n"), photos, table=LabelTable(separator))


def test_columns_by_name_and_captions_with_faulty_quotes(write: Write, photos: Path) -> None:
    text = (
        "ImageID,Labels,Caption\n"
        "0.jpg,1,A man\n"
        '1.jpg,1 19,"A sign that says "stop", on a street"\n'
        '2.jpg,19,"He said ""go"", and\nwent"\n'
        '3.jpg,3 1,"never closed\n'
        '4.jpg,3,"closed"\n'
        "5.jpg,1 3 19,An end\n"
    )
    file = write("l.csv", text)
    with pytest.raises(UserError, match=r"it has no column 'image'; .* give them by --image-column and --label-column"):
        read_labels(write("m.csv", "ID,Labels\n0.jpg,1\none,2\n"), photos)
    for given in (LabelTable(), LabelTable(image_column="ImageID")):  # a column of names of images is found
        with pytest.raises(UserError, match="joins labels by blanks"):
            read_labels(file, photos, table=given)
    labels = read_labels(file, photos, table=LabelTable(" ", "imageid", "Labels"))
    assert labels.names == tuple(NAMES)
    assert labels.classes == ("1", "19", "3")
    assert labels.targets.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1], [1, 1, 1]]


def test_cells_between_semicolons_and_tabs(write: Write, photos: Path) -> None:
    for delimiter in (";", "\t"):
        file = write("l.csv", f"image{delimiter}labels\n0.jpg{delimiter}cat, small|dog\n1.jpg{delimiter}\n")
        assert read_labels(file, photos).classes == ("cat, small", "dog")


def test_columns_that_are_not_clear_are_refused(write: Write, photos: Path) -> None:
    with pytest.raises(UserError, match="several columns 'labels'"):
        read_labels(write("l.csv", "image,labels,Labels,labels\n"), photos)
    labels = read_labels(write("l.csv", "image,labels,Labels\n0.jpg,cat,dog\n"), photos)
    assert labels.classes == ("cat",)  # the exact name before another case
    with pytest.raises(UserError, match="separator of labels is empty"):
        read_labels(write("l.csv", "image,labels\n0.jpg,cat\n"), photos, table=LabelTable(""))
    with pytest.raises(UserError, match="line 2 has labels that are no list: 'cat' is no list such as"):
        read_labels(write("l.csv", "image,labels\n0.jpg,cat\n"), photos, table=LabelTable("list"))


@pytest.mark.parametrize("table", [LabelTable(";"), LabelTable(None, "name"), LabelTable(None, None, "tags")])
def test_what_is_said_of_csv_files_is_refused_for_others(write: Write, photos: Path, table: LabelTable) -> None:
    with pytest.raises(UserError, match=r"^--(label-separator|image-column|label-column) is for CSV files, which"):
        read_labels(write("l.json", "{}"), photos, table=table)
