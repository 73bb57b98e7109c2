"""Sound label files of every format that is read, for a small folder of images, made here."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

SIZES = {"a.jpg": (40, 30), "b.png": (20, 50), "sub/c.jpg": (33, 21), "é d.tif": (64, 64), "000012.jpg": (50, 40)}
_NAMES = tuple(SIZES)
_CLASSES = ("cat", "dog", "zebra crossing")


RESULTS = "results.json"  # name of the files of a detector's results


class LabelSeed(NamedTuple):
    """Label files by relative name, and the file or folder that a user gives ("." for the whole folder)."""

    files: Mapping[str, bytes]
    given: str
    options: Mapping[str, str] = {}


def write_images(folder: Path) -> None:
    """The images that the seeds label."""
    for number, (name, (width, height)) in enumerate(SIZES.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((height, width, 3), 40 * number, np.uint8)).save(folder / name)


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


@functools.cache
def label_seeds() -> dict[str, LabelSeed]:
    """Label files by format and variant; the order is fixed."""
    return {**_tables(), **_lists(), **_coco(), **_yolo(), **_voc()}


def _shown(number: int) -> list[str]:
    return [name for position, name in enumerate(_CLASSES) if (number + 1) >> position & 1]


def _table(
    head: str = "image,labels", joint: str = "|", cell: str = ",", form: str = "{}", more: tuple[str, ...] = ()
) -> bytes:
    rows = [head]
    for number, name in enumerate(_NAMES):
        labels = str(_shown(number)) if joint == "list" else joint.join(each.split()[0] for each in _shown(number))
        rows.append(cell.join([name, form.format(labels), *more]))
    return "\n".join(rows).encode() + b"\n"


def _tables() -> dict[str, LabelSeed]:
    def seed(data: bytes, **options: str) -> LabelSeed:
        return LabelSeed({"train.csv": data}, "train.csv", options)

    return {
        "csv": seed(_table()),
        "csv quoted": seed(_table(form='"{}"', head="image,labels,caption", more=('"a ""long"" one, two"',))),
        "csv semicolons": seed(_table("image;labels", cell=";")),
        "csv tabs": seed(_table("image\tlabels", cell="\t").replace(b"\n", b"\r\n")),
        "csv commas within": seed(_table(joint=",", form='"{}"'), separator=","),
        "csv blanks": seed(_table(joint=" "), separator=" "),
        "csv list": seed(_table(joint="list", form='"{}"'), separator="list"),
        "csv undeclared blanks": seed(_table(joint=" ")),
        "csv undeclared list": seed(_table(joint="list", form='"{}"')),
        "csv columns": seed(_table("ImageID,Labels"), image_column="ImageID", label_column="Labels"),
        "csv mark": seed(b"\xef\xbb\xbf" + _table()),
    }


def _lists() -> dict[str, LabelSeed]:
    names = "\n".join(_NAMES).encode()
    table = b"image,split\n" + b"".join(name.encode() + b",train\n" for name in _NAMES)
    return {
        "list": LabelSeed({"list.txt": names}, "list.txt"),
        "list csv": LabelSeed({"list.csv": table}, "list.csv"),
        "list csv without header": LabelSeed({"list.csv": names}, "list.csv"),
    }


def _instances(form: str) -> dict[str, Any]:
    images, annotations = [], []
    key = str if form == "strings" else int
    for number, (name, (width, height)) in enumerate(SIZES.items(), start=1):
        images.append({"id": key(number), "file_name": name, "width": width, "height": height})
        for position in range(number % 3):
            box = [2.5 + position, 3.0, 10.0, 8.0]
            entry = {"id": key(10 * number + position), "image_id": key(number), "category_id": key(position + 1)}
            entry |= {"bbox": box, "area": 80.0, "iscrowd": 0}
            if form == "run lengths":
                entry["segmentation"] = {"size": [height, width], "counts": [5, 7, width * height - 12]}
                entry["iscrowd"] = position
            elif form == "compressed":
                entry["segmentation"] = {"size": [height, width], "counts": _compressed(5, 7, width * height - 12)}
            else:
                left, top = box[:2]
                entry["segmentation"] = [[left, top, left + 10, top, left + 10, top + 8, left, top + 8]]
            if form == "no boxes":
                del entry["bbox"], entry["area"]
            annotations.append(entry)
        if form == "no sizes":
            del images[-1]["width"], images[-1]["height"]
    categories = [{"id": key(number), "name": name} for number, name in enumerate(_CLASSES, start=1)]
    return {"info": {"year": 2020}, "images": images, "annotations": annotations, "categories": categories}


def _compressed(*runs: int) -> str:
    """Run lengths, at most three, in COCO's characters."""
    text = ""
    for run in runs:
        while True:
            bits, run = run & 31, run >> 5
            more = run != 0 or bool(bits & 16)
            text += chr(48 + bits + 32 * more)
            if not more:
                break
    return text


