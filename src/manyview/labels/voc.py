"""Labels from Pascal VOC annotations: one XML file an image, found by its name."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from manyview.images.files import EXTENSIONS
from manyview.labels.entries import Contents, Entry, occurring
from manyview.labels.files import numbered_lines, stem
from manyview.labels.paths import leads_outside
from manyview.labels.problems import Malformed, Problem

ENDING = ".xml"

Classes = tuple[frozenset[str], frozenset[str]]
"""Those that an image shows, and those of which it shows difficult objects only."""

FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}
_ADVICE = "a Pascal VOC annotation is <annotation> with <object>, each with <name> and perhaps <difficult> 0 or 1"


def read_annotations(folder: Path, files: Iterable[str]) -> Contents:
    """Read annotations, each for the image of the same name and place.

    Args:
        folder: of the annotations.
        files: their names.
    """
    return _read((name, stem(name), folder / name) for name in files)


def read_listed_annotations(file: Path, folder: Path) -> Contents:
    """Read the annotations of the images that a list names, in its order.

    Args:
        file: the list, one image a line.
        folder: of the annotations.

    Raises:
        UserError: the list cannot be read.
    """
    return _read((f"line {number}", line, annotation_of(folder, line)) for number, line in numbered_lines(file))


def annotation_of(folder: Path, image: str) -> Path:
    """Where the annotation of an image is, which some lists name with its extension."""
    path = folder / f"{image}{ENDING}"
    named_with_extension = posixpath.splitext(image)[1].lower() in EXTENSIONS and not path.exists()
    return folder / f"{stem(image)}{ENDING}" if named_with_extension else path


def _read(sources: Iterable[tuple[str, str, Path]]) -> Contents:
    """Read annotations, each given with its place in the label file and its image."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    for where, image, path in sources:
        if leads_outside(image):  # told with all others of the kind, and its annotation not even opened
            entries.append(Entry(where, image, frozenset()))
            continue
        try:
            entries.append(Entry(where, image, *_classes(path)))
        except Malformed as error:
            # The place of a listed annotation is a line: say in which file the fault is.
            place = where if where.endswith(path.name) else f"{where} names {image}, whose {path.name}"
            problems.append(Problem(f"{place} {error}", _ADVICE))
    return Contents(entries, problems, sorted(occurring(entries)), declares_classes=False)


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Builds elements, but refuses declarations of entities, through which a small file can expand to gigabytes."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise Malformed("has a DOCTYPE, which is refused for safety")


def read_xml(path: Path) -> ElementTree.Element:
    """The root of an annotation.

    Raises:
        Malformed: there is no such file, or it is no annotation.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
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


def _classes(path: Path) -> Classes:
    root = read_xml(path)
    objects = [_object(element) for element in root.findall("object")]
    sure, difficult = (frozenset(name for name, flag in objects if flag is wanted) for wanted in (False, True))
    return sure, difficult - sure


def _object(element: ElementTree.Element) -> tuple[str, bool]:
    """Class of an object, and whether it is difficult."""
    name, flag = ((element.findtext(tag) or "").strip() for tag in ("name", "difficult"))
    if not name:
        raise Malformed("has an object without a name")
    if flag.lower() not in FLAGS:
        raise Malformed(f"has a {name} that is difficult {flag!r}")
    return name, FLAGS[flag.lower()]
