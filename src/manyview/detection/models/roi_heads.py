"""RoI heads: RoIAlign, box and mask predictors, losses and detections."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_inference
from torchvision.ops.poolers import LevelMapper

from manyview.detection.models.losses import box_losses, mask_loss, mask_targets
from manyview.detection.models.roi_align import roi_align

FOREGROUND_IOU = 0.5
FOREGROUND_SHARE = 0.25
DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
SCORE_THRESHOLD = 0.05
NMS_IOU = 0.5
DETECTIONS = 100
MASK_CHANNELS = 256

Features = dict[str, Float[Tensor, "batch channels _ _"]]


class AlignedPool(nn.Module):
    """RoIAlign with the half-pixel offset and adaptive sampling.

    torchvision's ``MultiScaleRoIAlign`` has no such offset (its ``roi_align`` has), and guesses the strides.

    Args:
        names: of the feature maps, from the finest on.
        strides: of the feature maps, each twice the one before. An RoI is assigned to a map by its size: an RoI of
            224 x 224 pixels to the one of stride 16 (feature pyramids, arXiv 1612.03144, Eq. 1).
        size: rows and columns of the output for an RoI.
    """

    def __init__(self, names: tuple[str, ...], strides: tuple[int, ...], size: int) -> None:
        super().__init__()
        self.names, self.strides, self.size = names, strides, size
        first, last = (int(math.log2(stride)) for stride in (strides[0], strides[-1]))
        self.level_of = LevelMapper(first, last)

    def forward(
        self,
        features: Features,
        boxes: list[Float[Tensor, "_ 4"]],
        image_shapes: list[tuple[int, int]],
    ) -> Float[Tensor, "rois channels size size"]:
        """Pooled features of each image's boxes; ``image_shapes`` is ignored."""
        rois = torch.cat([F.pad(of_image, (1, 0), value=index) for index, of_image in enumerate(boxes)])
        if len(self.names) == 1:
            return roi_align(features[self.names[0]], rois, self.size, 1 / self.strides[0])
        levels = self.level_of(boxes)
        first = features[self.names[0]]
        pooled = first.new_zeros((len(rois), first.shape[1], self.size, self.size))
        for level, (name, stride) in enumerate(zip(self.names, self.strides, strict=True)):
            chosen = torch.where(levels == level)[0]
            pooled[chosen] = roi_align(features[name], rois[chosen], self.size, 1 / stride).to(pooled.dtype)
        return pooled


