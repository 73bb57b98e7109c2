"""Pictures that look the same at another size or quality, or mirrored; ``images.sources.copies`` finds identical files.

Pictures are compared by the signs of the 255 lowest frequencies of a cosine transform of a small gray version, as in
perceptual hashes of 8 x 8 frequencies (Zauner, 2010), with 16 x 16. Re-encoded and resized copies differ in a few
signs, unrelated pictures in about half: see ``MOST_SIGNS``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float32, UInt8

from manyview.recipes.check.photos import SIDE

FREQUENCIES = 16
SIGNS = FREQUENCIES**2 - 1
MOST_SIGNS = 44
"""Signs in which two pictures that count as the same differ at most.

Measured on 6,000 photographs of COCO at 128 pixels and 1,449 of Pascal VOC: of their 19,046,076 pairs, mirrored or not,
one differs in so few signs, and it shows one scene seconds apart; the closest of unrelated ones differ in 50. Of 600
copies of each type, all are found that are re-encoded with a quality of 30 or 80, at half or double the size, mirrored,
in gray, of another aspect, brighter by a fifth, or at a quarter of the size with a quality of 50; of those cropped by
3 % at each side about half, of those cropped by 6 % hardly any.
"""
_LEAST_CONTRAST = 2.0  # standard deviation, of 255, below which a picture is taken for blank
_BLOCK = 2048  # pictures compared with all others at a time

Smalls = UInt8[np.ndarray, "images 32 32"]
Signs = Float32[np.ndarray, "images 255"]


def is_blank(smalls: Smalls) -> np.ndarray:
    """Which pictures have a single color, but for noise."""
    return smalls.reshape(len(smalls), SIDE * SIDE).std(axis=1) < _LEAST_CONTRAST


def same_pictures(smalls: Smalls) -> Iterator[tuple[int, int, int, bool]]:
    """Pairs of pictures that look the same: their positions, differing signs, and whether one is mirrored.

    Blank ones are never compared. The time grows with the square of the number of pictures: 20,000 take some seconds.
    """
    kept = np.flatnonzero(~is_blank(smalls))
    upright = signs(smalls[kept])
    mirrored = signs(smalls[kept][:, :, ::-1])
    for start in range(0, len(kept), _BLOCK):
        block = upright[start : start + _BLOCK]
        for is_mirrored, others in ((False, upright), (True, mirrored)):
            differing = (SIGNS - block @ others[start:].T) / 2
            rows, columns = np.nonzero(differing <= MOST_SIGNS)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
                if row < column:
                    pair = int(kept[start + row]), int(kept[start + column])
                    yield *pair, int(differing[row, column]), is_mirrored


def signs(smalls: Smalls) -> Signs:
    """Whether each of the lowest frequencies but the mean is above their median: 1 or -1."""
    places = (np.arange(SIDE) + 0.5) * np.pi / SIDE
    transform = np.cos(np.arange(FREQUENCIES)[:, None] * places)
    found = np.empty((len(smalls), SIGNS), np.float32)
    for start in range(0, len(smalls), _BLOCK):
        part = transform @ smalls[start : start + _BLOCK].astype(np.float64) @ transform.T
        waves = part.reshape(len(part), -1)[:, 1:]
        found[start : start + _BLOCK] = np.where(waves > np.median(waves, axis=1, keepdims=True), 1, -1)
    return found


def grouped(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Groups of all that are connected by pairs, ascending."""
    root: dict[int, int] = {}

    def find(node: int) -> int:
        root.setdefault(node, node)
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    for one, other in pairs:
        first, second = sorted((find(one), find(other)))
        root[second] = first
    groups: dict[int, list[int]] = defaultdict(list)
    for node in sorted(root):
        groups[find(node)].append(node)
    return list(groups.values())
