"""A data set's YAML file, as Ultralytics, Roboflow and others write it: images of each split, and names of classes.

``path`` is the folder that ``train``, ``val`` and ``test`` are relative to, each a folder of images, a ``.txt`` with
one image a line, or a list of such (https://docs.ultralytics.com/datasets/detect/). The labels of an image stand in the
``.txt`` of its name, in ``labels`` where its path has ``images``, or beside it.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.errors import UserError, first_few
from manyview.images import find_images
from manyview.images.name_forms import stem
from manyview.labels.paths import numbered_lines, quoted
from manyview.labels.yolo.names import DATA_ENDINGS, SPLITS, Names, key_points, load_yaml, named_in

_LIST = ".txt"
_OTHER_NAMES = {"val": ("val", "valid", "validation")}
_UPWARD = re.compile(r"^(\./|\.\./)+")
_TRIED = 20  # lines of a list by which its folder is found


def is_data_file(path: Path) -> bool:
    """Whether a label file has the extension of a YAML file."""
    return path.suffix.lower() in DATA_ENDINGS and not path.is_dir()


@dataclass(frozen=True)
class DataFile:
    """The content of a data set's YAML file.

    Attributes:
        file: the YAML file.
        base: folder of the data set, as written; empty for that of the file.
        written: of each split that the file has, its folders and lists of images, as written.
        names: of the classes by number, ascending; None where there are none.
        key_points: numbers of key points behind each box; None for none.
    """

    file: Path
    base: str
    written: Mapping[str, tuple[str, ...]]
    names: Names | None
    key_points: int | None

    @classmethod
    def read(cls, file: Path) -> DataFile:
        """Read a YAML file; no image is looked for yet.

        Raises:
            UserError: it is missing, no YAML, or has another layout.
        """
        content = load_yaml(file)
        if not isinstance(content, dict):
            raise UserError(f"{file} must have names of classes and folders of images as train and val")
        base = content.get("path") or ""
        if not isinstance(base, str):
            raise UserError(f"{file} must have as path the folder of the data set")
        splits = {split: _locations(content, split, file) for split in SPLITS}
        written = {split: where for split, where in splits.items() if where}
        if not written:
            raise UserError(f"{file} names no images: it must have folders or lists of images as train and val")
        names = named_in(content, file) if content.get("names") else None
        return cls(file, base, written, names, key_points(content, file))

    def images(self, split: str) -> list[str]:
        """Absolute paths of the images of a split, each once, in the order of its folders and lists.

        Raises:
            UserError: the file has no such split, or there is no such folder or list, or no image in it.
        """
        found: dict[str, None] = {}
        for where in self._located(split):
            if where.is_dir():
                found.update(dict.fromkeys(f"{where}/{name}" for name in find_images(where, arrays=True)))
            else:
                found.update(dict.fromkeys(self._listed(where)))
        return list(found)

    def label_files(self, split: str) -> list[tuple[str, Path | None]]:
        """Each image of a split with its label file; None where it has none, and so shows nothing.

        Raises:
            UserError: as ``images`` does, or no image has a label file.
        """
        images = self.images(split)
        found = [(image, _label_file(image)) for image in images]
        if not any(label for _, label in found):
            raise UserError(
                f"none of the {len(images):,} images of {split} in {self.file} has a label file: that of {images[0]} "
                f"would be {_label_paths(images[0])[0]}"
            )
        return found

    def has_labels(self, split: str) -> bool:
        """Whether there are images of a split, and label files of some."""
        try:
            return bool(self.label_files(split))
        except UserError:
            return False

    @functools.cached_property
    def root(self) -> Path:
        """The innermost folder that holds the images of all splits that are there.

        Raises:
            UserError: none is there.
        """
        folders: set[str] = set()
        for split in self.written:
            try:
                for where in self._located(split):
                    folders |= {str(where)} if where.is_dir() else set(map(os.path.dirname, self._listed(where)))
            except UserError:
                if len(self.written) == 1:
                    raise
        if not folders:
            self._located(next(iter(self.written)))
        return Path(os.path.commonpath(folders))

    def shown(self, path: Path) -> str:
        """A path of the data set for messages, relative to the YAML file's folder where it is below it."""
        below = os.path.relpath(path, os.path.abspath(self.file.parent))  # noqa: PTH100 - no links
        return str(path) if below.startswith("..") else below

    def _located(self, split: str) -> list[Path]:
        """Folders and lists of a split, as absolute paths."""
        if split not in self.written:
            has = " and ".join(self.written)
            raise UserError(f"{self.file} names no images as {split}, only as {has}: add the folder of its images")
        return [self._locate(text, split) for text in self.written[split]]

    def _locate(self, text: str, split: str) -> Path:
        plain = text.replace("\\", "/").rstrip("/") or "/"
        candidates = ((base, plain[start:]) for base, start in self._bases_and_starts(plain))
        # Of another machine's path the last part alone counts only if it is called like the split, and not "images".
        likely = (each for each in candidates if each[1] == plain or "/" in each[1] or split in each[1].lower())
        tried = list(dict.fromkeys(os.path.normpath(os.path.join(*each)) for each in likely))  # noqa: PTH118
        for path in tried:
            if os.path.isdir(path) or (path.lower().endswith(_LIST) and os.path.isfile(path)):  # noqa: PTH112, PTH113
                return Path(path)
        raise UserError(
            f"{self.file} has {quoted(text)} as {split}, but there is no {first_few(tried)}: correct {split} or path "
            "in it"
        )

    def _bases_and_starts(self, path: str, *first: str) -> Iterator[tuple[str, int]]:
        """Folders that a path may be relative to, each with how many of its first characters to leave out there.

        These are none, as written; those of ``../``, as Roboflow writes for what lies beside the file; and, below the
        file's folder, those of any folders, as in a data set that was moved from another machine.
        """
        here = os.path.abspath(self.file.parent)  # noqa: PTH100 - no links
        upward = _UPWARD.match(path)
        for base in (*first, *self._bases(here)):
            yield base, 0
            if upward:
                yield base, upward.end()
        yield from ((here, slash.end()) for slash in re.finditer("/", path))

    def _bases(self, here: str) -> list[str]:
        """Folders that locations may be relative to."""
        if not self.base:
            return [here]
        base, working = self.base.replace("\\", "/"), os.getcwd()  # noqa: PTH109
        parents = (here, working, os.path.join(working, "datasets"))  # noqa: PTH118 - the last is Ultralytics' own
        return [*(os.path.join(parent, base) for parent in parents), here]  # noqa: PTH118

    def _listed(self, file: Path) -> list[str]:
        """Absolute paths of the images of a list."""
        lines = [line.replace("\\", "/") for _, line in numbered_lines(file)]
        if not lines:
            raise UserError(f"{file} names no images")
        bases = str(file.parent), os.getcwd()  # noqa: PTH109
        for line in lines[:_TRIED]:  # others may be missing, which is reported of each
            for base, start in self._bases_and_starts(line, *bases):
                if os.path.isfile(os.path.join(base, line[start:])):  # noqa: PTH113, PTH118
                    rest = (each.removeprefix(line[:start]) for each in lines)
                    return [os.path.normpath(os.path.join(base, each)) for each in rest]  # noqa: PTH118
        raise UserError(
            f"{file} names {lines[0]}, which is missing: names must be relative to its folder, or that of {self.file}"
        )


def _locations(content: Mapping[str, Any], split: str, file: Path) -> tuple[str, ...]:
    """Folders and lists of a split, as written; none if there are none."""
    names = _OTHER_NAMES.get(split, (split,))
    value = next((content[name] for name in names if content.get(name)), ())
    locations: Sequence[Any] = (value,) if isinstance(value, str) else value
    if not isinstance(locations, list | tuple) or not all(isinstance(each, str) and each for each in locations):
        raise UserError(f"{file} must have as {split} a folder of images, a .txt that lists images, or a list of such")
    return tuple(locations)


def _label_paths(image: str) -> list[str]:
    head, inside, tail = image.rpartition("/images/")
    beside = f"{stem(image)}.txt"
    return [f"{head}/labels/{stem(tail)}.txt", beside] if inside else [beside]


def _label_file(image: str) -> Path | None:
    return next((Path(path) for path in _label_paths(image) if os.path.isfile(path)), None)  # noqa: PTH113
