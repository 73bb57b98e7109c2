"""Reads image labels and objects from Pascal VOC's XML annotations and the lists of its ImageSets/Main.

A list names the images of a split, or gives for one class 1, 0 (difficult) or -1 to each. A box's corners are the
numbers, from 1, of the first and the last pixel that it includes (VOC 2007 development kit,
http://host.robots.ox.ac.uk/pascal/VOC/voc2007/devkit_doc_07-Jun-2007.pdf). So it begins at the edge xmin - 1 and ends
at the edge xmax.
"""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from manyview.errors import UserError
from manyview.images.formats import named_like_an_image
from manyview.images.name_forms import NameForms, leads_outside, stem
from manyview.labels.entries import (
    CORNERS,
    Contents,
    DetectionContents,
    Entry,
    LabeledBox,
    LabeledImage,
    LabeledObject,
    LabelFiles,
    LabelFormat,
    LabelReader,
    ObjectReader,
    occurring,
)
from manyview.labels.paths import find_files, numbered_lines, quoted
from manyview.labels.problems import AnyEntry, Malformed, Problem
from manyview.labels.yolo import are_yolo, is_object

Values = dict[str, tuple[int, int]]
"""Line and value of each image of a list."""

_XML, _LIST = ".xml", ".txt"
_FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}
_VALUES = {"-1": -1, "0": 0, "1": 1}
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_LABELS = "a Pascal VOC annotation is <annotation> with <object>, each with <name> and perhaps <difficult> 0 or 1"
_OBJECTS = (
    "a Pascal VOC annotation is <annotation> with <object>, each with <name>, <bndbox> of <xmin>, <ymin>, <xmax> and "
    "<ymax>, and perhaps <difficult> 0 or 1"
)
_LINE = "a line has an image and 1 where it shows the class, 0 where only as a difficult object, else -1"


# XML files.


class _Source(NamedTuple):
    """An annotation: its location in the label file, its image as named there, and the XML file."""

    where: str
    image: str
    path: Path

    @property
    def location(self) -> str:
        """Location of a fault; for a listed annotation, whose ``where`` is a line of the list, with the XML's name."""
        if self.where.endswith(self.path.name):
            return self.where
        return f"{self.where} names {self.image}, whose {self.path.name}"


def _in_folder(files: LabelFiles) -> list[_Source]:
    return [_Source(name, stem(name), files.path / name) for name in files.names or ()]


def _listed(lines: Sequence[tuple[int, str]], folder: Path) -> list[_Source]:
    """The annotations of the images that a list names, in its order."""
    forms = NameForms(folder, stems=True, endings=frozenset({_XML}))
    return [_Source(f"line {number}", line, _annotation_of(line, folder, forms)) for number, line in lines]


def _annotations_beside(file: Path) -> Path | None:
    """The folder ``Annotations`` beside a list or up to two levels above it."""
    folders = [parent / "Annotations" for parent in list(file.absolute().parents)[:3]]
    return next((folder for folder in folders if folder.is_dir()), None)


def _annotation_of(image: str, folder: Path, forms: NameForms) -> Path:
    """Path of an image's annotation; some lists name images with their extension, or by paths from elsewhere."""

    def exact(name: str) -> list[str]:
        return [f"{name}{_XML}"] if os.path.lexists(folder / f"{name}{_XML}") else []

    slashed = image.replace("\\", "/")
    inside = posixpath.basename(slashed) if leads_outside(slashed) else image
    found = forms.find(inside, exact)
    if not found and named_like_an_image(inside):
        inside = stem(inside)
        found = forms.find(inside, exact)
    return folder / (found[0] if len(found) == 1 else f"{inside}{_XML}")


def _read(
    sources: Iterable[_Source],
    convert: Callable[[_Source, ElementTree.Element], AnyEntry],
    problems: list[Problem],
    advice: str,
) -> list[AnyEntry]:
    """Converted annotations; those that cannot be read become problems."""
    entries = []
    for source in sources:
        try:
            if leads_outside(source.image) and not source.path.exists():
                sentence = f"{source.where} names {source.image}, which is outside of the folder of images"
                problems.append(Problem(sentence, "names must be relative to that folder"))
            else:
                entries.append(convert(source, _read_xml(source.path)))
        except Malformed as error:
            problems.append(Problem(f"{source.location} {error}", advice))
    return entries


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Builds elements, but refuses declarations of entities, through which a small file can expand to gigabytes."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise Malformed("has a DOCTYPE, which is refused for safety")


