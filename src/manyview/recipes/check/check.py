"""The whole look at a folder of images and label files of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.images import ImageFiles, find_images, image_root
from manyview.images.sources.copies import identical_files
from manyview.images.statistics import draw_sample
from manyview.images.used_bits import describe_depth
from manyview.labels.table import LabelTable
from manyview.options.base import StrPath, among, verb
from manyview.options.check import CheckOptions
from manyview.options.pretrain import SettingsOptions
from manyview.recipes.check import duplicates, findings, labels
from manyview.recipes.check.duplicates import MOST_SIGNS, SIGNS
from manyview.recipes.check.forecast import machine, try_forecast
from manyview.recipes.check.photos import Photo, Unread, look_at
from manyview.recipes.launch import resolve_settings
from manyview.runs import provenance
from manyview.runs.progress import Progress, no_progress

_GROUPS = 1000  # of duplicates, and of unreadable images, that a result lists


@verb(CheckOptions)
def check_images(
    images: StrPath, *, progress: Progress = no_progress, **options: Unpack[CheckOptions]
) -> dict[str, Any]:
    """Look at images, and at labels of them, before a run.

    Args:
        images: folder of images, searched recursively, or shards.
        progress: called with what is done.
        **options: as ``CheckOptions`` declares them.

    Returns:
        "protocol", what was looked at and how; "results": "verdict" ("fine", "spoils" or "stops"), "findings" as
        sentences with their "weight", and what they are made of; and "provenance".

    Raises:
        UserError: there are no images, a label file cannot be read at all, or a setting is wrong.
    """
    config = resolve_settings(images, **among(SettingsOptions, options))
    table = LabelTable(options["label_separator"], options["image_column"], options["label_column"])
    listed = None if config.data.list is None else Path(config.data.list)
    root = image_root(images)
    files = find_images(root, listed, arrays=config.data.bands != "rgb")
    progress(0, len(options["labels"]), "labels")
    names = options["class_names"]
    labeled = [each for file in options["labels"] for each in labels.read_splits(Path(file), root, table, names)]
    chosen = _chosen(files, options["sample"], config.training.seed)
    here = machine(config, Path.cwd())
    photos, unread = look_at(files, chosen, config.data, max(1, here["workers"]), partial(_named, progress, "images"))
    results = _of_images(config, files, photos, unread)
    results |= _of_labels(files, labeled, results)
    expected, refused = None, ""
    if options["pace"] and photos:
        progress(0, 1, "measuring the pace")
        readable = ImageFiles(files.root, (files[photo.index] for photo in photos))
        whole = files if len(chosen) < len(files) else readable
        expected, refused = try_forecast(config, whole, here["workers"])
    results |= {"machine": here, "expected": expected, "refused": refused.rstrip(".")}
    return _judged(config, files, labeled, results, options)


def _named(progress: Progress, phase: str, done: int, total: int) -> None:
    progress(done, total, phase)


def _chosen(files: ImageFiles, sample: int, seed: int) -> list[int]:
    if sample < 2:
        raise UserError(f"sample is {sample}: give the number of images to look at, at least 2")
    return sorted(int(index) for index in draw_sample(len(files), sample, seed=seed))


def _of_images(
    config: PretrainConfig, files: ImageFiles, photos: Sequence[Photo], unread: Sequence[Unread]
) -> dict[str, Any]:
    """What was found of the images alone."""
    smalls = np.stack([photo.small for photo in photos]) if photos else np.zeros((0, 32, 32), np.uint8)
    pairs = list(duplicates.same_pictures(smalls))
    identical = identical_files(files)
    group_of = {index: number for number, group in enumerate(identical) for index in group}
    pictures = _pictures(photos, pairs, group_of)
    mirrored = {photos[each].index for one, other, _, turned in pairs if turned for each in (one, other)}
    blank = np.flatnonzero(duplicates.is_blank(smalls))
    data = config.data
    depth = describe_depth(files, data.bit_depth, max_pixels=data.max_pixels) if data.bands == "rgb" else ""
    return {
        "images": len(files),
        "looked_at": len(photos) + len(unread),
        "bytes": int(np.maximum(files.stats().sizes, 0).sum()),
        "left_out": files.left_out,
        "source": files.note,
        "unreadable": [{"image": files[each.index], "reason": each.reason} for each in unread],
        "formats": _formats(photos),
        "view_size": max(group.size for group in config.views.layout),
        "sizes": _sizes(photos),
        "blank": [files[photos[index].index] for index in blank.tolist()],
        "depth": depth,
        "duplicates": {
            "identical": [{"images": [files[index] for index in group]} for group in identical[:_GROUPS]],
            "same_picture": [
                {"images": [files[index] for index in group], "mirrored": any(index in mirrored for index in group)}
                for group in pictures[:_GROUPS]
            ],
        },
    }


def _pictures(
    photos: Sequence[Photo], pairs: Sequence[tuple[int, int, int, bool]], group_of: Mapping[int, int]
) -> list[list[int]]:
    """Groups of images that look the same without being the same files."""
    indices = [(photos[one].index, photos[other].index) for one, other, *_ in pairs]
    others = [pair for pair in indices if group_of.get(pair[0], -1) != group_of.get(pair[1], -2)]
    return duplicates.grouped(others)


def _formats(photos: Sequence[Photo]) -> list[dict[str, Any]]:
    counts = Counter((photo.format, photo.channels, photo.bits) for photo in photos)
    keys = ("format", "channels", "bits", "images")
    return [dict(zip(keys, (*what, count), strict=True)) for what, count in counts.most_common()]


def _sizes(photos: Sequence[Photo]) -> dict[str, Any]:
    """Lowest, median and highest width, height and shorter side, and all shorter sides counted."""
    if not photos:
        return {}
    sides = np.array([(photo.width, photo.height) for photo in photos])
    shown = {"width": sides[:, 0], "height": sides[:, 1], "shorter side": sides.min(axis=1)}
    limits = {
        name: {"lowest": int(each.min()), "median": float(np.median(each)), "highest": int(each.max())}
        for name, each in shown.items()
    }
    # Eight bars, each of sides by the same factor larger.
    edges = np.unique(np.round(np.geomspace(max(sides.min(), 1), sides.min(axis=1).max() + 1, 9)).astype(int))
    edges = edges if len(edges) > 1 else np.array([edges[0], edges[0] + 1])
    counts, _ = np.histogram(sides.min(axis=1), edges)
    bars = [
        {"from": int(low), "below": int(high), "images": int(count)}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    return {**limits, "shorter sides": bars}


def _of_labels(files: ImageFiles, labeled: Sequence[labels.Labeled], results: Mapping[str, Any]) -> dict[str, Any]:
    """What was found of the label files, and of images that two of them share."""
    return {
        "labels": [
            {
                "file": each.file,
                "images": len(each.names),
                "unlabeled": each.unlabeled,
                "objects": each.objects,
                "classes": each.counts,
                "problems": list(each.problems),
                "notes": list(each.notes),
            }
            for each in labeled
        ],
        "not_named": labels.not_named(files, labeled) if labeled else 0,
        "leaks": [_leak(one, other, results["duplicates"]) for one, other in combinations(labeled, 2)],
    }


def _leak(one: labels.Labeled, other: labels.Labeled, groups: Mapping[str, Any]) -> dict[str, Any]:
    """Images of one label file that are in the other one, too, or are copies of some there."""
    first, second = set(one.names), set(other.names)
    both = first & second
    found: dict[str, Any] = {"files": [one.file, other.file], "named_in_both": sorted(both)}
    for key in ("identical", "same_picture"):
        found[key] = [
            [next(name for name in group["images"] if name in first - both), match]
            for group in groups[key]
            for match in group["images"]
            if match in second - both and any(name in first - both for name in group["images"])
        ]
    return found


def _judged(
    config: PretrainConfig,
    files: ImageFiles,
    labeled: Sequence[labels.Labeled],
    results: dict[str, Any],
    options: CheckOptions,
) -> dict[str, Any]:
    found = [
        *findings.of_images(results, config.data.max_bad_fraction),
        *findings.of_labels(labeled, results),
        *findings.of_machine(results),
    ]
    weights = {each.weight for each in found}
    verdict = next((weight for weight in (findings.STOPS, findings.SPOILS) if weight in weights), "fine")
    order = [findings.STOPS, findings.SPOILS, findings.NOTE]
    ranked = sorted(found, key=lambda each: order.index(each.weight))
    results["unreadable"] = results["unreadable"][:_GROUPS]
    protocol = {
        "kind": "look at images before a run",
        "images": str(files.root),
        "labels": [each.file for each in labeled],
        "sample": options["sample"],
        "recipe": config.recipe,
        "backbone": config.backbone.name,
        "view_size": config.views.layout[0].size,
        "batch_size": config.training.batch_size,
        "same_picture": f"at most {MOST_SIGNS} of {SIGNS} signs of low frequencies differ, mirrored or not",
    }
    return {
        "protocol": protocol,
        "results": {"verdict": verdict, "findings": [each._asdict() for each in ranked], **results},
        "provenance": provenance(),
    }
