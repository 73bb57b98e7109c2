"""Objects from Pascal VOC's XML annotations, one file a photograph.

A box's corners are the numbers, from 1, of the first and the last pixel that it includes (VOC 2007 development kit,
http://host.robots.ox.ac.uk/pascal/VOC/voc2007/devkit_doc_07-Jun-2007.pdf). So it begins at the edge xmin - 1 and ends
at the edge xmax.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from manyview.errors import UserError
from manyview.labels.files import numbered_lines, stem
from manyview.labels.object_entries import DetectionContents, LabelledBox, LabelledImage, LabelledObject
from manyview.labels.paths import leads_outside
from manyview.labels.problems import Malformed, Problem
from manyview.labels.voc import FLAGS, annotation_of, read_xml
from manyview.labels.voc_lists import split_value

_ADVICE = (
    "a Pascal VOC annotation is <annotation> with <object>, each with <name>, <bndbox> of <xmin>, <ymin>, <xmax> and "
    "<ymax>, and perhaps <difficult> 0 or 1"
)
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc_folder(folder: Path, files: Iterable[str]) -> DetectionContents:
    """Read annotations of a folder, each for the photograph of the same name and place.

    Args:
        folder: of the annotations.
        files: their names.
    """
    return _read((name, stem(name), folder / name) for name in files)


def read_voc_list(file: Path) -> DetectionContents:
    """Read the annotations of the photographs that a list of ``ImageSets`` names, in its order.

    They are looked for in ``Annotations`` beside the list or up to two levels above it.

    Raises:
        UserError: the list cannot be read, is that of one class, or has no such folder.
    """
    lines = numbered_lines(file)
    if any(split_value(line) for _, line in lines):
        raise UserError(
            f"{file} lists the photographs of one class with 1, 0 or -1: give the list of all of its split, such as "
            f"{file.with_name('train.txt')}"
        )
    places = [parent / "Annotations" for parent in list(file.absolute().parents)[:3]]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise UserError(
            f"{file} only lists photographs, and there is no folder Annotations beside or up to two levels above it to "
            "give their objects"
        )
    return _read((f"line {number}", line, annotation_of(folder, line)) for number, line in lines)


def _read(sources: Iterable[tuple[str, str, Path]]) -> DetectionContents:
    """Read annotations, each given with its place in the label file and its photograph."""
    entries: list[LabelledImage] = []
    problems: list[Problem] = []
    for where, image, path in sources:
        if leads_outside(image):  # told with all others of the kind, and its annotation not even opened
            entries.append(LabelledImage(where, image, None, None, ()))
            continue
        # The place of a listed annotation is a line: say in which file the fault is.
        place = where if where.endswith(path.name) else f"{where} names {image}, whose {path.name}"
        try:
            root = read_xml(path)
            size = _size(root)
        except Malformed as error:
            problems.append(Problem(f"{place} {error}", _ADVICE))
            continue
        objects = []
        for position, element in enumerate(root.findall("object"), start=1):
            try:
                objects.append(_object(element, f"object {position}"))
            except Malformed as error:
                problems.append(Problem(f"object {position} of {path.name} {error}", _ADVICE))
        entries.append(LabelledImage(where, image, None, size, tuple(objects)))
    return DetectionContents(entries, problems, {}, by_stem=True)


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Width and height, if stated; some tools write 0 for what they do not know."""
    sides = [(root.findtext(f"size/{side}") or "0").strip() for side in ("width", "height")]
    try:
        width, height = (int(float(side)) for side in sides)
    except (ValueError, OverflowError):
        raise Malformed(f"has the size {' x '.join(sides)}") from None
    return (width, height) if width > 0 and height > 0 else None


def _object(element: ElementTree.Element, where: str) -> LabelledObject:
    name, flag = ((element.findtext(tag) or "").strip() for tag in ("name", "difficult"))
    if not name:
        raise Malformed("has no name")
    if flag.lower() not in FLAGS:
        raise Malformed(f"is difficult {flag!r}")
    return LabelledObject(where, name, _box(element), difficult=FLAGS[flag.lower()])


def _box(element: ElementTree.Element) -> LabelledBox:
    corners = []
    for corner in _CORNERS:
        text = element.findtext(f"bndbox/{corner}")
        try:
            corners.append(float(text or ""))
        except ValueError:
            raise Malformed(f"has no number for {corner}") from None
    left, top, right, bottom = corners
    if not all(math.isfinite(value) for value in corners) or right < left or bottom < top:
        raise Malformed(f"reaches from {left:g}, {top:g} to {right:g}, {bottom:g}, which is no box")
    return left - 1, top - 1, right - left + 1, bottom - top + 1
