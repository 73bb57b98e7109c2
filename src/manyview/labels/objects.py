"""Labels for object detection: boxes, classes and masks of the objects in each image."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from manyview.labels.identifiers import Identifier
from manyview.labels.masks import Rle

_THINNEST = 0.01  # pixels; what is thinner could lose its area to rounding as it is mirrored and resized


@dataclass(frozen=True)
class Objects:
    """The objects of one image, in the order of the label file.

    Attributes:
        boxes: left, top, right, bottom in pixels, clipped to the image; 0 is the left or upper edge of the first
            pixel, so that a box's width is right minus left.
        labels: 1 for the first class, as detectors reserve 0 for the background.
        crowd: whether it is a crowd instead of one object (COCO's ``iscrowd``).
        difficult: whether VOC's or COCO's ``difficult``, or COCO's ``ignore``, is set.
        area: in pixels, as the label file states it, else that of the mask or of the box as labeled.
        labeled_boxes: left, top, width, height as labeled, perhaps beyond the image; AP compares with these.
        segmentations: masks of the image's size, or None if not requested.
    """

    boxes: Float32[np.ndarray, "objects 4"]
    labels: Int64[np.ndarray, " objects"]
    crowd: Bool[np.ndarray, " objects"]
    difficult: Bool[np.ndarray, " objects"]
    area: Float64[np.ndarray, " objects"]
    labeled_boxes: Float64[np.ndarray, "objects 4"]
    segmentations: tuple[Rle, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def trained(self) -> Bool[np.ndarray, " objects"]:
        """Which objects a detector is trained on: single objects of positive area, difficult ones included."""
        return ~self.crowd & (self.boxes[:, 2:] - self.boxes[:, :2] >= _THINNEST).all(axis=1)


@dataclass(frozen=True)
class DetectionLabels:
    """The labels of a detection data set.

    Attributes:
        names: images, relative to their folder, in the order of the file that names them.
        sizes: width and height of each image in pixels, upright.
        classes: names of the classes; class i has the label i + 1.
        objects: of each image, possibly none.
        image_ids: of each image in COCO files, as written there; 1, 2, ... for other formats.
        category_ids: of each class in COCO files, as written there; 1, 2, ... for other formats.
        skipped: a sentence for each entry that was left out because of a problem.
        notes: sentences on how the file was read, and on boxes that were clipped or have no area.
    """

    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    classes: tuple[str, ...]
    objects: tuple[Objects, ...]
    image_ids: tuple[Identifier, ...]
    category_ids: tuple[Identifier, ...]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def has_masks(self) -> bool:
        """Whether each object has a mask."""
        return all(objects.segmentations is not None for objects in self.objects)

    def occupied(self) -> tuple[int, ...]:
        """Indices of the images with objects to train on."""
        return tuple(index for index, objects in enumerate(self.objects) if objects.trained.any())

    def without_masks(self) -> DetectionLabels:
        """The same images and objects with boxes alone."""
        return replace(self, objects=tuple(replace(objects, segmentations=None) for objects in self.objects))

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over all but ``skipped`` and ``notes``."""
        head = [self.names, self.sizes, self.classes, self.image_ids, self.category_ids]
        digest = hashlib.sha256(json.dumps(head).encode())
        for objects in self.objects:
            digest.update(b"%d\n" % len(objects))
            columns = (objects.boxes, objects.labels, objects.crowd, objects.difficult, objects.area)
            for column in (*columns, objects.labeled_boxes):
                digest.update(column.tobytes())
            for mask in objects.segmentations or ():
                digest.update(mask["counts"] + b"\n")
        return digest.hexdigest()
