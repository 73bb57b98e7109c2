"""Columns and label separators of CSV files: what the user says of them, and what cells show of them."""

from __future__ import annotations

import csv
import difflib
import functools
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.errors import UserError, first_few, require
from manyview.images.formats import named_like_an_image
from manyview.labels.problems import in_quotes

LIST = "list"
"""The separator that stands for cells with the text of a list, such as ``['cat', 'dog']``."""

_IMAGE, _LABELS, _ALL = "image", "labels", "all"
_MARKS = {"0": False, "0.0": False, "false": False, "no": False, "1": True, "1.0": True, "true": True, "yes": True}
_USUAL = "|"
_BLANK = " "
_ESCAPES = {r"\t": "\t", r"\n": "\n"}
_OTHERS = (",", ";", "\t", "\n", "/", "+", "&", "#", ":", _BLANK)  # in the order in which they are tried
_WORDS = {_BLANK: "blanks", "\t": "tabs", "\n": "line breaks"}
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_ITEM = re.compile(r"\s*(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|([^\s,'\"\[\](){}][^,'\"\[\](){}]*))\s*,?")
_DELIMITERS = (",", ";", "\t")
_FEWEST = 2  # cells from which something can be concluded


@dataclass(frozen=True, slots=True)
class LabelTable:
    """How a CSV file is laid out.

    Attributes:
        separator: between the labels of an image: "|", any other text, " " for white space, or "list" for the text of a
            list. None: "|", unless the cells evidently have another one.
        image_column: name of the column of images; None: ``image``, or else the only one with names of images.
        label_column: name of the column of labels; None: ``labels``.
        class_columns: of a table that has a column of 0 and 1 for each class: their names joined by commas, the first
            and the last one with a colon between them, or "all" for all but that of images. None: there is a column of
            labels, unless all others evidently have 0 and 1.
    """

    separator: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    class_columns: str | None = None

    @classmethod
    def of(cls, layout: object) -> LabelTable:
        """The layout by attributes or keys that are named like the options, those that are missing being unset."""
        get = layout.get if isinstance(layout, Mapping) else functools.partial(_attribute, layout)
        return cls(get("label_separator"), get("image_column"), get("label_column"), get("class_columns"))

    @property
    def given(self) -> str | None:
        """The first option that was given, as on the command line."""
        values = {
            "--label-separator": self.separator,
            "--image-column": self.image_column,
            "--label-column": self.label_column,
            "--class-columns": self.class_columns,
        }
        return next((name for name, value in values.items() if value is not None), None)

    @property
    def advice(self) -> str:
        """How the labels of an image are to be written."""
        if self.separator == LIST:
            return "give the labels of an image as the text of a list such as ['cat', 'dog']"
        separator = self._between
        return f"join the labels of an image by {_WORDS.get(separator, separator)}"

    @property
    def _between(self) -> str:
        """The text between labels."""
        return _ESCAPES.get(self.separator or _USUAL, self.separator or _USUAL)

    def labels(self, cell: str) -> list[str]:
        """The labels of a cell, some of them perhaps empty.

        Raises:
            ValueError: it should be a list, and is none.
        """
        if not cell:
            return []
        if self.separator == LIST:
            return list_items(cell)
        if self._between == _BLANK:
            return cell.split()
        return [label.strip() for label in cell.split(self._between)]

    def check(self, cells: Sequence[str], file: Path) -> None:
        """Refuse cells that evidently join labels by something else than "|", unless a separator is given.

        Raises:
            UserError: with the separator, and the option that takes it.
        """
        require(self.separator != "", "the separator of labels is empty: give the text between two labels")
        if self.separator is not None:
            return
        distinct = list(dict.fromkeys(cell for cell in cells if cell))
        if any(_USUAL in cell for cell in distinct):
            return
        found = next((each for each in (LIST, *_OTHERS) if _joins(each, distinct)), None)
        if found is None:
            return
        example = min((cell for cell in distinct if _is_joined(found, cell)), key=len)
        shown = next((written for written, text in _ESCAPES.items() if text == found), found)
        by = _WORDS.get(found, in_quotes(found))
        how = "gives labels as the text of a list" if found == LIST else f"joins labels by {by}"
        raise UserError(
            f"{file} {how}, as in {in_quotes(example)}, where | is expected: --label-separator '{shown}' takes them "
            f"apart; --label-separator '{_USUAL}' takes each as one label"
        )


