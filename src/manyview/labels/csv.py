"""Reads image labels from CSV files with one row per image."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from manyview.errors import UserError
from manyview.images.files import read_text
from manyview.labels.entries import Contents, Entry, LabelFiles, LabelFormat, LabelReader, occurring
from manyview.labels.problems import Malformed, Problem

_ADVICE = "join the labels of an image by |, and quote names that contain commas"


def _is_csv(files: LabelFiles) -> bool:
    return files.names is None and files.ending == ".csv"


def _read_labels(files: LabelFiles) -> Contents:
    """Read a CSV file with the columns ``image`` and ``labels``; further columns are ignored.

    Raises:
        UserError: the file cannot be read, is not CSV, or lacks these columns.
    """
    reader = csv.reader(io.StringIO(read_text(files.path, "labels")), strict=True)
    try:
        table = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UserError(f"{files.path} is not a CSV file: {error}") from error
    header = [cell.strip().lower() for cell in table[0][1]] if table else []
    if "image" not in header or "labels" not in header:
        raise UserError(f"{files.path} must begin with the header image,labels, not with {','.join(header)!r}")
    entries: list[Entry] = []
    problems: list[Problem] = []
    for number, row in table[1:]:
        try:
            if row:
                entries.append(_entry(f"line {number}", row, header))
        except Malformed as error:
            problems.append(Problem(f"line {number} {error}", _ADVICE))
    return Contents(entries, problems, sorted(occurring(entries)), declares_classes=False, by_stem=False)


def _entry(where: str, row: Sequence[str], header: Sequence[str]) -> Entry:
    if len(row) != len(header):
        raise Malformed(f"has {len(row)} cells where the header has {len(header)}")
    image, cell = (row[header.index(column)].strip() for column in ("image", "labels"))
    if not image:
        raise Malformed("names no image")
    shown = [label.strip() for label in cell.split("|")] if cell else []
    if "" in shown:
        raise Malformed(f"has an empty label in {cell!r}")
    return Entry(where, image, frozenset(shown))


FORMAT = LabelFormat(
    name="csv", title="CSV", labels=(LabelReader("a .csv with the columns image,labels", _is_csv, _read_labels),)
)
