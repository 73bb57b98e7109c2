"""Images to the network's size, and its boxes and masks back to the image's."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes


class Resizing(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's normalisation and batching; sizes, filters and mask pasting are Detectron2's.

    torchvision shrinks without a low-pass filter, and pastes masks at whole pixels.

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
        """Detections in the pixels of the images as they were given; masks of their whole size."""
        if self.training:
            return result
        for found, network_size, size in zip(result, image_shapes, original_image_sizes, strict=True):
            found["boxes"] = resize_boxes(found["boxes"], network_size, size)
            if "masks" in found:
                found["masks"] = paste(found["masks"], found["boxes"], size)
        return result


def resized(height: int, width: int, short_side: int, max_side: int) -> tuple[int, int]:
    """Height and width with that short side, or with that long side if it would be longer; at least one pixel."""
    scale = short_side / min(height, width)
    if scale * max(height, width) > max_side:
        scale = max_side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def paste(
    masks: Float[Tensor, "objects 1 side side"], boxes: Float[Tensor, "objects 4"], size: tuple[int, int]
) -> Float[Tensor, "objects 1 height width"]:
    """Each mask stretched over its box, sampled at the centres of the image's pixels; zero elsewhere.

    Args:
        masks: probabilities.
        boxes: (left, top, right, bottom) in pixels.
        size: height and width of the image.
    """
    height, width = size
    canvas = masks.new_zeros((len(masks), 1, height, width))
    for index, (left, top, right, bottom) in enumerate(boxes.tolist()):
        # Bilinear sampling fades to zero over half a cell beyond the box.
        reach_x, reach_y = ((right - left) / masks.shape[-1] / 2, (bottom - top) / masks.shape[-1] / 2)
        x0, x1 = max(math.floor(left - reach_x), 0), min(math.ceil(right + reach_x), width)
        y0, y1 = max(math.floor(top - reach_y), 0), min(math.ceil(bottom + reach_y), height)
        if x1 <= x0 or y1 <= y0:
            continue
        x = (torch.arange(x0, x1, device=masks.device) + 0.5 - left) / (right - left) * 2 - 1
        y = (torch.arange(y0, y1, device=masks.device) + 0.5 - top) / (bottom - top) * 2 - 1
        grid = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1)
        canvas[index, :, y0:y1, x0:x1] = F.grid_sample(
            masks[index : index + 1], grid[None].to(masks.dtype), align_corners=False
        )[0]
    return canvas
