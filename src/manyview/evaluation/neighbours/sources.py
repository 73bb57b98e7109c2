"""Sources of features to search: extracted on demand, or read from a file of features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from manyview.backbones import Backbone, find_weights
from manyview.errors import UserError
from manyview.evaluation.embed.files import as_name
from manyview.evaluation.embed.read import open_features
from manyview.evaluation.features.backbone import FrozenBackbone
from manyview.evaluation.features.dataset import Boxes, ImageEntry, box_views, four_blocks, images_for, whole
from manyview.evaluation.features.extract import FeatureSettings, feature_maps
from manyview.evaluation.neighbours.index import Vectors
from manyview.evaluation.settings import describe_extraction, describe_range
from manyview.images import ImageFiles, ImageRoot, Unreadable
from manyview.images.name_forms import holds
from manyview.pooling import pool
from manyview.runs import sha256
from manyview.runtime import resolve_device, resolve_precision

_RECORDED = ("weights", "weights_sha256", "images", "fingerprint", "pool", "size")  # of features that are compared
BLOCKS = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True, slots=True, eq=False)
class VectorBatch:
    """Vectors of a batch of images.

    Attributes:
        vectors: of the readable images, the parts of each one after the other; None if there are none.
        read: indices of the readable images.
        unreadable: the others.
    """

    vectors: Vectors | None
    read: list[int]
    unreadable: list[Unreadable]


class FeatureSource(ABC):
    """Images and their features.

    Attributes:
        files: the images.
        where: folder or file of the images, for messages.
        protocol: of the extraction, as plain data.
    """

    files: ImageFiles
    where: ImageRoot
    protocol: dict[str, Any]

    @abstractmethod
    def batches(self, indices: Sequence[int]) -> Iterator[VectorBatch]:
        """Features of these images, in batches; those of a file come in its order."""


class Extracted(FeatureSource):
    """Features extracted on demand.

    Args:
        weights: file or run of the network's weights.
        network: the backbone.
        files: the images.
        settings: of the extraction.
        blocks: whether to use the four blocks of each image instead of the whole.
    """

    def __init__(
        self, weights: Path, network: Backbone, files: ImageFiles, settings: FeatureSettings, blocks: bool = False
    ) -> None:
        self.files, self.where, self._settings = files, files.root, settings
        self._boxes: Boxes = four_blocks if blocks else whole
        self._batch_size = max(1, settings.batch_size // (len(BLOCKS) if blocks else 1))
        self._images = images_for(network, files, settings.size, partial(box_views, boxes=self._boxes))
        self._network = FrozenBackbone(network, resolve_device(settings.device), resolve_precision(settings.precision))
        self.protocol = describe_extraction(settings, weights, network) | {
            "features": None,
            "fingerprint": files.fingerprint(),
            **describe_range(files, network),
        }

    def batches(self, indices: Sequence[int]) -> Iterator[VectorBatch]:
        """Features of these images, in the order of ``indices``."""
        batches = feature_maps(
            self._network, self._images, indices, batch_size=self._batch_size, workers=self._settings.workers
        )
        for batch in batches:
            vectors = None
            if batch.read:
                values = pool(batch.maps.flatten(0, 1), self._settings.pool).cpu().numpy()
                vectors = Vectors(values, _parts(batch.read, self._boxes))
            yield VectorBatch(vectors, [index for index, _, _ in batch.read], batch.unreadable)


class Stored(FeatureSource):
    """Features of whole images from a file that ``embed`` wrote.

    Args:
        file: the file.
        root: folder of the images.
        weights: required weights of the features.
        pool: required pooling; None for any.
        size: required input size; None for any.

    Raises:
        UserError: the file cannot be used, or does not meet the requirements.
    """

    def __init__(self, file: Path, root: ImageRoot, weights: Path, pool: str | None, size: int | None) -> None:
        self._file, self.where = open_features(file), file
        protocol, results = self._file.record["protocol"], self._file.record.get("results")
        missing = next((key for key in _RECORDED if key not in protocol), None)
        if missing is not None or not isinstance(results, dict):
            raise UserError(f"{file} does not record {missing or 'its results'}: make it again with manyview embed")
        weights_file = find_weights(weights)
        if protocol["weights_sha256"] != sha256(weights_file):
            raise UserError(
                f"{file} holds features that other weights made ({protocol['weights']}), not {weights_file}"
            )
        for name, wanted in (("pool", pool), ("size", size)):
            if wanted not in (None, protocol[name]):
                raise UserError(f"{file} was made with {name} {protocol[name]}, not {wanted}: leave {name} out")
        self.files = ImageFiles(root, (_as_there(root, text) for text in self._file.images()))
        # The fingerprint includes unreadable images, which the file does not name.
        if not results.get("skipped") and self.files.fingerprint() != protocol["fingerprint"]:
            raise UserError(
                f"{file} holds features of other images than those in {root} (names or sizes of files differ): "
                f"name the folder they were made of, {protocol['images']}"
            )
        self.protocol = protocol | {"features": str(file)}

    def batches(self, indices: Sequence[int]) -> Iterator[VectorBatch]:
        """Features of these images, in the order of the file."""
        wanted = np.zeros(len(self.files), dtype=bool)
        wanted[indices] = True
        start = 0
        for rows in self._file.rows():
            (chosen,) = np.nonzero(wanted[start : start + len(rows.images)])
            read = (start + chosen).tolist()
            if read:
                entries = [(index, *size) for index, size in zip(read, rows.sizes[chosen].tolist(), strict=True)]
                yield VectorBatch(Vectors(rows.features[chosen], _parts(entries, whole)), read, [])
            start += len(rows.images)


def _as_there(root: ImageRoot, text: str) -> str:
    """An image's name from its text: with bytes that are no UTF-8, unless a file is called like the text itself."""
    name = as_name(text)
    return text if name == text or holds(root, text) else name


def _parts(entries: Sequence[ImageEntry], boxes: Boxes) -> Int64[np.ndarray, "vectors 6"]:
    """The parts of images, as in ``Vectors``."""
    return np.array(
        [(index, number, *box) for index, width, height in entries for number, box in enumerate(boxes(width, height))],
        dtype=np.int64,
    )
