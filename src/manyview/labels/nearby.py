"""Folders and files that would do, where those that were given as labels or images do not: the ends of messages."""

from __future__ import annotations

import os
import posixpath
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from manyview.images import ImageRoot
from manyview.images.formats import extensions, holds_copies
from manyview.images.name_forms import leads_outside
from manyview.images.sources.collection import Collection
from manyview.labels.problems import OfImage
from manyview.labels.yolo.names import data_files

_SAMPLE = 12  # images that must all be in a folder
_USUAL = 0.2  # share of the images that a folder of labels has, unless it holds something else
_MOST_FOUND = 0.9  # share of the images
_DEEPEST = 3  # levels below a folder that is searched
_MOST = 100_000  # entries of folders that are looked at
_UP = 3  # levels above the given folders that are searched
_SUGGESTED = 2
_COUNTERPARTS = (("images", "labels"), ("JPEGImages", "Annotations"))
_LABELS_IN = ("ImageSets/Main/trainval.txt", "ImageSets/Main/train.txt", "Annotations", "labels/train", "labels")


def nearby_images(entries: Sequence[OfImage], found: int, root: ImageRoot, labels: Path, *, by_stem: bool) -> str:
    """Where images that are not in the given folder are, as the end of a sentence; empty if they are nowhere near.

    Args:
        entries: of all images, as the labels name them.
        found: how many of them are in the folder; if most are, no other is looked for.
        root: the given folder.
        labels: the given label file or folder.
        by_stem: whether names lack the extension.
    """
    names = [entry.image for entry in entries] if found < _MOST_FOUND * len(entries) else []
    inside = [posixpath.normpath(name) for name in names if not leads_outside(name)]
    counts = Counter(map(posixpath.dirname, inside))
    usual = [name for name in inside if counts[posixpath.dirname(name)] >= _USUAL * len(inside)]
    if isinstance(root, Collection) or not usual:
        return ""
    folders = list(_folders(root, labels))
    leading = posixpath.dirname(usual[0]).split("/") if by_stem and labels.is_dir() and "/" in usual[0] else []
    for stripped in range(len(leading) + 1):
        prefix = "".join(f"{part}/" for part in leading[:stripped])
        below = [name.removeprefix(prefix) for name in usual if name.startswith(prefix)]
        sample = below[:: -(-len(below) // _SAMPLE)]
        if stripped == 1 and (described := _described_above(labels)):
            return f"; {shown(described)} says which images and labels belong together: give it as the labels"
        images = next((each for each in folders if all(_holds(each, name, by_stem) for name in sample)), None)
        if images == folders[0] and not prefix:  # that was given, in which only some are missing
            return ""
        if images is not None:
            return _advice(Path(images), root, labels / prefix if prefix else None)
    return ""


def _advice(images: Path, root: Path, labels: Path | None) -> str:
    if labels is None:
        return f"; they are in {shown(images)}: give that as the folder of images"
    if os.path.abspath(images) == os.path.abspath(root):  # noqa: PTH100
        return f"; those in {shown(labels)} fit: give that as the labels"
    return f"; the labels in {shown(labels)} fit the images in {shown(images)}: give both"


def nearby_labels(path: Path, fits: Callable[[Path], bool]) -> str:
    """Labels near a folder that has none, as the end of a sentence; empty if there are none.

    Args:
        path: the folder that was given as labels.
        fits: whether a file or folder has labels.
    """
    found: list[str] = []
    for candidate in _label_candidates(path):
        if candidate != path and candidate.exists() and fits(candidate) and shown(candidate) not in found:
            found.append(shown(candidate))
            if len(found) == _SUGGESTED or candidate.suffix.lower() in (".yaml", ".yml"):
                break
    return f"; {' or '.join(found)} would do" if found else ""


def _label_candidates(path: Path) -> Iterator[Path]:
    """What may hold the labels that a folder lacks, the likeliest first."""
    near = [path, *list(path.absolute().parents)[:2]]
    for folder in near:
        yield from data_files(folder)
    yield from counterparts(path, to_labels=True)
    for folder in near[:2]:
        yield from (folder / name for name in _LABELS_IN)
        for below in (folder, folder / "annotations"):
            yield from sorted(
                (each for each in below.glob("*") if each.suffix.lower() in (".json", ".csv")),
                key=lambda each: ("train" not in each.name, "instances" not in each.name, each.name),
            )
    yield from sorted(path.glob("*/labels"))
    yield from sorted(path.glob("*/ImageSets/Main/train*.txt"))


def counterparts(path: Path, *, to_labels: bool) -> Iterator[Path]:
    """The folders of labels that go with a folder of images by the names of usual layouts, or the other way round."""
    parts = path.absolute().parts
    for images, labels in _COUNTERPARTS:
        one, other = (images, labels) if to_labels else (labels, images)
        places = [index for index, part in enumerate(parts) if part == one]
        for index in reversed(places):
            yield Path(*parts[:index], other, *parts[index + 1 :])


def shown(path: Path) -> str:
    """A path for a message: relative to the working directory where it is below it."""
    below = os.path.relpath(path)
    return os.path.abspath(path) if below.startswith("..") else below  # noqa: PTH100


def _described_above(labels: Path) -> Path | None:
    """A data set's YAML file in a folder or up to two levels above it."""
    folders = (labels, *list(labels.absolute().parents)[:2])
    return next((file for folder in folders for file in data_files(folder)), None)


def _folders(root: Path, labels: Path) -> Iterator[str]:
    """Folders below and around the given ones, the nearest first."""
    where, from_labels = root.absolute(), labels.absolute()
    around = [*list(where.parents)[:_UP], *list(from_labels.parents)[:_UP]]
    tops = [where, *(each for each in counterparts(labels, to_labels=False)), *around]
    seen: set[str] = set()
    left = _MOST
    for top in dict.fromkeys(map(str, tops)):
        if top == os.path.abspath(os.sep) or top in seen:  # noqa: PTH100
            continue
        waiting = deque([(top, 0)])
        while waiting and left > 0:
            folder, depth = waiting.popleft()
            if folder in seen:
                continue
            seen.add(folder)
            yield folder
            names = _below(folder)
            left -= len(names)
            if depth < _DEEPEST:
                waiting += [(name, depth + 1) for name in names if name]


def _below(folder: str) -> list[str]:
    """Paths of a folder's folders, in the order of their names, and "" for every other entry."""
    try:
        with os.scandir(folder) as listing:
            entries = [
                entry.path if entry.is_dir() and not entry.name.startswith(".") and not holds_copies(entry.name) else ""
                for entry in listing
            ]
    except OSError:
        return []
    return sorted(entries)


def _holds(folder: str, name: str, by_stem: bool) -> bool:
    path = f"{folder}/{name}"
    if not by_stem:
        return os.path.isfile(path)  # noqa: PTH113
    endings = extensions(arrays=True)
    return any(os.path.isfile(path + form) for each in endings for form in (each, each.upper()))  # noqa: PTH113
