"""Reading files of features."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from manyview.errors import UserError
from manyview.evaluation.embed.files import FeaturesFile
from manyview.evaluation.embed.npz import NpzFeatures
from manyview.evaluation.embed.parquet import ParquetFeatures

FORMATS = {".parquet": ParquetFeatures, ".npz": NpzFeatures}


@dataclass(repr=False, frozen=True, slots=True, eq=False)
class StoredFeatures:
    r"""Content of a file of features.

    Attributes:
        images: names relative to the folder of images; bytes that are no UTF-8 are written ``\udcXX``.
        sizes: width and height of each image in pixels.
        features: pooled features, float32 or float16.
        patches: feature maps, channels last; None if the file has none, or they were not requested.
        record: of the extraction: "protocol", "results", "provenance".
    """

    images: tuple[str, ...]
    sizes: Int[np.ndarray, "images 2"]
    features: Float[np.ndarray, "images pooled_dim"]
    patches: Float[np.ndarray, "images rows columns dim"] | None
    record: dict[str, Any]

    def __repr__(self) -> str:
        maps = "" if self.patches is None else f", patches {self.patches.shape}"
        return f"<features of {len(self.images):,} images: {self.features.shape} {self.features.dtype}{maps}>"


def open_features(path: Path) -> FeaturesFile:
    """Open a file of features, which is read in chunks.

    Raises:
        UserError: it is missing, damaged, of another format, or needs a library that is not installed.
    """
    format_ = FORMATS.get(path.suffix.lower())
    if format_ is None:
        raise UserError(f"{path} must end in .parquet or .npz, as the files that manyview embed writes")
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    return format_(path)


def read_features(path: str | os.PathLike[str], *, patches: bool = False) -> StoredFeatures:
    """Read features that ``embed`` wrote into main memory.

    Args:
        path: a Parquet or an NPZ file of ``embed``.
        patches: also read the feature maps, if the file has them.

    Raises:
        UserError: the file is missing, damaged or not one of ``embed``, or pyarrow is not installed.
    """
    file = open_features(Path(path))
    images: list[str] = []
    arrays: dict[str, np.ndarray] = {}
    for rows in file.rows(patches=patches):
        for name in ("sizes", "features", "patches"):
            values = getattr(rows, name)
            if values is not None:
                # Filled in chunks, so that memory never holds everything twice.
                whole = arrays.setdefault(name, np.empty((file.count, *values.shape[1:]), values.dtype))
                whole[len(images) : len(images) + len(values)] = values
        images += rows.images
    return StoredFeatures(tuple(images), arrays["sizes"], arrays["features"], arrays.get("patches"), file.record)
