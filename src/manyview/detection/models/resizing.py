"""Images to the network's size, and its boxes back to the image's."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes


class Resizing(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's normalisation and batching; sizes and filters are Detectron2's.

    torchvision shrinks without a low-pass filter, and pastes masks into canvases of the image's size, which large
    photographs have no memory for; here they stay those of the boxes.

    Args:
        short_sides: of which one is drawn for each image in training, in pixels.
        test_short_side: in test.
        max_side: the long side is no longer than that; the short side gives way.
        mean: of each channel, of pixels from 0 to 1.
        std: of each channel.
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
        """Image, boxes and masks at a short side of this mode."""
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
        """Detections with boxes in the pixels of the images as they were given."""
        if self.training:
            return result
        for found, network_size, size in zip(result, image_shapes, original_image_sizes, strict=True):
            found["boxes"] = resize_boxes(found["boxes"], network_size, size)
        return result


def resized(height: int, width: int, short_side: int, max_side: int) -> tuple[int, int]:
    """Height and width with that short side, or with that long side if it would be longer; at least one pixel."""
    scale = short_side / min(height, width)
    if scale * max(height, width) > max_side:
        scale = max_side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