def _read_xml(path: Path) -> ElementTree.Element:
    """Root element of an annotation.

    Raises:
        Malformed: the file does not exist, or is not an annotation.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, ValueError):  # the latter for names that no file can have
        raise Malformed(f"is not in {path.parent}") from None
    except OSError as error:
        raise Malformed(f"cannot be read ({error.strerror})") from error
    try:
        root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_WithoutDoctype()))
    except Malformed:
        raise
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the latter two for unknown encodings
        raise Malformed(f"is not XML ({error})") from error
    if root.tag != "annotation":
        raise Malformed(f"holds <{root.tag}> instead of <annotation>")
    return root


def _name_and_flag(element: ElementTree.Element) -> tuple[str, bool]:
    """Class of an object, and whether it is difficult."""
    name, flag = ((element.findtext(tag) or "").strip() for tag in ("name", "difficult"))
    if not name:
        raise Malformed("has no name")
    if flag.lower() not in _FLAGS:
        raise Malformed(f"is difficult {flag!r}")
    return name, _FLAGS[flag.lower()]


# Image labels, from XML files or from lists of classes.


def _read_labels(sources: Iterable[_Source]) -> Contents:
    problems: list[Problem] = []
    entries = _read(sources, _entry, problems, _LABELS)
    return Contents(entries, problems, sorted(occurring(entries)), declares_classes=False)


def _entry(source: _Source, root: ElementTree.Element) -> Entry:
    try:
        objects = [_name_and_flag(element) for element in root.findall("object")]
    except Malformed as error:
        raise Malformed(f"has an object that {error}") from error
    sure, difficult = (frozenset(name for name, flag in objects if flag is wanted) for wanted in (False, True))
    return Entry(source.where, source.image, sure, difficult - sure)


def _read_list(files: LabelFiles) -> Contents:
    """Read a list of one class, a list of a split's images whose labels are elsewhere, or a folder of lists."""
    file = files.path
    if files.names is not None:
        return _read_class_lists(_lists_of_folder(file, _class_lists(files)))
    lines = numbered_lines(file)
    if any(_split_value(line) for _, line in lines):
        name, _ = _class_and_split(file)
        if not name:
            raise UserError(f"{file} must be called CLASS_SPLIT.txt, as its class is known from nothing but its name")
        return _read_class_lists({name: file})
    annotations = _annotations_beside(file)
    if annotations is not None:
        return _read_labels(_listed(lines, annotations))
    lists = _lists_of_split(file.parent, file.stem)
    if lists:
        return _read_class_lists(lists)
    raise UserError(
        f"{file} only lists images, and there is neither a folder Annotations beside or up to two levels above it nor "
        f"a CLASS_{file.name} beside it to give their labels"
    )


def _class_and_split(file: Path) -> tuple[str, str]:
    """Class and split of a name such as ``dog_train.txt``; the class is empty in other names."""
    name, _, split = file.stem.rpartition("_")
    return name, split


def _split_value(line: str) -> tuple[str, int] | None:
    """Image and value of a list's line, or None if the line has another format."""
    name, *value = line.rsplit(None, 1)
    return (name, _VALUES[value[0]]) if value and value[0] in _VALUES else None


def _class_lists(files: LabelFiles) -> list[str]:
    """Names of the class lists in a folder."""
    return [
        name
        for name in files.names or ()
        if "/" not in name
        and _class_and_split(Path(name))[0]
        and any(_split_value(line) for _, line in numbered_lines(files.path / name, errors="replace"))
    ]


def _lists_of_split(folder: Path, split: str) -> dict[str, Path]:
    """Class lists of one split in a folder, by class.

    Raises:
        UserError: the folder cannot be searched.
    """
    files = [folder / name for name in find_files(folder, _LIST, recursive=False)]
    named = [(*_class_and_split(file), file) for file in files]
    return {name: file for name, of_split, file in named if name and of_split == split}


def _lists_of_folder(folder: Path, files: Iterable[str]) -> dict[str, Path]:
    """Class lists of a folder, by class.

    Args:
        folder: such as ``ImageSets/Main``.
        files: names of its class lists, at least one.

    Raises:
        UserError: they are of several splits.
    """
    first, *others = sorted({_class_and_split(Path(file))[1] for file in files})
    if others:
        plain = folder / f"{first}{_LIST}"
        which = f"the list of one split, such as {plain}" if plain.exists() else "a folder with those of one split only"
        raise UserError(f"{folder} holds lists of several splits ({', '.join([first, *others])}): give {which}")
    return _lists_of_split(folder, first)


def _read_class_lists(lists: Mapping[str, Path]) -> Contents:
    """Read the class lists of one split.

    Args:
        lists: by class.

    Raises:
        UserError: one cannot be read.
    """
    problems: list[Problem] = []
    unusable: set[str] = set()
    values = {name: _read_class_list(file, problems, unusable) for name, file in lists.items()}
    locations: dict[str, str] = {}
    for name, file in lists.items():
        for image, (number, _) in values[name].items():
            locations.setdefault(image, f"line {number} of {file.name}")
    entries = []
    for image, where in locations.items():
        lacking = [lists[name].name for name in lists if image not in values[name]]
        if image in unusable:
            continue
        if lacking:
            sentence = f"{where} names {image}, which is not in {', '.join(lacking)}"
            problems.append(Problem(sentence, "the lists of a split must all name the same images"))
            continue
        shown, difficult = (frozenset(name for name in lists if values[name][image][1] == wanted) for wanted in (1, 0))
        entries.append(Entry(where, image, shown, difficult))
    return Contents(entries, problems, sorted(lists), covers_other_classes=False)


