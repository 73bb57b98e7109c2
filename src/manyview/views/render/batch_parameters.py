"""Parameters of many views as arrays, which workers send to the device that augments the views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float64, Int8

from manyview.views.sampling import ViewParameters

COLOR_OPERATIONS = ("brightness", "contrast", "saturation", "hue")
NO_OPERATION = -1


@dataclass(frozen=True, slots=True)
class ViewTable:
    """Augmentation parameters of n views after cropping and resizing.

    The arrays stay in host memory, where the views of each operation are known without querying the device; and a few
    hundred bytes pass a loader's queue faster as arrays than as tensors in shared memory.

    Attributes:
        order: the first to fourth color operation, as an index into ``COLOR_OPERATIONS``, or ``NO_OPERATION``.
        strength: by operation in the order of ``COLOR_OPERATIONS``: three factors, and the shift of the hue in turns.
        grayscale: whether the view is converted to grayscale.
        blur_sigma: standard deviation of the Gaussian blur in pixels of the view, or 0 for none.
        solarize: whether the upper half of the values is inverted.
        flip: whether the view is flipped horizontally.
    """

    order: Int8[np.ndarray, "views 4"]
    strength: Float64[np.ndarray, "views 4"]
    grayscale: Bool[np.ndarray, " views"]
    blur_sigma: Float64[np.ndarray, " views"]
    solarize: Bool[np.ndarray, " views"]
    flip: Bool[np.ndarray, " views"]

    def __len__(self) -> int:
        return len(self.flip)

    def __getitem__(self, rows: slice) -> ViewTable:
        return ViewTable(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def view_table(parameters: Sequence[ViewParameters]) -> ViewTable:
    """The parameters of views as a table, one row a view, without their crops."""
    return ViewTable(
        order=np.array([_order(view) for view in parameters], dtype=np.int8).reshape(-1, 4),
        strength=np.array([_strength(view) for view in parameters], dtype=np.float64).reshape(-1, 4),
        grayscale=np.array([view.grayscale for view in parameters], dtype=bool),
        blur_sigma=np.array([view.blur_sigma or 0.0 for view in parameters], dtype=np.float64),
        solarize=np.array([view.solarize for view in parameters], dtype=bool),
        flip=np.array([view.flip for view in parameters], dtype=bool),
    )


def join_tables(tables: Sequence[ViewTable]) -> ViewTable:
    """Concatenate the rows of at least one table."""
    columns = [field.name for field in fields(ViewTable)]
    return ViewTable(**{name: np.concatenate([getattr(table, name) for table in tables]) for name in columns})


def _order(view: ViewParameters) -> tuple[int, ...]:
    names = view.jitter.order if view.jitter else ()
    unknown = set(names) - set(COLOR_OPERATIONS)
    assert not unknown, f"unknown operations {sorted(unknown)}"
    codes = [COLOR_OPERATIONS.index(name) for name in names]
    return (*codes, *[NO_OPERATION] * (4 - len(codes)))


def _strength(view: ViewParameters) -> tuple[float, ...]:
    jitter = view.jitter
    return (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) if jitter else (1.0, 1.0, 1.0, 0.0)