def _coco() -> dict[str, LabelSeed]:
    forms = ("polygons", "run lengths", "compressed", "strings", "no boxes", "no sizes")
    found = {
        f"coco {form}": LabelSeed({"instances.json": _as_json(_instances(form))}, "instances.json") for form in forms
    }
    results = [{**entry, "score": 0.5} for entry in _instances("polygons")["annotations"]]
    masks = [{**entry, "score": 0.5} for entry in _instances("compressed")["annotations"]]
    for entry in masks:
        del entry["bbox"], entry["area"], entry["iscrowd"]
    return {
        **found,
        "results": LabelSeed({RESULTS: _as_json(results)}, RESULTS),
        "results masks": LabelSeed({RESULTS: _as_json(masks)}, RESULTS),
    }


def _as_json(content: object) -> bytes:
    return json.dumps(content).encode()


def _lines(form: str, number: int) -> bytes:
    lines = []
    for position, name in enumerate(_shown(number)):
        index = _CLASSES.index(name)
        coordinates = "0.5 0.5 0.25 0.125"
        if form == "outlines":
            coordinates = "0.1 0.1 0.4 0.1 0.4 0.5 0.125 0.6"
        elif form == "key points":
            coordinates += " 0.4 0.4 2 0.6 0.6 1"
        lines.append(f"{index}{'.0' if form == 'decimals' and position else ''} {coordinates}")
    return "\n".join(lines).encode()


def _yolo() -> dict[str, LabelSeed]:
    classes = "\n".join(_CLASSES).encode()
    data = b"path: ../data\ntrain: images\nnames:\n" + b"".join(
        b"  %d: %s\n" % (number, name.encode()) for number, name in enumerate(_CLASSES)
    )
    listed = json.dumps({"names": list(_CLASSES), "nc": 3, "kpt_shape": [2, 3]}).encode()
    beside = {
        "boxes": {"labels/classes.txt": classes},
        "decimals": {"data.yaml": data},
        "outlines": {"labels/classes.txt": classes, "data.yaml": data},
        "key points": {"data.yaml": listed},
        "nameless": {},
    }
    found = {
        f"yolo {form}": LabelSeed(
            {**{f"labels/{_stem(name)}.txt": _lines(form, n) for n, name in enumerate(_NAMES)}, **more}, "labels"
        )
        for form, more in beside.items()
    }
    export = {f"obj_train_data/{_stem(name)}.txt": _lines("boxes", number) for number, name in enumerate(_NAMES)}
    train = "\n".join(f"data/obj_train_data/{name}" for name in _NAMES).encode()
    of_data = b"classes = 3\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"
    export |= {"obj.names": classes, "obj.data": of_data, "train.txt": train}
    return {
        **found,
        "yolo of cvat": LabelSeed(export, "obj_train_data"),
        "yolo of cvat above": LabelSeed(export, "."),
        "list of cvat": LabelSeed(export, "train.txt"),
    }


def _annotation(name: str, number: int) -> bytes:
    width, height = SIZES[name]
    objects = "".join(
        f"<object><name>{each}</name><difficult>{int(each == 'dog')}</difficult><bndbox><xmin>2</xmin><ymin>3.5</ymin>"
        "<xmax>12</xmax><ymax>15</ymax></bndbox></object>\n"
        for each in _shown(number)
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<annotation><filename>{name}</filename>\n{size}\n'
        f"{objects}</annotation>"
    ).encode()


def _voc() -> dict[str, LabelSeed]:
    annotations = {f"Annotations/{_stem(name)}.xml": _annotation(name, n) for n, name in enumerate(_NAMES)}
    stems = "\n".join(map(_stem, _NAMES)).encode()
    lists = {
        f"ImageSets/Main/{each.split()[0]}_train.txt": "\n".join(
            f"{_stem(name)} {' 1' if each in _shown(number) else '-1' if number % 2 else ' 0'}"
            for number, name in enumerate(_NAMES)
        ).encode()
        for each in _CLASSES
    }
    main = {**lists, "ImageSets/Main/train.txt": stems}
    return {
        "voc": LabelSeed(annotations, "Annotations"),
        "voc list": LabelSeed({**annotations, "ImageSets/Main/train.txt": stems}, "ImageSets/Main/train.txt"),
        "voc class lists": LabelSeed(main, "ImageSets/Main/train.txt"),
        "voc folder of lists": LabelSeed(lists, "ImageSets/Main"),
        "voc one class": LabelSeed(lists, "ImageSets/Main/dog_train.txt"),
    }
