"""Columns and label separators of CSV files: what the user says of them, and what cells show of them."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manyview.errors import UserError, require

LIST = "list"
"""The separator that stands for cells with the text of a list, such as ``['cat', 'dog']``."""

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
        image_column: name of the column of images; None: ``image``.
        label_column: name of the column of labels; None: ``labels``.
    """

    separator: str | None = None
    image_column: str | None = None
    label_column: str | None = None

    @property
    def given(self) -> str | None:
        """The first option that was given, as on the command line."""
        values = {
            "--label-separator": self.separator,
            "--image-column": self.image_column,
            "--label-column": self.label_column,
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

    def columns(self, header: Sequence[str], file: Path) -> tuple[int, int]:
        """Indices of the columns of images and of labels.

        Raises:
            UserError: there is no such column, or it is there twice.
        """
        names = (self.image_column or "image", self.label_column or "labels")
        found = [_column(name, header, file) for name in names]
        if None not in found:
            return found[0], found[1]  # type: ignore[return-value]
        if self.image_column is None and self.label_column is None and len(header) < 2:
            raise UserError(f"{file} must begin with the header image,labels, not with {','.join(header)!r}")
        lacking = next(name for name, index in zip(names, found, strict=True) if index is None)
        raise UserError(
            f"{file} must begin with the header image,labels, not with {','.join(header)!r}: it has no column "
            f"{lacking!r}; where columns have other names, give them by --image-column and --label-column"
        )

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
        by = _WORDS.get(found, repr(found))
        how = "gives labels as the text of a list" if found == LIST else f"joins labels by {by}"
        raise UserError(
            f"{file} {how}, as in {example!r}, where | is expected: --label-separator '{shown}' takes them apart; "
            f"--label-separator '{_USUAL}' takes each as one label"
        )


def list_items(cell: str) -> list[str]:
    """The items of the text of a list, as Python, NumPy and JSON write it.

    Raises:
        ValueError: it is no list.
    """
    inner = cell[1:-1].strip()
    if not _is_joined(LIST, cell):
        raise ValueError(f"{cell!r} is no list such as ['cat', 'dog']")
    if inner and not set("'\",") & set(inner):  # numbers, as NumPy writes them
        return inner.split()
    items: list[str] = []
    while inner:
        found = _ITEM.match(inner)
        if found is None:
            raise ValueError(f"{cell!r} is no list such as ['cat', 'dog']")
        items.append(next(text for text in found.groups() if text is not None).strip())
        inner = inner[found.end() :].strip()
    return [re.sub(r"\\(.)", r"\1", item) for item in items]


def read_rows(text: str, table: LabelTable, file: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV file with the number of their last line, the header first.

    Cells are separated by commas, or by semicolons or tabs if the header is. Faulty quotes in a column behind those of
    images and labels do not matter.

    Raises:
        UserError: a row is not CSV.
    """
    lines = io.StringIO(text).readlines()
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
                    needed = 1 + max(table.columns([cell.strip() for cell in row], file))
                begin = start + reader.line_num
                yield begin, row
            return
        except csv.Error as error:
            cells = _sound_cells(lines[begin], delimiter)
            if not begin or len(cells) < needed:
                raise UserError(f"{file} is not a CSV file: {error}") from error
            yield begin + 1, cells
            start = begin + 1


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
            raise UserError(f"{file} has several columns {name!r}: give each column a name of its own")
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