def _attribute(layout: object, name: str) -> Any:
    return getattr(layout, name, None)


def list_items(cell: str) -> list[str]:
    """The items of the text of a list, as Python, NumPy and JSON write it.

    Raises:
        ValueError: it is no list.
    """
    inner = cell[1:-1].strip()
    if not _is_joined(LIST, cell):
        raise ValueError(f"{in_quotes(cell)} is no list such as ['cat', 'dog']")
    if inner and not set("'\",") & set(inner):  # numbers, as NumPy writes them
        return inner.split()
    items: list[str] = []
    while inner:
        found = _ITEM.match(inner)
        if found is None:
            raise ValueError(f"{in_quotes(cell)} is no list such as ['cat', 'dog']")
        items.append(next(text for text in found.groups() if text is not None).strip())
        inner = inner[found.end() :].strip()
    return [re.sub(r"\\(.)", r"\1", item) for item in items]


@dataclass(frozen=True, slots=True)
class Sheet:
    """The rows of a CSV file.

    Attributes:
        file: the file.
        written: its first line, as it is written.
        header: the cells of the first row, without white space around them.
        rows: the other rows that are not blank, each with the number of its first line.
    """

    file: Path
    written: str
    header: list[str]
    rows: list[tuple[int, list[str]]]


@dataclass(frozen=True, slots=True)
class Columns:
    """Indices of the columns that are read.

    Attributes:
        image: that of images.
        labels: that of labels; None for a table with a column for each class.
        classes: those of classes in such a table.
    """

    image: int
    labels: int | None
    classes: tuple[int, ...] = ()


def mark(cell: str) -> bool | None:
    """Whether a cell of a class's column says that the image shows it; None if it says neither."""
    return _MARKS.get(cell.strip().lower())


def read_sheet(text: str, table: LabelTable, file: Path) -> Sheet:
    """Read a CSV file.

    Cells are separated by commas, or by semicolons or tabs if the header is. Faulty quotes in a column behind those of
    images and labels do not matter.

    Raises:
        UserError: a row is not CSV.
    """
    lines = io.StringIO(text).readlines()
    rows = list(_read_rows(lines, table, file))
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    return Sheet(file, lines[0].strip() if lines else "", header, [each for each in rows[1:] if each[1]])


def find_columns(sheet: Sheet, table: LabelTable) -> Columns:
    """The columns of images and labels, by the names that are given, or else by the usual names or what they hold.

    Raises:
        UserError: there is no such column, it is there twice, or what the columns mean is not clear.
    """
    header, file = sheet.header, sheet.file
    lists = "--label-column" if table.label_column is not None else "--label-separator"
    if table.class_columns is not None and (table.label_column is not None or table.separator is not None):
        raise UserError(f"--class-columns and {lists} exclude each other: labels stand in one column or in many")
    image = _column(table.image_column or _IMAGE, header, file)
    if image is None and table.image_column is None:
        image = _image_column(sheet)
    if table.class_columns is not None:
        if image is None:
            raise _lacks(sheet, table.image_column or _IMAGE)
        return Columns(image, None, _chosen(table.class_columns, sheet, image))
    labels = _column(table.label_column or _LABELS, header, file)
    if image is not None and labels is not None:
        return Columns(image, labels)
    if image is None or table.label_column is not None or table.separator is not None:
        raise _lacks(sheet, table.image_column or _IMAGE if image is None else table.label_column or _LABELS)
    return Columns(image, None, _one_hot(sheet, image))


