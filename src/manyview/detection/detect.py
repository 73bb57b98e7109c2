"""Runs a detector on labeled images, distributed over all processes, and computes its average precision."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch import distributed as dist

from manyview import distributed
from manyview.detection.dataset import DetectionImages, detection_batches
from manyview.detection.metrics import coco_average_precision, to_coco_results, voc_average_precision
from manyview.errors import require
from manyview.images import ImageRoot
from manyview.labels import DetectionLabels
from manyview.runs.files import plain

Output = dict[str, Tensor]
ShowProgress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class DetectionRuntime:
    """Device, precision and loader processes of a detector.

    Attributes:
        device: where it runs.
        precision: "float32", or "bf16" for autocast to bfloat16.
        workers: loader processes; None: chosen by the number of cores.

    Raises:
        UserError: a negative number of loader processes.
    """

    device: torch.device
    precision: str
    workers: int | None

    def __post_init__(self) -> None:
        require(self.workers is None or self.workers >= 0, f"workers must be at least 0, not {self.workers}")

    def autocast(self) -> torch.autocast:
        """The autocast context of a forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def pixels(self, images: Sequence[UInt8[Tensor, "3 _ _"]]) -> list[Tensor]:
        """Images as the detector takes them: on its device, float32 in [0, 1]."""
        return [image.to(self.device, non_blocking=True).float() / 255 for image in images]


@torch.no_grad()
def detect(detector: nn.Module, images: Sequence[UInt8[Tensor, "3 _ _"]], runtime: DetectionRuntime) -> list[Output]:
    """Detections of a detector in eval mode, on the CPU."""
    with runtime.autocast():
        outputs = detector(runtime.pixels(images))
    return [{key: value.cpu() for key, value in output.items()} for output in outputs]


def find_objects(
    detector: nn.Module,
    labels: DetectionLabels,
    images: ImageRoot,
    runtime: DetectionRuntime,
    show: ShowProgress | None = None,
) -> list[dict[str, Any]]:
    """Detect objects in labeled images, one image a batch, so that no result depends on its neighbors.

    Args:
        detector: in eval mode, on the device.
        labels: names, sizes and ids of the images.
        images: folder of the images.
        runtime: device, precision and loader processes.
        show: called with images done, their number and the name of the phase; may raise to stop.

    Returns:
        Entries of COCO's result format, of all images in their order, the same on every process.

    Raises:
        UserError: an image cannot be read.
    """
    own = distributed.share(range(len(labels)))
    found: dict[int, list[dict[str, Any]]] = {}
    indices = [[(0, index)] for index in own]
    pin = runtime.device.type == "cuda"
    depth = cast("int | None", detector.bit_depth)
    dataset = DetectionImages(labels.without_masks(), images, bit_depth=depth)  # masks would be decoded for nothing
    batches = detection_batches(dataset, indices, runtime.workers, pin=pin)
    with closing(cast("Generator[Any, None, None]", batches)):
        for done, (index, (pixels, _)) in enumerate(zip(own, batches, strict=True)):
            if show is not None:
                show(done, len(own), "measuring")
            [output] = detect(detector, pixels, runtime)
            size = labels.sizes[index]
            found[index] = to_coco_results([output], [labels.image_ids[index]], labels.category_ids, [size])
    if show is not None:
        show(len(own), len(own), "measuring")
    gathered = _gather_results(found)
    return [entry for index in range(len(labels)) for entry in gathered[index]]


def measure(labels: DetectionLabels, results: Sequence[dict[str, Any]], masks: bool) -> dict[str, Any]:
    """Average precision by COCO's and by Pascal VOC's protocol, as plain data.

    Returns:
        "box", and "mask" if asked: COCO's, as ``coco_average_precision`` gives it; "voc": Pascal VOC's with 11 points,
        as ``voc_average_precision`` gives it. None for what is undefined.
    """
    coco = coco_average_precision(labels, results, ("bbox", "segm") if masks else ("bbox",))
    found: dict[str, Any] = plain({**coco, "voc": voc_average_precision(labels, results)})
    return found


def _gather_results(found: dict[int, list[dict[str, Any]]]) -> dict[int, list[dict[str, Any]]]:
    """Results of all processes by image; images that two processes got count once."""
    if distributed.world_size() == 1:
        return found
    parts: list[Any] = [None] * distributed.world_size()
    dist.all_gather_object(parts, found)
    return {index: entries for part in parts for index, entries in part.items()}
