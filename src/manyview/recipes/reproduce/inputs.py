"""Images and labels of a table: what pre-training sees, and what evaluations measure on."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from manyview.errors import UserError, require
from manyview.images import ImageFiles, find_images, image_root
from manyview.images.sources.root import absolute_root, is_there
from manyview.labels import LabelTable, read_labels
from manyview.options.base import StrPath, among
from manyview.options.reproduce import ReproduceOptions
from manyview.options.shared import CsvLayout
from manyview.runs import atomic_write, sha256

LIST_FILE = "images"


@dataclass(frozen=True)
class LabelSources:
    """Labeled images of an evaluation.

    Attributes:
        images: folder of the training images, or shards that hold them.
        train_labels: their labels.
        val_labels: labels of the validation images.
        val_images: folder or shards of the validation images, if others.
        layout: columns and separator of labels of CSV files, or the file that names the classes of others, as options.
    """

    images: Path
    train_labels: Path
    val_labels: Path
    val_images: Path | None = None
    layout: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, str]:
        """As options of an evaluation, with absolute paths."""
        paths = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "layout"}
        # The images may be shards behind an address.
        return {name: absolute_root(path) for name, path in paths.items() if path is not None} | dict(self.layout)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the label files, wherever they lie; read once, as COCO's have hundreds of megabytes."""
        said = dict(self.layout)
        if "class_names" in said:
            said["class_names"] = digest_of(Path(said["class_names"]))
        read_as = json.dumps(said, sort_keys=True) if said else ""
        return "".join(digest_of(file) for file in (self.train_labels, self.val_labels)) + read_as


