"""Nearest-neighbor retrieval of images or blocks with frozen features."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from manyview.backbones import load_backbone
from manyview.config.resolve import nearest_name
from manyview.errors import UserError, require, require_seed
from manyview.evaluation.features.backbone import bands
from manyview.evaluation.features.extract import FeatureSettings
from manyview.evaluation.input_size import input_size
from manyview.evaluation.neighbours.index import Nearest, Part, Vectors
from manyview.evaluation.neighbours.sources import BLOCKS, Extracted, FeatureSource, Stored
from manyview.images import find_images, image_root
from manyview.options.base import StrPath, among, recorded, select, verb
from manyview.options.shared import Normalization
from manyview.options.unlabeled import NeighboursOptions
from manyview.runs import provenance
from manyview.runs.progress import Progress, no_progress

KIND = "nearest neighbours by a frozen backbone's features"
_FEW_NAMES = 10_000  # up to so many names, a similar one is suggested


@dataclass(frozen=True, slots=True)
class Wanted:
    """Settings of a search; checked when made.

    Attributes:
        names: query images, relative to the folder; none: queries are drawn.
        drawn: number of drawn queries.
        k: neighbors of each query.
        blocks: compare the four blocks of each query with blocks.
        seed: of the draw.

    Raises:
        UserError: if a value is out of range.
    """

    names: tuple[str, ...]
    drawn: int
    k: int
    blocks: bool
    seed: int

    def __post_init__(self) -> None:
        require(self.drawn >= 1, f"queries must be at least 1, not {self.drawn}")
        require(self.k >= 1, f"k must be at least 1, not {self.k}")
        require_seed(self.seed)


@verb(NeighboursOptions)
def nearest_neighbours(
    weights: StrPath, *, progress: Progress = no_progress, **options: Unpack[NeighboursOptions]
) -> dict[str, Any]:
    """Find the nearest images of query images by the cosine of their features.

    With ``blocks``, the paper's four blocks of each query (overlap .2, Section 3.1), each warped to S x S, are compared
    with the blocks of all other images. Images are processed in batches, and only the nearest are kept. Unreadable
    images are left out and named in the result.

    Args:
        weights: run folder or checkpoint file.
        progress: called as work goes on.
        **options: as ``NeighboursOptions`` declares them.

    Returns:
        Plain data: "protocol" (all that the figures depend on), "results" (an entry a query: "image" and "neighbours",
        the nearest first, each with "image" and "cosine"; with blocks, queries and neighbours have "block", such as
        "top left", and "box": left, top, right, bottom in pixels), "skipped" (names of unreadable images, with the
        reason), "left_out" (files of other formats, as a sentence), "provenance".

    Raises:
        UserError: if a setting is out of range, the weights, the images or the file of features cannot be used, a query
            is not among the images or cannot be read, or there are fewer than two images.
    """
    start, origin = time.perf_counter(), provenance()
    wanted = select(Wanted, options, names=tuple(options["query"]), drawn=options["queries"])
    source = _source(Path(weights), options)
    skipped: dict[str, str] = {}
    found = _search(source, wanted, skipped, progress)
    return {
        "protocol": {
            "kind": KIND,
            **source.protocol,
            "similarity": "cosine, in float64",
            "compared": "blocks of different photographs" if wanted.blocks else "whole photographs",
            "ties": "of equally near ones the first by name",
            **recorded(NeighboursOptions, options),
            "photographs": len(source.files) - len(skipped),
            "queries": "named" if wanted.names else "drawn",
        },
        "results": found,
        "skipped": skipped,
        "left_out": source.files.left_out,
        "provenance": {**origin, "seconds": round(time.perf_counter() - start, 1)},
    }


def _source(weights: Path, options: NeighboursOptions) -> FeatureSource:
    """The source of the features; a ``UserError`` if settings, weights, images or the file cannot be used."""
    pool, size = options["pool"], options["size"]
    side = input_size(weights, size).side
    made = select(FeatureSettings, options, pool="gamp" if pool is None else pool, size=side)
    images, names, features = image_root(options["images"]), options["list"], options["features"]
    if features is None:
        network = load_backbone(weights, options["backbone"], **among(Normalization, options))
        files = find_images(images, None if names is None else Path(names), arrays=bands(network) != "rgb")
        return Extracted(weights, network, files, made, options["blocks"])
    require(not options["blocks"], "a file of features holds whole images: leave out features, or blocks")
    given = [name for name, value in among(Normalization, options).items() if value is not None]
    require(not given, f"the features of a file are made already: leave out {' and '.join(given)}, or features")
    require(names is None, "the images searched are those of the file of features: leave out list")
    return Stored(Path(features), images, weights, pool, size)


def _search(source: FeatureSource, wanted: Wanted, skipped: dict[str, str], progress: Progress) -> list[dict[str, Any]]:
    """The neighbors of all queries, as plain data; adds unreadable images to ``skipped``."""
    files = source.files
    require(len(files) >= 2, f"{source.where} holds one image: at least two are needed")
    queries = _named(source, wanted.names) if wanted.names else _drawn(source, wanted.drawn, wanted.seed)
    nearest = Nearest(queries, wanted.k)
    done, phase = 0, "images"
    progress(done, len(files), phase)
    for batch in source.batches(range(len(files))):
        skipped |= {files[item.index]: item.reason for item in batch.unreadable}
        if batch.vectors is not None:
            nearest.add(batch.vectors)
        done += len(batch.read) + len(batch.unreadable)
        progress(done, len(files), phase)
    require(bool(nearest.of(0)), f"only one image of {source.where} can be read: at least two are needed")

    def entry(part: Part) -> dict[str, Any]:
        block = {"block": BLOCKS[part.number], "box": list(part.box)} if wanted.blocks else {}
        return {"image": files[part.image], **block}

    return [
        entry(queries.part(number))
        | {"neighbours": [{**entry(part), "cosine": cosine} for part, cosine in nearest.of(number)]}
        for number in range(len(queries.values))
    ]


def _named(source: FeatureSource, names: Sequence[str]) -> Vectors:
    """Features of named images, in the order of the names."""
    index_of = {name: index for index, name in enumerate(source.files)}
    wanted = list(dict.fromkeys(posixpath.normpath(name) for name in names))
    absent = next((name for name in wanted if name not in index_of), None)
    if absent is not None:
        near = nearest_name(absent, list(index_of)) if len(index_of) <= _FEW_NAMES else ""
        hint = near if near.startswith("; did you mean") else f"; names are relative to {source.files.root}"
        raise UserError(f"there is no image {absent} in {source.where}{hint}")
    found, unread = _of(source, [index_of[name] for name in wanted])
    if unread:
        index, reason = next(iter(unread.items()))
        raise UserError(f"the query {source.files.path(index)} cannot be read ({reason}): name another")
    return _joined([found[index_of[name]] for name in wanted])


def _drawn(source: FeatureSource, count: int, seed: int) -> Vectors:
    """Features of readable images drawn by the seed."""
    order = np.random.default_rng(seed).permutation(len(source.files)).tolist()
    found: dict[int, Vectors] = {}
    unread: dict[int, str] = {}
    while len(found) < count and order:
        missing = count - len(found)
        tried, order = order[:missing], order[missing:]
        read, others = _of(source, tried)
        found |= {index: read[index] for index in tried if index in read}
        unread |= others
    if not found:
        index, reason = next(iter(unread.items()))
        raise UserError(
            f"none of the {len(unread):,} images of {source.where} can be read, such as "
            f"{source.files[index]} ({reason})"
        )
    return _joined(list(found.values()))


def _of(source: FeatureSource, indices: Sequence[int]) -> tuple[dict[int, Vectors], dict[int, str]]:
    """Features of images by index, and reasons for the unreadable ones."""
    found: dict[int, Vectors] = {}
    unread: dict[int, str] = {}
    for batch in source.batches(indices):
        unread |= {item.index: item.reason for item in batch.unreadable}
        if batch.vectors is not None:
            vectors = batch.vectors
            for index in batch.read:
                own = vectors.parts[:, 0] == index
                found[index] = Vectors(vectors.values[own], vectors.parts[own])
    return found, unread


def _joined(vectors: Sequence[Vectors]) -> Vectors:
    return Vectors(np.concatenate([each.values for each in vectors]), np.concatenate([each.parts for each in vectors]))
