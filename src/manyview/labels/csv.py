"""Reads image labels from CSV files with one row per image."""

from __future__ import annotations

from collections.abc import Sequence

from manyview.images.files import read_text
from manyview.labels.entries import Contents, Entry, LabelFiles, LabelFormat, LabelReader, occurring
from manyview.labels.problems import Malformed, Problem
from manyview.labels.table import LabelTable, read_rows


def _is_csv(files: LabelFiles) -> bool:
    return files.names is None and files.ending == ".csv"


def _read_labels(files: LabelFiles) -> Contents:
    """Read a CSV file with a column of images and one of labels; further columns are ignored.

    Raises:
        UserError: the file cannot be read, is not CSV, lacks these columns, or evidently joins labels by something else
            than the separator.
    """
    table = files.table
    rows = list(read_rows(read_text(files.path, "labels"), table, files.path))
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    columns = table.columns(header, files.path)
    cells: list[tuple[str, str, str]] = []
    problems: list[Problem] = []
    advice = f"{table.advice}, and quote cells that contain what separates columns"
    for number, row in rows[1:]:
        try:
            if row:
                cells.append((f"line {number}", *_cells(row, header, columns)))
        except Malformed as error:
            problems.append(Problem(f"line {number} {error}", advice))
    table.check([cell for _, _, cell in cells], files.path)
    entries: list[Entry] = []
    for where, image, cell in cells:
        try:
            entries.append(_entry(where, image, cell, table))
        except Malformed as error:
            problems.append(Problem(f"{where} {error}", advice))
    return Contents(entries, problems, sorted(occurring(entries)), declares_classes=False, by_stem=False)


def _cells(row: Sequence[str], header: Sequence[str], columns: tuple[int, int]) -> tuple[str, str]:
    if not max(columns) < len(row) <= len(header):  # cells behind those that are read may be missing
        raise Malformed(f"has {len(row)} cells where the header has {len(header)}")
    image, cell = (row[column].strip() for column in columns)
    if not image:
        raise Malformed("names no image")
    return image, cell


def _entry(where: str, image: str, cell: str, table: LabelTable) -> Entry:
    try:
        shown = table.labels(cell)
    except ValueError as error:
        raise Malformed(f"has labels that are no list: {error}") from error
    if "" in shown:
        raise Malformed(f"has an empty label in {cell!r}")
    return Entry(where, image, frozenset(shown))


FORMAT = LabelFormat(
    name="csv", title="CSV", labels=(LabelReader("a .csv with the columns image,labels", _is_csv, _read_labels),)
)