def _lacks(sheet: Sheet, name: str) -> UserError:
    start = f"{sheet.file} must begin with the header image,labels, not with {in_quotes(sheet.written)}"
    if len(sheet.header) < 2:
        return UserError(start)
    return UserError(
        f"{start}: it has no column {in_quotes(name)}; where columns have other names, give them by --image-column and "
        "--label-column, or by --class-columns where each class has a column of 0 and 1"
    )


def _image_column(sheet: Sheet) -> int | None:
    """The only column all of whose cells are named like images; none where its title is, as there is no header."""
    found = [
        index
        for index, title in enumerate(sheet.header)
        if sheet.rows
        and not named_like_an_image(title)
        and all(index < len(row) and named_like_an_image(row[index].strip()) for _, row in sheet.rows)
    ]
    return found[0] if len(found) == 1 else None


def _one_hot(sheet: Sheet, image: int) -> tuple[int, ...]:
    """The columns of the classes in a table in which all others have nothing but 0 and 1.

    Raises:
        UserError: there are no such columns, or a single one, or others as well.
    """
    others = [index for index, name in enumerate(sheet.header) if index != image and name]
    marks = [index for index in others if _all_marks(sheet, index)]
    if not marks:
        raise _lacks(sheet, _LABELS)
    if len(marks) == len(others) > 1:
        _check_distinct([sheet.header[index] for index in marks], sheet.file)
        return tuple(marks)
    names = [sheet.header[index] for index in marks]
    together = marks == list(range(marks[0], marks[-1] + 1)) and len(marks) > _FEWEST
    first_to_last = f"{names[0]}:{names[-1]}"
    option = first_to_last if together and first_to_last.count(":") == 1 else _joined(names)
    rest = [in_quotes(sheet.header[index]) for index in others if index not in marks]
    has = "has" if len(rest) == 1 else "have"
    but = f", while {first_few(rest)} {has} something else" if rest else ", where a table by class has several of them"
    holds = f"the column {names[0]} has" if len(names) == 1 else f"the columns {first_few(names)} have"
    raise UserError(
        f"{sheet.file} has no column '{_LABELS}', and {holds} nothing but 0 and 1{but}: "
        f"--class-columns '{option}' reads a class from each, --label-column NAME labels from a single column"
    )


def _joined(names: Sequence[str]) -> str:
    """Names as ``--class-columns`` takes them: joined by commas, those with a comma in quotes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return text.getvalue()


def _all_marks(sheet: Sheet, index: int) -> bool:
    return bool(sheet.rows) and all(index < len(row) and mark(row[index]) is not None for _, row in sheet.rows)


def _chosen(given: str, sheet: Sheet, image: int) -> tuple[int, ...]:
    """Indices of the columns of classes that are given: "all", names, or ranges of names.

    Raises:
        UserError: there is no such column, or it is there or given twice.
    """
    header = sheet.header
    if given == _ALL and _column(_ALL, header, sheet.file) is None:
        found = [index for index, name in enumerate(header) if index != image and name]
    else:
        names = [name.strip() for row in csv.reader(io.StringIO(given)) for name in row]
        require(any(names), "--class-columns names no column: give names joined by commas, FIRST:LAST, or all")
        found = [index for name in names for index in _range(name, sheet)]
    if image in found:
        raise UserError(f"--class-columns names {header[image]}, which is the column of images: leave it out")
    _check_distinct([header[index] for index in found], sheet.file)
    return tuple(found)


def _range(name: str, sheet: Sheet) -> list[int]:
    """The column of a name, or those from one to another for two names with a colon between them."""
    single = _column(name, sheet.header, sheet.file)
    if single is not None:
        return [single]
    ends = [_column(each, sheet.header, sheet.file) for each in name.split(":")]
    if len(ends) != 2 or ends[0] is None or ends[1] is None or ends[0] > ends[1]:
        near = difflib.get_close_matches(name, sheet.header, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(
            f"{sheet.file} has no column {in_quotes(name)}{hint}: --class-columns takes names of columns joined by "
            "commas, FIRST:LAST, or all"
        )
    return list(range(ends[0], ends[1] + 1))


def _check_distinct(names: Sequence[str], file: Path) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{file} has several columns {in_quotes(twice)}: give each class a column of its own, once")


def _read_rows(lines: Sequence[str], table: LabelTable, file: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of their first line, the header first."""
    first = lines[0] if lines else ""
    counts = {each: len(_header(first, each)) for each in _DELIMITERS}
    delimiter = "," if counts[","] > 1 else max(_DELIMITERS, key=lambda each: counts[each])
    needed, start = 0, 0
    while start < len(lines):
        rest = (lines[index] for index in range(start, len(lines)))  # no copy, as many rows may be faulty
        reader = csv.reader(rest, strict=True, delimiter=delimiter)
        begin = start
        try:
            for row in reader:
                if begin == 0:
                    needed = _needed([cell.strip() for cell in row], table, file)
                yield begin + 1, row
                begin = start + reader.line_num
            return
        except csv.Error as error:
            cells = _sound_cells(lines[begin], delimiter)
            if not begin or len(cells) < needed:
                raise UserError(f"{file} is not a CSV file: {error}") from error
            yield begin + 1, cells
            start = begin + 1


