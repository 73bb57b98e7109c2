"""The detector as a module: images and targets to losses, or images to detections."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from manyview.detection.models.parts import Parts
from manyview.detection.models.resizing import Resizing
from manyview.errors import UserError


class Detector(GeneralizedRCNN):  # type: ignore[misc]
    """torchvision's Faster or Mask R-CNN around a backbone; ``build_detector`` makes it.

    It is called as torchvision's are and answers as they do, but for the masks that it finds: each is that of its box,
    as a hundred masks of a photograph of 12 megapixels would take 5 GB.

    Attributes:
        architecture: "c4" or "fpn".
        classes: without the background; labels run from 1 to that.
        masks: whether it predicts masks.
    """

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
            images: pixels from 0 to 1, not normalised, each of its own size, channels as the backbone's.
            targets: of each image, in training: "boxes" (N, 4) float (left, top, right, bottom) in pixels, of positive
                width and height; "labels" (N,) int64 from 1 to ``classes``; with masks, "masks" (N, height, width)
                uint8 or bool. N may be 0.

        Returns:
            in training: "loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg" and, with masks,
            "loss_mask", whose sum is to be minimised. In eval mode, of each image: "boxes" (N, 4) in its pixels,
            "labels" (N,), "scores" (N,) from .05 to 1 in falling order, N at most 100, and, with masks, "box_masks"
            (N, side, side), probabilities in equal cells of the box, which ``encode_box_masks`` takes to pixels.

        Raises:
            UserError: images of other channels than the backbone's.
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
