"""A detector's average precision on labeled images, shared out over all processes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch import distributed as dist

from manyview import distributed
from manyview.detection.dataset import DetectionImages, detection_batches
from manyview.detection.metrics import coco_average_precision, to_coco_results, voc_average_precision
from manyview.labels import DetectionLabels
from manyview.runs.files import plain

Output = dict[str, Tensor]
Shown = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class DetectionRuntime:
    """Where and how a detector computes.

    Attributes:
        device: on which.
        precision: "float32", or "bf16" for autocast to bfloat16.
        workers: loader processes; None: by cores.
    """

    device: torch.device
    precision: str
    workers: int | None

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def pixels(self, images: Sequence[UInt8[Tensor, "3 _ _"]]) -> list[Tensor]:
        """Images as the detector takes them: on its device, from 0 to 1."""
        return [image.to(self.device, non_blocking=True).float() / 255 for image in images]


@torch.no_grad()
def detect(detector: nn.Module, images: Sequence[UInt8[Tensor, "3 _ _"]], runtime: DetectionRuntime) -> list[Output]:
    """What a detector in eval mode finds in images, on the CPU."""
    with runtime.autocast():
        outputs = detector(runtime.pixels(images))
    return [{key: value.cpu() for key, value in output.items()} for output in outputs]


def find_objects(
    detector: nn.Module,
    labels: DetectionLabels,
    images: Path,
    runtime: DetectionRuntime,
    show: Shown | None = None,
) -> list[dict[str, Any]]:
    """What a detector finds in labeled images, each by itself, so that no figure depends on what is beside it.

    Args:
        detector: in eval mode, on the device.
        labels: which images.
        images: folder of them.
        runtime: where and how.
        show: called with how much is done, of how much, and of what; may raise to stop.

    Returns:
        entries of COCO's result format, of all images in their order, the same on every process.

    Raises:
        UserError: an image cannot be read.
    """
    own = distributed.share(range(len(labels)))
    found: dict[int, list[dict[str, Any]]] = {}
    places = [[(0, index)] for index in own]
    pin = runtime.device.type == "cuda"
    photographs = DetectionImages(labels.without_masks(), images)  # they would be decoded for nothing
    batches = detection_batches(photographs, places, runtime.workers, pin=pin)
    with closing(cast("Generator[Any, None, None]", batches)):
        for done, (index, (pixels, _)) in enumerate(zip(own, batches, strict=True)):
            if show is not None:
                show(done, len(own), "measuring")
            [output] = detect(detector, pixels, runtime)
            size = labels.sizes[index]
            found[index] = to_coco_results([output], [labels.image_ids[index]], labels.category_ids, [size])
    if show is not None:
        show(len(own), len(own), "measuring")
    everything = _together(found)
    return [entry for index in range(len(labels)) for entry in everything[index]]


def measure(labels: DetectionLabels, results: Sequence[dict[str, Any]], masks: bool) -> dict[str, Any]:
    """Average precision by both protocols, as plain data.

    Returns:
        "box", and "mask" if asked: COCO's, as ``coco_average_precision`` gives it; "voc": Pascal VOC's with 11 points,
        as ``voc_average_precision`` gives it. None for what is undefined.
    """
    coco = coco_average_precision(labels, results, ("bbox", "segm") if masks else ("bbox",))
    found: dict[str, Any] = plain({**coco, "voc": voc_average_precision(labels, results)})
    return found


def _together(found: dict[int, list[dict[str, Any]]]) -> dict[int, list[dict[str, Any]]]:
    """The results of all processes by image; those given out twice count once."""
    if distributed.world_size() == 1:
        return found
    parts: list[Any] = [None] * distributed.world_size()
    dist.all_gather_object(parts, found)
    return {index: entries for part in parts for index, entries in part.items()}