def _needed(header: Sequence[str], table: LabelTable, file: Path) -> int:
    """Number of leading cells of a row that must be sound."""
    labels = None if table.class_columns is not None else _column(table.label_column or _LABELS, header, file)
    if labels is None:
        return len(header)
    return 1 + max(labels, _column(table.image_column or _IMAGE, header, file) or 0)


def _header(line: str, delimiter: str) -> list[str]:
    """The cells of the first line; none where it is no CSV, which its reader reports."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _sound_cells(line: str, delimiter: str) -> list[str]:
    """The cells of a line up to the first one with faulty quotes."""
    cell = re.compile(rf"(?:\"((?:[^\"]|\"\")*)\"|([^\"{delimiter}\r\n]*))(?:{delimiter}|\r?\n|$)")
    cells, position = [], 0
    while position < len(line) and (found := cell.match(line, position)):
        quoted, plain = found.groups()
        cells.append(plain if quoted is None else quoted.replace('""', '"'))
        position = found.end()
    return cells


def _column(name: str, header: Sequence[str], file: Path) -> int | None:
    """Index of a column by its name; in upper or lower case, where none has it exactly."""
    for form in (str, str.casefold):
        found = [index for index, cell in enumerate(header) if form(cell) == form(name.strip())]
        if len(found) > 1:
            raise UserError(f"{file} has several columns {in_quotes(name)}: give each column a name of its own")
        if found:
            return found[0]
    return None


def _is_joined(separator: str, cell: str) -> bool:
    if separator == LIST:
        return _BRACKETS.get(cell[:1]) == cell[-1:]
    return len(_parts(separator, cell)) > 1


def _parts(separator: str, cell: str) -> list[str]:
    parts = cell.split() if separator == _BLANK else cell.split(separator)
    return [part.strip() for part in parts if part.strip()]


def _joins(separator: str, cells: Sequence[str]) -> bool:
    """Whether distinct cells hold several labels that recur in other cells, instead of names with this text in them."""
    joined = [cell for cell in cells if _is_joined(separator, cell)]
    if separator == LIST:
        return 2 * len(joined) >= len(cells) > 0
    if not joined:
        return False
    occurring = Counter(part for cell in cells for part in set(_parts(separator, cell)))
    recurring = [cell for cell in joined if all(occurring[part] > 1 for part in _parts(separator, cell))]
    if len(recurring) >= _FEWEST and 2 * len(recurring) >= len(joined):
        return True
    alone = {cell.strip() for cell in cells}
    whole = [cell for cell in joined if alone.issuperset(_parts(separator, cell))]
    return len(whole) >= (_FEWEST if separator == _BLANK else 1)
