"""Tables of a comparison: for a terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from manyview.backbones.beside import INITIAL, PRETRAINED, RANDOM_INIT, in_words
from manyview.evaluation.beside import ZERO_ONE
from manyview.evaluation.compare.protocols import short
from manyview.evaluation.compare.summary import class_differences, other_groups
from manyview.evaluation.metrics.multilabel import METRICS
from manyview.evaluation.network_names import difference_sentences
from manyview.terminal import in_markdown
from manyview.text import printable

COLUMNS = ("group", "network", "fraction", "images", "metric", "class", "mean", "std", "n", "difference")
_NAMED = 3  # groups whose names fit above columns
_SHORT = 9  # characters of a name that stays in one line


class Cell(NamedTuple):
    """A table's cell, with a standard deviation if there is one; the best of a column in bold."""

    text: str
    deviation: str = ""
    best: bool = False


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """A table of a comparison, independent of the output format.

    Attributes:
        title: of the table.
        header: names of the columns.
        words: number of columns of words, from the left; the others hold numbers.
        sections: rows in groups.
        above: lines between title and table.
        below: lines after it.
    """

    title: str
    header: tuple[str, ...]
    words: int
    sections: tuple[tuple[tuple[Cell, ...], ...], ...]
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()


def format_comparison(result: dict[str, Any], classes: int | None = 20) -> Group:
    """Format a result of ``compare`` for ``rich.console.Console.print``, in percent.

    Args:
        result: of ``compare``, or read from metrics.json.
        classes: number of classes shown, those of the largest mean difference; None for all.

    Returns:
        warnings, the figures of each group, their differences to the baseline, and those of the classes.
    """
    lines: list[Text | Table] = [Text(f"Warning: {warning}", style="yellow") for warning in result["warnings"]]
    for table in _tables(result, classes, numbered=len(result["groups"]) > _NAMED):
        lines += [Text(), Text(table.title, style="bold"), *map(Text, table.above), _rich(table)]
        lines += map(Text, table.below)
    return Group(*lines)


