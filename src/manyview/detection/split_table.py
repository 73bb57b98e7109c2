"""Table of what a detector is about to learn and to be measured by: objects and images of each class and split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64
from rich.console import Group
from rich.table import Table
from rich.text import Text

from manyview.detection.dataset import DetectionData
from manyview.errors import first_few
from manyview.labels import DetectionLabels
from manyview.text import printable

_CLASSES = 30  # of a table, at most; those with the most objects
_TITLES = ("training objects", "in images", "validation objects", "in images")

Counts = Int64[np.ndarray, "classes 2"]


def format_splits(data: DetectionData) -> Group:
    """Format the objects of both splits by class for ``rich.console.Console.print``, and what lacks objects.

    Counted are objects to train on, and in validation those that are no crowds.
    """
    train, val = count_objects(data.train, trained=True), count_objects(data.val, trained=False)
    counts = np.concatenate([train, val], axis=1)
    order = np.argsort(-counts[:, 0], kind="stable")
    shown, rest = order[:_CLASSES], order[_CLASSES:]
    table = Table(pad_edge=False)
    table.add_column("class")
    for title in _TITLES:
        table.add_column(title, justify="right")
    for index in shown.tolist():
        table.add_row(printable(data.train.classes[index]), *_cells(counts[index]))
    if len(rest):
        objects = counts[rest].sum(axis=0)
        table.add_row(f"{len(rest):,} more classes", f"{objects[0]:,}", "", f"{objects[2]:,}", "")
    table.add_section()
    images = len(data.train), len(data.val)
    objects = counts.sum(axis=0)
    row = np.array([objects[0], images[0], objects[2], images[1]])
    table.add_row("all" if len(counts) > 1 else "all images", *_cells(row))
    return Group(table, *(Text(sentence, style="yellow") for sentence in _lacking(data.train.classes, counts)))


def count_objects(labels: DetectionLabels, *, trained: bool) -> Counts:
    """Objects of each class, and images with one.

    Args:
        labels: of a split.
        trained: whether to count those to train on; otherwise those that are no crowds.
    """
    counts = np.zeros((len(labels.classes), 2), dtype=np.int64)
    for each in labels.objects:
        kept = each.labels[each.trained if trained else ~each.crowd] - 1
        np.add.at(counts[:, 0], kept, 1)
        counts[np.unique(kept), 1] += 1
    return counts


def _cells(row: Int64[np.ndarray, 4]) -> list[str]:
    return [f"{count:,}" for count in row.tolist()]


def _lacking(classes: tuple[str, ...], counts: Int64[np.ndarray, "classes 4"]) -> Iterator[str]:
    """Sentences on classes without objects in a split."""
    for column, split, so in ((0, "training", "cannot be learned"), (2, "validation", "not in AP")):
        none = [classes[index] for index in np.flatnonzero(counts[:, column] == 0).tolist()]
        if none:
            classes_have = "1 class has" if len(none) == 1 else f"{len(none):,} classes have"
            yield f"{classes_have} no {split} object, {so}: {first_few(none)}."
