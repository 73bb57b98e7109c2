"""The detector as a module, its parts, and the resizing of its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes

from manyview.detection.models.roi_heads import DetectorHeads
from manyview.detection.models.rpn import ProposalNetwork
from manyview.errors import UserError


@dataclass(frozen=True)
class HeadSizes:
    """Sizes of the heads.

    Args:
        classes: without the background.
        masks: whether to predict masks.
        regions: RoIs per image sampled for training; 512 in the protocols.
        test_proposals: proposals per image kept at test time; 1,000 in the protocols.

    Raises:
        UserError: a number under 1.
    """

    classes: int
    masks: bool
    regions: int
    test_proposals: int

    def __post_init__(self) -> None:
        for name in ("classes", "regions", "test_proposals"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} of a detector must be at least 1, not {getattr(self, name)}")


class Parts(NamedTuple):
    """Body, proposal network and heads; a batch's sides must be multiples of ``multiple``."""

    body: nn.Module
    proposals: ProposalNetwork
    heads: DetectorHeads
    multiple: int


class Detector(GeneralizedRCNN):  # type: ignore[misc]
    """torchvision's Faster or Mask R-CNN around a backbone; ``build_detector`` makes it.

    Its inputs and outputs are torchvision's, except for predicted masks: each covers its box alone, as a hundred masks
    of an image of 12 megapixels would take 5 GB.

    Attributes:
        architecture: "c4" or "fpn".
        classes: without the background; labels run from 1 to that.
        masks: whether it predicts masks.
        bit_depth: bits that the values of its 16-bit files use; None for all 16.
    """

    bit_depth: int | None = None

    def __init__(self, architecture: str, classes: int, parts: Parts, resizing: Resizing) -> None:
        super().__init__(parts.body, parts.proposals, parts.heads, resizing)
        self.architecture, self.classes = architecture, classes
        self.masks = parts.heads.has_mask()

    def forward(
        self,
        images: list[Float[Tensor, "channels _ _"]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> dict[str, Float[Tensor, ""]] | list[dict[str, Tensor]]:
        """Losses in training mode, detections in eval mode.

        Args:
            images: pixels in [0, 1], not normalized, each of its own size, channels as the backbone's.
            targets: of each image, in training: "boxes" (N, 4) float (left, top, right, bottom) in pixels, of positive
                width and height; "labels" (N,) int64 from 1 to ``classes``; with masks, "masks" (N, height, width)
                uint8 or bool. N may be 0.

        Returns:
            In training: "loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg" and, with masks,
            "loss_mask", whose sum is to be minimized. In eval mode, of each image: "boxes" (N, 4) in its pixels,
            "labels" (N,), "scores" (N,) from .05 to 1 in descending order, N at most 100, and, with masks, "box_masks"
            (N, side, side), probabilities in equal cells of the box, which ``encode_box_masks`` maps to pixels.

        Raises:
            UserError: images with another number of channels than the backbone's.
            AssertionError: a box without width or height; no targets in training.
        """
        wanted = len(self.transform.image_mean)
        for image in images:
            if image.shape[0] != wanted:
                raise UserError(
                    f"the detector's backbone takes images of {wanted} channels, but one has {image.shape[0]}; "
                    "give it the images that the backbone was made for"
                )
        output: dict[str, Tensor] | list[dict[str, Tensor]] = super().forward(images, targets)
        return output


class Resizing(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's normalization and batching; sizes and filters are Detectron2's.

    torchvision downscales without a low-pass filter, and pastes masks into canvases of the image's size, which take too
    much memory for large images; here masks stay in their boxes.

    Args:
        short_sides: short sides in pixels, of which one is drawn for each training image.
        test_short_side: short side at test time.
        max_side: the long side is at most that; the short side shrinks accordingly.
        mean: of each channel, for pixels in [0, 1].
        std: standard deviation of each channel.
        multiple: the batch is padded with zeros to multiples of that.
    """

    def __init__(
        self,
        short_sides: tuple[int, ...],
        test_short_side: int,
        max_side: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        multiple: int,
    ) -> None:
        super().__init__(short_sides, max_side, list(mean), list(std), size_divisible=multiple)
        self.test_short_side = test_short_side

    def resize(
        self, image: Float[Tensor, "channels height width"], target: dict[str, Tensor] | None = None
    ) -> tuple[Float[Tensor, "channels rows columns"], dict[str, Tensor] | None]:
        """Image, boxes and masks resized to the short side of this mode."""
        old = (image.shape[1], image.shape[2])
        new = resized(*old, self.torch_choice(self.min_size) if self.training else self.test_short_side, self.max_size)
        if new == old:
            return image, target
        image = F.interpolate(image[None], new, mode="bilinear", antialias=True)[0]
        if target is not None:
            target = {**target, "boxes": resize_boxes(target["boxes"], old, new)}
            if "masks" in target:
                masks = target["masks"][:, None].to(torch.uint8)
                target["masks"] = F.interpolate(masks, new, mode="nearest-exact")[:, 0]
        return image, target

    def postprocess(
        self,
        result: list[dict[str, Tensor]],
        image_shapes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        """Detections with boxes in pixels of the original images."""
        if self.training:
            return result
        for found, network_size, size in zip(result, image_shapes, original_image_sizes, strict=True):
            found["boxes"] = resize_boxes(found["boxes"], network_size, size)
        return result


def resized(height: int, width: int, short_side: int, max_side: int) -> tuple[int, int]:
    """Height and width scaled to the short side, or to ``max_side`` if the long side exceeds it; at least one pixel."""
    scale = short_side / min(height, width)
    if scale * max(height, width) > max_side:
        scale = max_side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