def as_markdown(result: dict[str, Any]) -> str:
    """A result of ``compare`` as Markdown, with all classes and the evaluations of each group."""
    parts = ["# Comparison"]
    if result["warnings"]:
        parts.append("\n".join(f"- **Warning:** {in_markdown(warning)}" for warning in result["warnings"]))
    for table in (*_tables(result, None, numbered=False), _evaluations(result)):
        parts += [f"## {in_markdown(table.title)}", *map(in_markdown, table.above), _markdown(table)]
        parts += ["\n".join(f"- {in_markdown(note)}" for note in table.below)]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_csv(result: dict[str, Any]) -> str:
    """A result of ``compare`` as CSV, a line for each group, metric and class.

    Figures are fractions of 1 in full precision. "class" is empty for figures over all classes, "fraction" and "images"
    where labels do not vary, "std" for a single figure, and "difference" for the baseline.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_lines(result))
    return text.getvalue()


def _lines(result: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    classes = result["protocol"]["classes"]
    for row in result["results"]:
        head = (row["group"], row["network"], row["fraction"], row["images"])
        for metric, entry in row["summary"].items():
            difference = None if row["difference"] is None else row["difference"].get(metric)
            if not isinstance(entry["mean"], list):
                yield (*head, metric, "", entry["mean"], entry["std"], entry["n"], difference)
                continue
            differences = difference or [None] * len(classes)
            for cells in zip(classes, entry["mean"], entry["std"], differences, strict=True):
                name, mean, std, own = cells
                yield (*head, metric, name, mean, std, entry["n"], own)


def label(row: Mapping[str, Any]) -> str:
    """The label of a row of the results."""
    network = row["network"]
    if network == PRETRAINED:
        return str(row["group"])
    name = {RANDOM_INIT: in_words(network), INITIAL: "initial"}.get(network, network)
    if row.get("norm_statistics") == ZERO_ONE:
        name += ", norms 0 and 1"
    return name if row["group"] is None else f"{name} ({row['group']})"


def percent(fraction: float | None, sign: str = "") -> str:
    """A fraction of 1 in percent, a dash if undefined; ``sign`` is "+" for differences."""
    return "-" if fraction is None else f"{round(100 * fraction, 1) + 0.0:{sign}.1f}"  # + 0.0: never -0.0


def _tables(result: dict[str, Any], classes: int | None, *, numbered: bool) -> list[ComparisonTable]:
    tables = [_overall(result)]
    if any(row["difference"] is not None for row in result["results"]):
        tables.append(_differences(result))
    if other_groups(result):
        tables.append(_classes(result, classes, numbered))
    return tables


def _overall(result: dict[str, Any]) -> ComparisonTable:
    """Mean and standard deviation of each metric."""
    rows = result["results"]
    best = _best(rows)

    def cells(row: Mapping[str, Any]) -> tuple[Cell, ...]:
        figures = []
        for metric in METRICS:
            mean, std = (row["summary"][metric][key] for key in ("mean", "std"))
            is_best = mean is not None and mean == best.get((row["fraction"], metric))
            figures.append(Cell(percent(mean), "" if std is None else f"±{percent(std)}", is_best))
        return (*_head(row), *figures, Cell(str(row["summary"]["mAP"]["n"])))

    header = (*_head_columns(rows), *METRICS, "n")
    title = f"{result['protocol']['title']} (%)"
    words, sections = len(_head_columns(rows)), _sections(rows, cells)
    return ComparisonTable(title, header, words, sections, (_settings(result),), tuple(_notes(result)))


def _best(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[float | None, str], float]:
    """The highest mean of each metric and amount of labels, if there are several."""
    means: dict[tuple[float | None, str], list[float]] = {}
    for row in rows:
        for metric in METRICS:
            if (mean := row["summary"][metric]["mean"]) is not None:
                means.setdefault((row["fraction"], metric), []).append(mean)
    return {key: max(values) for key, values in means.items() if len(values) > 1}


def _differences(result: dict[str, Any]) -> ComparisonTable:
    """The differences of the means to the baseline's."""
    rows = [row for row in result["results"] if row["difference"] is not None]

    def cells(row: Mapping[str, Any]) -> tuple[Cell, ...]:
        return (*_head(row), *(Cell(percent(row["difference"][metric], "+")) for metric in METRICS))

    header = (*_head_columns(rows), *METRICS)
    title = f"Difference to {result['protocol']['baseline']} (points)"
    return ComparisonTable(title, header, len(_head_columns(rows)), _sections(rows, cells))


def _classes(result: dict[str, Any], count: int | None, numbered: bool) -> ComparisonTable:
    """Average precision of each class; with numbers above the columns where names would not fit."""
    protocol, others = result["protocol"], other_groups(result)
    entries = class_differences(result, count)
    total = len(protocol["classes"])
    title = f"Average precision of each class: {protocol['baseline']} (%), and differences to it (points)"
    if protocol["per_class_fraction"] is not None:
        title += f", {100 * protocol['per_class_fraction']:g} % of the labels"
    if len(entries) < total:
        title += f"; the {len(entries)} of {total} classes that differ most"
    rows = tuple(
        (
            Cell(entry.name),
            Cell(str(entry.positives)),
            Cell(percent(entry.baseline)),
            *(Cell(percent(other, "+")) for other in entry.others),
        )
        for entry in entries
    )
    if not numbered:
        return ComparisonTable(title, ("class", "val", protocol["baseline"], *others), 1, (rows,))
    numbers = tuple(map(str, range(1, len(others) + 1)))
    names = tuple(f"{number}: {name}" for number, name in zip(numbers, others, strict=True))
    return ComparisonTable(title, ("class", "val", "base", *numbers), 1, (rows,), names)


def _evaluations(result: dict[str, Any]) -> ComparisonTable:
    sections = tuple(
        tuple((Cell(name), *(Cell(str(member[key])) for key in ("file", "weights", "seed"))) for member in members)
        for name, members in result["groups"].items()
    )
    return ComparisonTable("Evaluations", ("group", "file", "weights", "seed"), 4, sections)


