"""Labeled images by which a backbone is measured while it trains: some to train classifiers with, others held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from manyview.config import MonitorConfig
from manyview.errors import UserError
from manyview.evaluation.data import Sources
from manyview.images import ImageRoot
from manyview.labels import ImageLabels, LabelTable, read_labels

_HELD_OUT = 3  # one of so many
_FEWEST = 6


@dataclass(frozen=True, slots=True, eq=False)
class LabeledPart:
    """Images with their labels.

    Attributes:
        names: images, relative to the run's folder of images.
        targets: 1 where an image shows a class, else 0.
        ignored: 1 where a label is left out; None for no such label.
    """

    names: tuple[str, ...]
    targets: UInt8[np.ndarray, "images classes"]
    ignored: UInt8[np.ndarray, "images classes"] | None

    @classmethod
    def of(cls, labels: ImageLabels, rows: Int64[np.ndarray, " images"]) -> LabeledPart:
        """These rows of the labels, in ascending order."""
        rows = np.sort(rows)
        ignored = None if labels.ignored is None else labels.ignored[rows]
        return cls(tuple(labels.names[row] for row in rows), labels.targets[rows], ignored)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Images to train classifiers with, and others to measure them on.

    Attributes:
        train: the first.
        val: the others.
        sha256: of the label files' content.
        split: how they were chosen, as a sentence.
    """

    train: LabeledPart
    val: LabeledPart
    sha256: str
    split: str

    def describe(self) -> dict[str, Any]:
        """Plain data, for ``run.json``."""
        counts = {"train": len(self.train.names), "held_out": len(self.val.names)}
        return {"labels_sha256": self.sha256, **counts, "split": self.split}


def read_held_out(
    images: ImageRoot,
    monitor: MonitorConfig,
    table: LabelTable = LabelTable(),  # noqa: B008 - it is frozen
    class_names: str | None = None,
) -> HeldOut | None:
    """Read ``monitor.eval_labels`` and choose the images; the same for the same labels. None without labels.

    Of a single file, a third of the images is held out. At most ``monitor.eval_images`` are used, a third of them held
    out. Both are drawn at random, always with the same seed.

    Args:
        images: folder that the names of the labels are relative to.
        monitor: settings.
        table: how CSV files are laid out.
        class_names: file that names YOLO's classes; None: found beside the labels.

    Raises:
        UserError: the labels cannot be used, or are too few.
    """
    if monitor.eval_labels is None:
        return None
    file, most = Path(monitor.eval_labels), monitor.eval_images
    if monitor.eval_val_labels is None:
        labels = others = read_labels(file, images, table=table, class_names=class_names)
        sha256, count = labels.fingerprint(), min(len(labels.names), most)
        order = np.random.default_rng(0).permutation(len(labels.names))[:count]
        held, own = np.split(order, [count // _HELD_OUT])
        split = f"{_of(count, len(labels.names))}, a third of them held out at random"
    else:
        val_labels = monitor.eval_val_labels
        splits = Sources(
            images,
            file,
            val_labels,
            label_separator=table.separator,
            image_column=table.image_column,
            label_column=table.label_column,
            class_columns=table.class_columns,
            class_names=class_names,
        ).read()
        labels, others = splits.train.labels, splits.val.labels
        shared = len(splits.shared.same) + len(splits.shared.copies)
        sha256 = hashlib.sha256((labels.fingerprint() + others.fingerprint()).encode()).hexdigest()
        held = np.random.default_rng(0).permutation(len(others.names))[: most // _HELD_OUT]
        own = np.random.default_rng(0).permutation(len(labels.names))[: most - most // _HELD_OUT]
        split = (
            f"{_of(len(own), len(labels.names))} to train them, measured on {_of(len(held), len(others.names))} of the "
            "validation labels"
            + (f", of which {shared:,} are also training images, so that their figures flatter" if shared else "")
        )
    if len(held) + len(own) < _FEWEST or not others.targets[held].any() or not labels.targets[own].any():
        raise UserError(f"{file} labels too few images to measure by: {len(own)} and {len(held)} held out; label more")
    return HeldOut(LabeledPart.of(labels, own), LabeledPart.of(others, held), sha256, split)


def _of(count: int, everything: int) -> str:
    return f"{count:,} of {everything:,} labeled images" if count < everything else f"{count:,} labeled images"
