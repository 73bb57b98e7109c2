"""What the tables of all evaluations are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

METRICS = ("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1")

# The first in tables, which are to fit a terminal of 80 columns.
SHORT = {"pretrained": "trained", "random_init": "random"}
LONG = {"pretrained": "pre-trained", "random_init": "random init"}

_TOLD = 3  # of what was left out; metrics.json has more
_AVERAGE_PRECISIONS = {"voc07": "AP is that of VOC 2007: the mean of the best precision at 11 points of recall."}
_COMPATIBILITIES = {
    "ml-gcn": "OP is that of ML-GCN's code: each class never predicted adds 1 to what it is divided by."
}

Shares = Sequence[float | None]


def weights_line(protocol: dict[str, Any]) -> list[Text]:
    """How the weights were loaded; nothing of weights that are not from a file."""
    loading = protocol["loading"]
    return [] if loading is None else [Text(loading["summary"], style="dim")]


def sheet(
    title: str, protocol: dict[str, Any], figures: Table, notes: Sequence[str], classes: Sequence[Text | Table]
) -> Group:
    """An evaluation's tables, one below the other.

    The lines are not the tables' titles and captions, which would be broken to the tables' width.

    Args:
        title: above the figures.
        protocol: of the evaluation.
        figures: the table of the overall figures.
        notes: below it, with what every evaluation has to note.
        classes: the title and the table of the classes.
    """
    below = [*notes, *_notes(protocol)]
    return Group(*weights_line(protocol), Text(title, style="bold"), figures, *map(Text, below), *classes)


def figures_table(*columns: str) -> Table:
    """An empty table of figures, each row of which is named by the columns "backbone" and "rule"."""
    table = Table(pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in ("backbone", "rule") else "right", no_wrap=True)
    return table


def by_class(protocol: dict[str, Any], aps: Mapping[str, Shares], of: str = "") -> list[Text | Table]:
    """The average precision of each class, beside the numbers of photographs that show it.

    Args:
        protocol: of the evaluation.
        aps: for each backbone, of each class.
        of: what the title ends with.
    """
    table = Table()
    table.add_column("class")
    for column in ("train", "val", *aps):
        table.add_column(column, justify="right", no_wrap=True)
    rows = zip(protocol["classes"], protocol["train"]["positives"], protocol["val"]["positives"], strict=True)
    for index, (name, train, val) in enumerate(rows):
        table.add_row(Text(name), str(train), str(val), *(percent(column[index]) for column in aps.values()))
    return [Text(), Text(f"Average precision of each class (%){of}", style="bold"), table]


def inputs(protocol: dict[str, Any]) -> str:
    """Pooling and size of the inputs, for a title."""
    crop = ", centre crop" if protocol["crop"] == "center" else ""
    return f"{protocol['pool']} at {protocol['size']} px{crop}"


def flattering(protocol: dict[str, Any]) -> list[str]:
    """A warning where photographs were both learned from and measured on."""
    both = protocol["images_in_both"]
    return [f"{both} photographs are in both label files: these figures flatter."] if both else []


def percent(fraction: float | None) -> str:
    """A share in percent, at most four characters, so that tables fit 80 columns; a dash for what is undefined."""
    return "-" if fraction is None else f"{100 * fraction:.1f}".replace("100.0", "100")


def _notes(protocol: dict[str, Any]) -> list[str]:
    """What the reader of any evaluation's figures must know."""
    notes = [_skipped(protocol[part]) for part in ("train", "val")]
    absent = sum(count == 0 for count in protocol["val"]["positives"])
    if absent:
        notes.append(f"{absent} of {len(protocol['classes'])} classes have no validation photograph: not in mAP.")
    ignored = sum(protocol["val"]["ignored"])
    if ignored:
        notes.append(f"{ignored} labels of difficult objects in the validation photographs count neither way.")
    notes.append(_AVERAGE_PRECISIONS.get(protocol["average_precision"], ""))
    notes.append(_COMPATIBILITIES.get(protocol["compatibility"], ""))
    return [note for note in notes if note]


def _skipped(part: dict[str, Any]) -> str:
    """What was left out of a label file, if anything."""
    count, first = part["skipped"]["count"], part["skipped"]["first"][:_TOLD]
    if not count:
        return ""
    what = "1 label row was" if count == 1 else f"{count} label rows were"
    more = "; ..." if count > len(first) else "."
    return f"{what} left out of {Path(part['labels']).name}: {'; '.join(first)}{more}"