def _head_columns(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return ("group",) if rows[0]["fraction"] is None else ("group", "labeled")


def _head(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    if row["fraction"] is None:
        return (Cell(label(row)),)
    return Cell(label(row)), Cell(f"{row['images']:,} ({100 * row['fraction']:g} %)")


def _sections(rows: Sequence[Mapping[str, Any]], cells: Any) -> tuple[tuple[tuple[Cell, ...], ...], ...]:
    """A section for each group; a single one for rows without fractions."""
    if rows[0]["fraction"] is None:
        return (tuple(cells(row) for row in rows),)
    sections: dict[str, list[tuple[Cell, ...]]] = {}
    for row in rows:
        sections.setdefault(label(row), []).append(cells(row))
    return tuple(map(tuple, sections.values()))


def _settings(result: dict[str, Any]) -> str:
    """The main settings, if all evaluations share them."""
    protocol = result["protocol"]
    return ", ".join(f"{key} {short(key, protocol['shared'][key])}" for key in protocol["headline"])


def _notes(result: dict[str, Any]) -> list[str]:
    """Notes on the figures."""
    rows = result["results"]
    notes = []
    if any(row["over"] == "evaluations" for row in rows):
        notes.append("±: standard deviation over the n evaluations of a group.")
    if any(row["over"] == "draws" for row in rows):
        notes.append("±, where a group is one evaluation: standard deviation over its n draws of the labeled images.")
    notes += _interval_notes(result)
    notes += _paired_notes(result)
    absent = sum(count == 0 for count in result["protocol"]["val"]["positives"])
    if absent:
        notes.append(f"{absent} of {len(result['protocol']['classes'])} classes have no validation image: not in mAP.")
    return notes


def _interval_notes(result: dict[str, Any]) -> list[str]:
    """The intervals of mAP over images, and which overlap the baseline's."""
    name = result["protocol"]["baseline"]
    known = [row for row in result["results"] if row["intervals"] and row["intervals"]["mAP"][0] is not None]
    if not known:
        return []
    ends = "; ".join(f"{label(row)} {'–'.join(map(percent, row['intervals']['mAP']))}" for row in known)
    notes = [f"95 % intervals of mAP over images: {ends}."]
    base = next((row["intervals"]["mAP"] for row in known if row["difference"] is None), None)
    others = [row for row in known if row["difference"] is not None]
    for overlaps, verb in ((True, "overlap"), (False, "do not overlap")):
        names = [label(row) for row in others if base and _overlap(row["intervals"]["mAP"], base) == overlaps]
        if names:
            notes.append(f"These {verb} that of {name}: {', '.join(names)}.")
    return notes


def _paired_notes(result: dict[str, Any]) -> list[str]:
    """Differences to their own baselines, of groups of one evaluation, which are paired by images."""
    return [
        f"{name}: {sentence}"
        for name, members in result["groups"].items()
        for sentence in difference_sentences(members[0])
        if len(members) == 1
    ]


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _rich(table: ComparisonTable) -> Table:
    drawn = Table(pad_edge=False)
    for index, name in enumerate(table.header):
        number = index >= table.words
        # Names of groups may take several lines; figures stay whole.
        whole = index > 0 and len(name) <= _SHORT
        drawn.add_column(Text(printable(name)), justify="right" if number else "left", overflow="fold", no_wrap=whole)
    for section in table.sections:
        for index, row in enumerate(section):
            # A group with several rows is named once.
            named = table.words > 1 and index > 0 and row[0] == section[index - 1][0]
            drawn.add_row("" if named else _rich_cell(row[0]), *(_rich_cell(cell) for cell in row[1:]))
        drawn.add_section()
    return drawn


def _rich_cell(cell: Cell) -> Text:
    text = Text(printable(cell.text), style="bold" if cell.best else "")
    if cell.deviation:
        text.append(f"\n{cell.deviation}", style="not bold dim")
    return text


def _markdown(table: ComparisonTable) -> str:
    rules = ["---"] * table.words + ["---:"] * (len(table.header) - table.words)
    rows = [[_markdown_cell(cell) for cell in row] for section in table.sections for row in section]
    return "\n".join(
        "| " + " | ".join(row) + " |" for row in [[in_markdown(name) for name in table.header], rules, *rows]
    )


def _markdown_cell(cell: Cell) -> str:
    text = in_markdown(cell.text)
    text = f"**{text}**" if cell.best else text
    return f"{text} {cell.deviation}" if cell.deviation else text