class BoxPredictor(nn.Module):
    """Class logits and box deltas of RoIs; feature maps are averaged over space first.

    Background has a logit and no box, as in Detectron2; its deltas are zeros, as torchvision's code counts from 0.

    Args:
        channels: of the features.
        classes: without the background.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(channels, classes + 1)
        self.bbox_pred = nn.Linear(channels, 4 * classes)
        for layer, std in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: Float[Tensor, "rois channels"] | Float[Tensor, "rois channels _ _"]
    ) -> tuple[Float[Tensor, "rois outcomes"], Float[Tensor, "rois four_outcomes"]]:
        """Logits of background and classes, and four deltas of each, float32."""
        x = x.mean(dim=(2, 3)) if x.ndim == 4 else x
        return self.cls_score(x).float(), F.pad(self.bbox_pred(x).float(), (4, 0))


class MaskPredictor(nn.Sequential):
    """Transposed convolution that doubles the resolution, then one mask for each class.

    Args:
        channels: of the RoIs' feature maps.
        classes: without the background, which has no mask.
    """

    def __init__(self, channels: int, classes: int) -> None:
        deconvolution = nn.ConvTranspose2d(channels, MASK_CHANNELS, 2, 2)
        predictor = nn.Conv2d(MASK_CHANNELS, classes, 1)
        nn.init.kaiming_normal_(deconvolution.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(predictor.weight, std=0.001)
        for layer in (deconvolution, predictor):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        super().__init__(deconvolution, nn.ReLU(inplace=True), predictor)

    def forward(self, input: Float[Tensor, "rois channels _ _"]) -> Float[Tensor, "rois classes side side"]:
        """Logits, float32."""
        logits: Tensor = super().forward(input)
        return logits.float()


class DetectorHeads(RoIHeads):  # type: ignore[misc]
    """torchvision's RoI heads with the losses ``box_losses`` and ``mask_loss``; subclasses define the masks' input.

    Args:
        pool: RoI pooling of features.
        head: maps pooled features to the input of ``predictor``.
        predictor: gives logits and deltas of each outcome.
        regions: RoIs per image sampled for training.
        mask_predictor: maps the RoIs' feature maps to masks of each class; None without masks.
    """

    def __init__(
        self, pool: nn.Module, head: nn.Module, predictor: nn.Module, regions: int, mask_predictor: nn.Module | None
    ) -> None:
        super().__init__(
            pool,
            head,
            predictor,
            FOREGROUND_IOU,
            FOREGROUND_IOU,
            regions,
            FOREGROUND_SHARE,
            DELTA_WEIGHTS,
            SCORE_THRESHOLD,
            NMS_IOU,
            DETECTIONS,
            mask_predictor=mask_predictor,
        )

    def has_mask(self) -> bool:
        """Whether masks are predicted; torchvision's own method would require a mask pool and head."""
        return self.mask_predictor is not None

    def mask_maps(self, features: Features, boxes: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        """Input of the mask predictor for each image's boxes."""
        raise NotImplementedError

    def mask_maps_in_training(
        self, features: Features, boxes: list[Tensor], sizes: list[tuple[int, int]], shared: Tensor, foreground: Tensor
    ) -> Tensor:
        """Input of the mask predictor for foreground boxes; ``shared`` is the box head's output for all boxes."""
        return self.mask_maps(features, boxes, sizes)

    def forward(
        self,
        features: Features,
        proposals: list[Float[Tensor, "_ 4"]],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Float[Tensor, ""]]]:
        """Detections of each image in eval mode; losses in training mode."""
        if self.training:
            return [], self._losses(features, proposals, image_shapes, targets)
        return self._detections(features, proposals, image_shapes), {}

    def _losses(
        self, features: Features, proposals: list[Tensor], sizes: list[tuple[int, int]], targets: Any
    ) -> dict[str, Tensor]:
        boxes, matched, labels, deltas = self.select_training_samples(proposals, targets)
        shared = self.box_head(self.box_roi_pool(features, boxes, sizes))
        classes = torch.cat(labels)
        logits, predicted = self.box_predictor(shared)
        classifier, regression = box_losses(logits, predicted, classes, torch.cat(deltas))
        losses = {"loss_classifier": classifier, "loss_box_reg": regression}
        if self.has_mask():
            kept = [of_image > 0 for of_image in labels]
            boxes = [of_image[keep] for of_image, keep in zip(boxes, kept, strict=True)]
            masks = self.mask_predictor(self.mask_maps_in_training(features, boxes, sizes, shared, classes > 0))
            wanted = [
                mask_targets(target["masks"], of_image, objects[keep], masks.shape[-1])
                for target, of_image, objects, keep in zip(targets, boxes, matched, kept, strict=True)
            ]
            losses["loss_mask"] = mask_loss(masks, classes[classes > 0], torch.cat(wanted))
        return losses

    def _detections(
        self, features: Features, proposals: list[Tensor], sizes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        shared = self.box_head(self.box_roi_pool(features, proposals, sizes))
        boxes, scores, labels = self.postprocess_detections(*self.box_predictor(shared), proposals, sizes)
        found = [{"boxes": b, "scores": s, "labels": c} for b, s, c in zip(boxes, scores, labels, strict=True)]
        if self.has_mask():
            logits = self.mask_predictor(self.mask_maps(features, boxes, sizes))
            masks = maskrcnn_inference(logits, [classes - 1 for classes in labels])
            found = [{**one, "box_masks": mask[:, 0]} for one, mask in zip(found, masks, strict=True)]
        return found