def _read_class_list(file: Path, problems: list[Problem], unusable: set[str]) -> Values:
    """Read one class list; images with malformed or contradictory lines are added to ``unusable``."""
    values: Values = {}
    for number, line in numbered_lines(file):
        where = f"line {number} of {file.name}"
        parts = _split_value(line)
        if parts is None:
            problems.append(Problem(f"{where} is {quoted(line)}, not an image with 1, 0 or -1", _LINE))
            unusable.add(line.rsplit(None, 1)[0])
            continue
        image, value = parts
        line_before, value_before = values.setdefault(image, (number, value))
        if value != value_before:
            unusable.add(image)
            problems.append(
                Problem(f"{where} gives {image} {value}, but line {line_before} gives it {value_before}", "remove one")
            )
        elif number != line_before:
            problems.append(Problem(f"{where} names {image} again, as line {line_before} does", "remove one"))
    return values


# Objects, from XML files alone.


def _read_objects(sources: Iterable[_Source]) -> DetectionContents:
    problems: list[Problem] = []

    def convert(source: _Source, root: ElementTree.Element) -> LabeledImage:
        size = _size(root)
        objects = []
        for position, element in enumerate(root.findall("object"), start=1):
            try:
                objects.append(_object(element, f"object {position}"))
            except Malformed as error:
                problems.append(Problem(f"object {position} of {source.path.name} {error}", _OBJECTS))
        return LabeledImage(source.where, source.image, size=size, objects=tuple(objects))

    return DetectionContents(_read(sources, convert, problems, _OBJECTS), problems, box_layout=CORNERS)


def _read_listed_objects(file: Path) -> DetectionContents:
    """Read the annotations of the images that a list names, in its order.

    Raises:
        UserError: the list cannot be read, is that of one class, or has no folder ``Annotations``.
    """
    lines = numbered_lines(file)
    if any(_split_value(line) for _, line in lines):
        raise UserError(
            f"{file} lists the images of one class with 1, 0 or -1: give the list of all of its split, such as "
            f"{file.with_name('train.txt')}"
        )
    folder = _annotations_beside(file)
    if folder is None:
        raise UserError(
            f"{file} only lists images, and there is no folder Annotations beside or up to two levels above it to "
            "give their objects"
        )
    return _read_objects(_listed(lines, folder))


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Width and height, if stated; some tools write 0 for what they do not know."""
    sides = [(root.findtext(f"size/{side}") or "0").strip() for side in ("width", "height")]
    try:
        width, height = (int(float(side)) for side in sides)
    except (ValueError, OverflowError):
        raise Malformed(f"has the size {' x '.join(sides)}") from None
    return (width, height) if width > 0 and height > 0 else None


def _object(element: ElementTree.Element, where: str) -> LabeledObject:
    name, difficult = _name_and_flag(element)
    return LabeledObject(where, name, _box(element), difficult=difficult)


def _box(element: ElementTree.Element) -> LabeledBox:
    corners = []
    for corner in _CORNERS:
        text = element.findtext(f"bndbox/{corner}")
        try:
            corners.append(float(text or ""))
        except ValueError:
            raise Malformed(f"has no number for {corner}") from None
    left, top, right, bottom = corners
    if not all(math.isfinite(value) for value in corners) or right < left or bottom < top:
        raise Malformed(f"reaches from {left:g}, {top:g} to {right:g}, {bottom:g}, which is not a valid box")
    return left - 1, top - 1, right - left + 1, bottom - top + 1


# Recognition.


def _is_list(files: LabelFiles) -> bool:
    """Whether it is a text file, but not one of YOLO's."""
    if files.names is not None or files.ending != _LIST:
        return False
    return not any(is_object(line) for _, line in numbered_lines(files.path))


def _is_list_or_folder_of_lists(files: LabelFiles) -> bool:
    if files.names is None or files.ending != _LIST:
        return _is_list(files)
    return not are_yolo(files) and bool(_class_lists(files))


def _is_xml_folder(files: LabelFiles) -> bool:
    return files.names is not None and files.ending == _XML


_ABOUT_XML, _ABOUT_LIST = "a folder of Pascal VOC's .xml annotations", "a list of Pascal VOC's ImageSets/Main (.txt)"
FORMAT = LabelFormat(
    name="voc",
    title="Pascal VOC",
    labels=(
        LabelReader(f"{_ABOUT_LIST} or a folder of those of one split", _is_list_or_folder_of_lists, _read_list),
        LabelReader(_ABOUT_XML, _is_xml_folder, lambda files: _read_labels(_in_folder(files))),
    ),
    objects=(
        ObjectReader(_ABOUT_XML, _is_xml_folder, lambda files, _: _read_objects(_in_folder(files))),
        ObjectReader(_ABOUT_LIST, _is_list, lambda files, _: _read_listed_objects(files.path)),
    ),
    folder_endings=(_XML, _LIST),
)
