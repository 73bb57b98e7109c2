"""Images with labels in every format that the commands read; a function of nothing but the versions of NumPy, Pillow.

DIR/data holds images/ (a broken file among them), bands/ (arrays of five bands), new/ (without labels), train.csv and
val.csv, instances_train.json and instances_val.json (COCO, with polygons and crowds), voc/ and yolo/.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE = (96, 72)
COUNT, TRAIN, NEW = 48, 32, 6
BANDS = 5
CLASSES = ("disc", "square", "triangle", "star")
BROKEN = "images/b/broken.jpg"
_KEY = 20260

Polygon = list[tuple[int, int]]


@dataclass(frozen=True)
class Shape:
    """An object: its class, by number, and its outline in whole pixels."""

    category: int
    outline: Polygon

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height."""
        xs, ys = zip(*self.outline, strict=True)
        return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


@dataclass(frozen=True)
class Scene:
    """One image, its name without extension, and what it shows."""

    index: int
    shapes: Sequence[Shape]

    @property
    def stem(self) -> str:
        return f"{'ab'[self.index % 2]}/{self.index:03d}"

    @property
    def name(self) -> str:
        return self.stem + (".png" if self.index % 4 == 3 else ".jpg")


def write_data(folder: Path, count: int = COUNT, train: int = TRAIN) -> None:
    """Draw all images and write all labels; files that are there already are written again, with the same content."""
    scenes = [Scene(index, _shapes(index)) for index in range(count)]
    for scene in scenes:
        _write_image(folder / "images" / scene.name, scene)
        _write_bands(folder / "bands" / f"{scene.stem}.npy", scene)
    for index in range(count, count + NEW):
        scene = Scene(index, _shapes(index))
        _write_image(folder / "new" / scene.name, scene)
    (folder / BROKEN).write_bytes(b"\xff\xd8\xff\xe0 no image")
    for split, part in (("train", scenes[:train]), ("val", scenes[train:])):
        _write(folder / f"{split}.csv", "image,labels\n" + "".join(f"{s.name},{'|'.join(_names(s))}\n" for s in part))
        _write(folder / f"instances_{split}.json", json.dumps(_coco(part)))
        _write(folder / f"voc/ImageSets/Main/{split}.txt", "".join(f"{scene.stem}\n" for scene in part))
        for scene in part:
            _write(folder / f"voc/Annotations/{scene.stem}.xml", _voc(scene))
            _write(folder / f"yolo/labels/{split}/{scene.stem}.txt", _yolo(scene))
    _write(folder / "yolo/labels/classes.txt", "".join(f"{name}\n" for name in CLASSES))


def _shapes(index: int) -> list[Shape]:
    random = np.random.default_rng((_KEY, index))
    return [_shape(int(random.integers(len(CLASSES))), random) for _ in range(random.integers(1, 5))]


def _shape(category: int, random: np.random.Generator) -> Shape:
    radius = int(random.integers(8, 20))
    x, y = (int(random.integers(radius, side - radius)) for side in SIZE)
    corners, depth = ((16, 1.0), (4, 1.0), (3, 1.0), (10, 0.45))[category]
    turn = float(random.uniform(0, 2 * math.pi))
    outline = []
    for corner in range(corners):
        reach = radius * (depth if corner % 2 else 1.0)
        angle = turn + 2 * math.pi * corner / corners
        outline.append((round(x + reach * math.cos(angle)), round(y + reach * math.sin(angle))))
    return Shape(category, outline)


def _pixels(scene: Scene, channels: int) -> np.ndarray:
    """Shapes of a color each, slightly rough, on a smooth ground."""
    random = np.random.default_rng((_KEY, scene.index, channels))
    layers = []
    for _ in range(channels):
        ground = Image.fromarray(random.integers(60, 200, (5, 6), dtype=np.uint8)).resize(
            SIZE, Image.Resampling.BICUBIC
        )
        drawn = ImageDraw.Draw(ground)
        for shape in scene.shapes:
            drawn.polygon(shape.outline, fill=int(random.integers(0, 256)))
        rough = np.asarray(ground).astype(np.int16) + random.integers(-12, 13, SIZE[::-1])
        layers.append(rough.clip(0, 255).astype(np.uint8))
    return np.stack(layers, axis=-1)


def _write_image(path: Path, scene: Scene) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(_pixels(scene, 3))
    if scene.index % 8 == 5:
        image = image.convert("L")
    if scene.index % 8 == 6:  # a camera held upright: the pixels lie on their side, and a tag says so
        image.transpose(Image.Transpose.ROTATE_90).save(path, quality=90, exif=_turned(6))
    else:
        image.save(path, quality=90)


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _write_bands(path: Path, scene: Scene) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, _pixels(scene, BANDS))


def _names(scene: Scene) -> list[str]:
    return [CLASSES[category] for category in sorted({shape.category for shape in scene.shapes})]


def _coco(scenes: Iterable[Scene]) -> dict[str, object]:
    scenes = list(scenes)
    width, height = SIZE
    annotations: list[dict[str, object]] = []
    for scene in scenes:
        for index, shape in enumerate(scene.shapes):
            crowd = scene.index % 6 == 0 and index == 1
            segmentation = _run_lengths(shape) if crowd else [[value for point in shape.outline for value in point]]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": scene.index + 1,
                    "category_id": 10 * (shape.category + 1),
                    "bbox": list(shape.box),
                    "area": shape.box[2] * shape.box[3] / 2,
                    "iscrowd": int(crowd),
                    "segmentation": segmentation,
                }
            )
    images = [{"id": s.index + 1, "file_name": s.name, "width": width, "height": height} for s in scenes]
    categories = [{"id": 10 * (number + 1), "name": name} for number, name in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _run_lengths(shape: Shape) -> dict[str, object]:
    """Down the columns, as COCO has them; the first run lies outside of the object."""
    mask = Image.new("L", SIZE)
    ImageDraw.Draw(mask).polygon(shape.outline, fill=1)
    flat = np.asarray(mask).flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(SIZE[::-1]), "counts": runs if flat[0] == 0 else [0, *runs]}


def _voc(scene: Scene) -> str:
    objects = []
    for index, shape in enumerate(scene.shapes):
        left, top, width, height = shape.box
        corners = {"xmin": left + 1, "ymin": top + 1, "xmax": left + width, "ymax": top + height}
        box = "".join(f"<{name}>{value}</{name}>" for name, value in corners.items())
        difficult = int(scene.index % 7 == 0 and index > 0)
        objects.append(
            f"<object><name>{CLASSES[shape.category]}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox>"
            "</object>"
        )
    width, height = SIZE
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation><filename>{scene.name}</filename>{size}{''.join(objects)}</annotation>\n"


def _yolo(scene: Scene) -> str:
    lines = []
    for shape in scene.shapes:
        shares = [f"{value / side:.6f}" for point in shape.outline for value, side in zip(point, SIZE, strict=True)]
        lines.append(" ".join([str(shape.category), *shares]) + "\n")
    return "".join(lines)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
