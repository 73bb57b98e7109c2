"""Reads image labels from CSV files with one row per image: a column of labels, or one of 0 and 1 for each class."""

from __future__ import annotations

from collections.abc import Sequence

from manyview.images.files import read_text
from manyview.labels.entries import Contents, Entry, LabelFiles, LabelFormat, LabelReader, occurring
from manyview.labels.problems import Malformed, Problem, in_quotes
from manyview.labels.table import Columns, LabelTable, Sheet, find_columns, mark, read_sheet


def _is_csv(files: LabelFiles) -> bool:
    return files.names is None and files.ending == ".csv"


def _read_labels(files: LabelFiles) -> Contents:
    """Read a CSV file with a column of images, and one of labels or one of 0 and 1 for each class.

    Further columns are ignored.

    Raises:
        UserError: the file cannot be read, is not CSV, lacks these columns, or evidently joins labels by something else
            than the separator.
    """
    sheet = read_sheet(read_text(files.path, "labels"), files.table, files.path)
    columns = find_columns(sheet, files.table)
    return _read_lists(sheet, columns, files.table) if columns.labels is not None else _read_marks(sheet, columns)


def _read_marks(sheet: Sheet, columns: Columns) -> Contents:
    """Read a table with a column of 0 and 1 for each class."""
    names = [sheet.header[index] for index in columns.classes]
    entries: list[Entry] = []
    problems: list[Problem] = []
    for number, row in sheet.rows:
        try:
            image, *marks = _cells(row, sheet.header, (columns.image, *columns.classes))
            entries.append(Entry(f"line {number}", image, _marked(names, marks)))
        except Malformed as error:
            problems.append(Problem(f"line {number} {error}", "write 1 where an image shows the class, else 0"))
    return Contents(entries, problems, names, by_stem=False)


def _marked(names: Sequence[str], marks: Sequence[str]) -> frozenset[str]:
    wrong = next((pair for pair in zip(names, marks, strict=True) if mark(pair[1]) is None), None)
    if wrong is not None:
        raise Malformed(f"has {in_quotes(wrong[1])} in the column {wrong[0]}, where 0 or 1 is expected")
    return frozenset(name for name, cell in zip(names, marks, strict=True) if mark(cell))


def _read_lists(sheet: Sheet, columns: Columns, table: LabelTable) -> Contents:
    """Read a table with a column of labels."""
    assert columns.labels is not None, "the caller asks"
    wanted = (columns.image, columns.labels)
    cells: list[tuple[str, str, str]] = []
    problems: list[Problem] = []
    advice = f"{table.advice}, and quote cells that contain what separates columns"
    for number, row in sheet.rows:
        try:
            image, cell = _cells(row, sheet.header, wanted)
            cells.append((f"line {number}", image, cell))
        except Malformed as error:
            problems.append(Problem(f"line {number} {error}", advice))
    table.check([cell for _, _, cell in cells], sheet.file)
    entries: list[Entry] = []
    for where, image, cell in cells:
        try:
            entries.append(_entry(where, image, cell, table))
        except Malformed as error:
            problems.append(Problem(f"{where} {error}", advice))
    return Contents(entries, problems, sorted(occurring(entries)), declares_classes=False, by_stem=False)


def _cells(row: Sequence[str], header: Sequence[str], columns: Sequence[int]) -> list[str]:
    """The cells of some columns, the first of which names the image."""
    if not max(columns) < len(row) <= len(header):  # cells behind those that are read may be missing
        raise Malformed(f"has {len(row)} cells where the header has {len(header)}")
    cells = [row[column].strip() for column in columns]
    if not cells[0]:
        raise Malformed("names no image")
    return cells


def _entry(where: str, image: str, cell: str, table: LabelTable) -> Entry:
    try:
        shown = table.labels(cell)
    except ValueError as error:
        raise Malformed(f"has labels that are no list: {error}") from error
    if "" in shown:
        raise Malformed(f"has an empty label in {in_quotes(cell)}")
    return Entry(where, image, frozenset(shown))


FORMAT = LabelFormat(
    name="csv", title="CSV", labels=(LabelReader("a .csv with the columns image,labels", _is_csv, _read_labels),)
)
