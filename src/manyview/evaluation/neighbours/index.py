"""Nearest-neighbor index over batches of vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from manyview.views import Box


@dataclass(frozen=True, slots=True)
class Part:
    """The part of an image that a vector represents.

    Attributes:
        image: index of the image.
        number: index of the part within its image.
        box: left, top, right, bottom in pixels.
    """

    image: int
    number: int
    box: Box


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Features of parts of images.

    Attributes:
        values: one vector per part.
        parts: image, number, and left, top, right, bottom of the box of each vector.
    """

    values: Float[np.ndarray, "vectors dim"]
    parts: Int64[np.ndarray, "vectors 6"]

    def part(self, vector: int) -> Part:
        """The part of a vector."""
        return as_part(self.parts[vector])


class Nearest:
    """The k nearest vectors of each query so far, by cosine.

    Of equally near vectors, the first are kept. A vector of zeros has the cosine 0 with all others. All is computed in
    float64, so that the batch size changes only the order of equals.

    Args:
        queries: vectors, not necessarily normalized; vectors of the same image are no neighbors.
        k: number of neighbors, at least 1.
    """

    def __init__(self, queries: Vectors, k: int) -> None:
        assert k >= 1
        self._queries, self._images, self._k = _unit(queries.values), queries.parts[:, 0], k
        self._cosines: Float64[np.ndarray, "queries found"] = np.zeros((len(queries.values), 0))
        self._parts: Int64[np.ndarray, "queries found 6"] = np.zeros((len(queries.values), 0, 6), dtype=np.int64)

    def add(self, vectors: Vectors) -> None:
        """Add vectors to search."""
        cosines = np.clip(self._queries @ _unit(vectors.values).T, -1, 1)
        cosines[self._images[:, None] == vectors.parts[:, 0]] = -np.inf
        cosines = np.concatenate([self._cosines, cosines], axis=1)
        parts = np.broadcast_to(vectors.parts, (len(cosines), *vectors.parts.shape))
        parts = np.concatenate([self._parts, parts], axis=1)
        # Stable, and earlier vectors come before later ones: of equals the first stays.
        best = np.argsort(-cosines, axis=1, kind="stable")[:, : self._k]
        self._cosines = np.take_along_axis(cosines, best, axis=1)
        self._parts = np.take_along_axis(parts, best[:, :, None], axis=1)

    def of(self, query: int) -> list[tuple[Part, float]]:
        """Nearest parts of a query with their cosines, in descending order; at most k."""
        found = zip(self._parts[query], self._cosines[query], strict=True)
        return [(as_part(numbers), float(cosine)) for numbers, cosine in found if cosine > -np.inf]


def as_part(numbers: Int64[np.ndarray, " numbers"]) -> Part:
    """A part from its six numbers."""
    image, number, left, top, right, bottom = numbers.tolist()
    return Part(image, number, (left, top, right, bottom))


def _unit(vectors: Float[np.ndarray, "vectors dim"]) -> Float64[np.ndarray, "vectors dim"]:
    """Vectors normalized to length 1; zeros stay."""
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    return exact / np.where(lengths > 0, lengths, 1)
