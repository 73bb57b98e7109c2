"""Objects from YOLO's text files, one file a photograph, with one object a line.

A line has the number of a class and shares of the photograph's width and height: of a box its centre, width and height
(https://docs.ultralytics.com/datasets/detect/), perhaps with key points behind it (.../pose/), or x and y of an
outline's corners (.../segment/, .../obb/).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from manyview.labels.files import stem
from manyview.labels.object_entries import DetectionContents, LabelledBox, LabelledImage, LabelledObject
from manyview.labels.problems import Malformed, Problem
from manyview.labels.yolo import read_object, readable_files
from manyview.labels.yolo_names import class_names, key_point_values

_ADVICE = (
    "a line has the number of a class that has a name, and then a box's centre, width and height or x and y of an "
    "outline's corners, as shares of the photograph from 0 to 1"
)
_BOX = 4  # numbers of a box
_OUTLINE = 6  # of an outline, at least
_ROUNDING = 0.01  # beyond 0 and 1, which Ultralytics takes, too


def read_yolo(folder: Path, files: Sequence[str], *, masks: bool) -> DetectionContents:
    """Read label files, each for the photograph of the same name and place.

    Args:
        folder: of the label files.
        files: their names.
        masks: whether to keep outlines, which each object must have then.

    Raises:
        UserError: the names of the classes or the shape of key points cannot be read.
    """
    names, key_points = class_names(folder), key_point_values(folder)
    entries: list[LabelledImage] = []
    problems: list[Problem] = []
    for name, lines in readable_files(folder, files, problems):
        objects = []
        for place, line in lines:
            where = f"line {place} of {name}"
            try:
                kind, coordinates = read_object(line, names)
                objects.append(_object(where, kind, coordinates, key_points, masks=masks))
            except Malformed as error:
                problems.append(Problem(f"{where} {error}", _ADVICE))
        entries.append(LabelledImage(name, stem(name), None, None, tuple(objects)))
    category_ids = {name: place for place, name in enumerate((names or {}).values(), start=1)}
    return DetectionContents(entries, problems, category_ids, by_stem=True, in_shares=True)


def _object(
    where: str, kind: str, coordinates: Sequence[float], key_points: int | None, *, masks: bool
) -> LabelledObject:
    """An object whose box and outline are in shares."""
    if key_points is not None:
        if len(coordinates) != _BOX + key_points:
            raise Malformed(f"has {len(coordinates)} numbers instead of a box's 4 and {key_points} of key points")
        coordinates = coordinates[:_BOX]
    beyond = next((value for value in coordinates if not -_ROUNDING <= value <= 1 + _ROUNDING), None)
    if beyond is not None:
        raise Malformed(f"has {beyond:g}, which is not from 0 to 1")
    if len(coordinates) == _BOX:
        if masks:
            raise Malformed("has a box, but no outline, which masks are made of")
        return LabelledObject(where, kind, _box(coordinates))
    if len(coordinates) < _OUTLINE or len(coordinates) % 2:
        raise Malformed(f"has {len(coordinates)} numbers, where a box has 4 and an outline two for each corner")
    return LabelledObject(where, kind, _around(coordinates), segmentation=[list(coordinates)] if masks else None)


def _box(coordinates: Sequence[float]) -> LabelledBox:
    x, y, width, height = coordinates
    return x - width / 2, y - height / 2, width, height


def _around(outline: Sequence[float]) -> LabelledBox:
    left, top, right, bottom = min(outline[::2]), min(outline[1::2]), max(outline[::2]), max(outline[1::2])
    return left, top, right - left, bottom - top
