"""Labels of the images of a run, for methods that learn from labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from manyview.config import PretrainConfig
from manyview.errors import UserError, first_few
from manyview.images import ImageFiles, find_images, image_root
from manyview.labels import LabelTable, read_labels


@dataclass(frozen=True)
class Targets:
    """Multi-label targets of all images of a run.

    Attributes:
        classes: names of the classes, in the order of the columns.
        values: float32 on the CPU; 1 where the image shows the class, 0 where not, NaN where that is unknown (only
            "difficult" objects).
        fingerprint: SHA-256 of the labels.
    """

    classes: tuple[str, ...]
    values: Float[Tensor, "images classes"]
    fingerprint: str

    def __str__(self) -> str:
        """Their number and rate, such as "18 classes (boat, bus, cat, ...), 1.6 per image, 12 labels unknown"."""
        names = ", ".join(self.classes[:3]) + (", ..." if len(self.classes) > 3 else "")
        unknown = int(self.values.isnan().sum())
        per_image = self.values.nansum() / len(self.values)
        return f"{len(self.classes)} classes ({names}), {per_image:.1f} per image" + (
            f", {unknown:,} labels unknown" if unknown else ""
        )


def find_labeled_images(config: PretrainConfig) -> tuple[ImageFiles, Targets | None]:
    """Find the images of a run, and read their labels if the method learns from any.

    Without ``data.list``, a run with labels trains on the images that the labels name.

    Args:
        config: configuration; ``method.classes``, if set, are the classes and their order.

    Raises:
        UserError: no images, unusable labels, or a listed image without labels.
    """
    data, images = config.data, image_root(config.data.images)
    listed = Path(data.list) if data.list else None
    if not config.method.labeled:
        return find_images(images, listed, arrays=data.bands != "rgb"), None
    assert data.labels is not None, "the schema asks for it"
    table = LabelTable.of(data)
    classes = config.method.label_classes
    labels = read_labels(Path(data.labels), images, classes, table=table, class_names=data.class_names)
    values = labels.targets.astype(np.float32)
    if labels.ignored is not None:
        values[labels.ignored == 1] = np.nan
    if listed is None:
        files = ImageFiles(images, labels.names)
    else:
        files = find_images(images, listed, arrays=data.bands != "rgb")
        rows = {name: row for row, name in enumerate(labels.names)}
        missing = [name for name in files if name not in rows]
        if missing:
            raise UserError(
                f"{len(missing):,} of the {len(files):,} images of data.list have no labels in {data.labels}, "
                f"{first_few(missing)}; leave out data.list to train on all that have"
            )
        values = values[[rows[name] for name in files]]
    return files, Targets(labels.classes, torch.from_numpy(values), labels.fingerprint())