@dataclass(frozen=True)
class Inputs:
    """Everything that the runs and evaluations of a table read.

    Attributes:
        files: images that pre-training sees.
        all_of_folder: whether they are all of the folder, so that runs need no list.
        train_labels: labels for methods that learn from labels, and for norms of random init.
        labeled: images and labels of evaluations by name; "" for those of the runs.
        weights: weights of others by name.
        chosen: what the images are, in words.
    """

    files: ImageFiles
    all_of_folder: bool
    train_labels: Path | None
    labeled: Mapping[str, LabelSources]
    weights: Mapping[str, Path]
    chosen: str

    @property
    def layout(self) -> dict[str, str]:
        """How the training labels are read, as settings of runs."""
        sources = self.labeled.get("")
        return {} if sources is None else {f"data.{name}": value for name, value in sources.layout.items()}

    @property
    def images(self) -> str:
        """Absolute path of the folder of the images that pre-training sees, or the pattern or address of shards."""
        return absolute_root(str(self.files.root))

    def list_file(self, out: Path) -> Path | None:
        """File with the names of the images within the table's folder; None for all of the folder."""
        if self.all_of_folder:
            return None
        ending = "csv" if any("\n" in name for name in self.files) else "txt"  # of which a line is a name
        return out / f"{self.digest}-{LIST_FILE}.{ending}"

    def write_list(self, out: Path) -> None:
        """Write ``list_file`` unless it exists."""
        file = self.list_file(out)
        if file is not None and not file.is_file():
            names = "".join(f"{name}\n" for name in self.files)
            if file.suffix == ".csv":
                text = io.StringIO()
                csv.writer(text).writerows([["image"], *([name] for name in self.files)])
                names = text.getvalue()
            atomic_write(file, names)

    @functools.cached_property
    def digest(self) -> str:
        """Of the names of the images, in their order."""
        return hashlib.sha256("\n".join(self.files).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def read_inputs(options: ReproduceOptions, *, with_objects: bool) -> Inputs:
    """Find the images and labels.

    Args:
        options: of ``reproduce``.
        with_objects: pre-train only on images in which the training labels have an object, as of COCO's train2017 the
            paper takes 117,266 of 118,287 (Section 4.1).

    Raises:
        UserError: a folder or file is missing or malformed, or labels are given by halves.
    """
    images = Path(options["images"])
    train, val = (
        None if options[name] is None else Path(str(options[name])) for name in ("train_labels", "val_labels")
    )
    require(
        (train is None) == (val is None), "--train-labels and --val-labels go together: give both, or neither of them"
    )
    said = {**among(CsvLayout, options), "class_names": options["class_names"]}
    given = {name: str(value) for name, value in said.items() if value is not None}
    if "class_names" in given:
        given["class_names"] = str(Path(given["class_names"]).absolute())
    labeled = {name: _sources(name, paths, given) for name, paths in (options["data"] or {}).items()}
    if train is not None and val is not None:
        val_images = options["val_images"]
        val_folder = None if val_images is None else Path(val_images)
        labeled[""] = LabelSources(images, train, val, val_folder, _layout(train, given))
    _require_use(given, labeled.values())
    weights = {name: Path(path) for name, path in (options["weights"] or {}).items()}
    for name, path in weights.items():
        require(path.exists(), f"--weights {name}: there is no file or folder {path}")
    files, everything, chosen = _pretraining_images(
        images, options["list"], train, _layout(train, given), with_objects=with_objects
    )
    return Inputs(files, everything, train, labeled, weights, chosen)


def _pretraining_images(
    images: Path, listed: StrPath | None, train: Path | None, layout: Mapping[str, str], *, with_objects: bool
) -> tuple[ImageFiles, bool, str]:
    """The images that pre-training sees, whether those are all of the folder, and what they are in words."""
    if listed is not None:
        return find_images(images, Path(listed)), False, f"those of {Path(listed).name}"
    if train is None:
        require(
            not with_objects,
            "this scale pre-trains on images with an object in the labels: give --train-labels, or --list",
        )
        return find_images(images), True, "all of the folder"
    names = labeled_images(train, images, layout, with_objects=with_objects)
    words = f"those with an object in {train.name}" if with_objects else f"those of {train.name}"
    return ImageFiles(image_root(images), sorted(names, key=os.fsencode)), False, words


def labeled_images(
    labels: Path, images: Path, layout: Mapping[str, str] | None = None, *, with_objects: bool
) -> list[str]:
    """Names of the images that labels of any format name, in their order.

    Args:
        labels: file or folder, as ``read_labels`` takes it.
        images: folder that the names are relative to.
        layout: how the labels are read, as options.
        with_objects: only those with an object, crowds and difficult ones included.

    Raises:
        UserError: the labels cannot be used, or no image has an object.
    """
    layout = layout or {}
    read = read_labels(
        labels, images, difficult="positive", table=LabelTable.of(layout), class_names=layout.get("class_names")
    )
    shown = read.targets.sum(axis=1)
    return [name for name, count in zip(read.names, shown, strict=True) if count or not with_objects]


def _layout(labels: Path | None, given: Mapping[str, str]) -> dict[str, str]:
    """What is said of CSV files, for labels that are one; else the file that names the classes."""
    is_csv = labels is not None and labels.suffix.lower() == ".csv"
    return {name: value for name, value in given.items() if labels is not None and is_csv == (name != "class_names")}


def _require_use(given: Mapping[str, str], labeled: Iterable[LabelSources]) -> None:
    """Refuse options on the reading of labels that apply to none of them."""
    used = {name for each in labeled for name in each.layout}
    for name in given:
        flag, form = ("--names", "YOLO's") if name == "class_names" else (f"--{name.replace('_', '-')}", "CSV")
        require(name in used, f"{flag} has no effect, as no labels in {form} format are given; leave it out")


def _sources(name: str, paths: Sequence[StrPath], given: Mapping[str, str]) -> LabelSources:
    """Further images and labels, as given."""
    if len(paths) not in (3, 4):
        raise UserError(
            f"--data {name}: give a folder of images, training labels and validation labels, and after them the folder "
            "of the validation images if it is another, separated by commas"
        )
    found = [Path(path) for path in paths]
    images, train, val, *val_images = found
    for path in found:
        there = is_there(path) if path in (images, *val_images) else path.exists()
        require(there, f"--data {name}: there is no file or folder {path}")
    return LabelSources(images, train, val, val_images[0] if val_images else None, _layout(train, given))


def digest_of(file: Path) -> str:
    """Of a label file's bytes; of a folder of labels, its path."""
    return sha256(file) if file.is_file() else hashlib.sha256(str(file.absolute()).encode()).hexdigest()
