"""Features of a frozen backbone: extracted once, pooled by average and by maximum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from manyview import distributed, pooling
from manyview.errors import UserError
from manyview.evaluation.features.backbone import FrozenBackbone, bands
from manyview.evaluation.features.dataset import CROPS, MIN_SIZE, Photographs, load
from manyview.runs.progress import Progress, no_progress
from manyview.runtime import resolve_device, resolve_precision

Pooled = dict[str, Float32[Tensor, "images dim"]]


@torch.no_grad()
def extract(
    backbone: nn.Module,
    images: Path,
    names: Sequence[str],
    size: int = 224,
    *,
    batch_size: int = 64,
    device: str = "auto",
    precision: str = "auto",
    workers: int | None = None,
    crop: str = "warp",
    flip: bool = False,
    progress: Progress = no_progress,
    phase: str = "features",
) -> Pooled:
    """Global average and global maximum of a backbone's feature maps, without augmentation.

    Every photograph is brought to S x S (bilinear with antialiasing) and normalised as the backbone's own images were,
    or with ImageNet's mean and standard deviation where it does not say. Both poolings are kept, so that every other
    can be formed from one extraction. The backbone is left on the device and in eval mode. Of several processes, each
    takes its share of the photographs, and all get the features of all.

    Args:
        backbone: normalised images (B, C, S, S) to feature maps (B, D, h, w). If it says ``rgb = False``, photographs
            must have ``in_channels`` bands.
        images: folder that the names are relative to.
        names: photographs, as names relative to the folder; at least one.
        size: S, in pixels, at least 8.
        batch_size: photographs at a time.
        device: "auto" (CUDA, Metal or CPU, the first there is), "cpu", "cuda", "cuda:1", "mps", ...
        precision: "float32" (which "auto" means) or "bf16" for the backbone's computation; features are float32.
        workers: loader processes; unset: by cores. The features do not depend on it.
        crop: "warp", the whole photograph warped to the square, or "center", the square at its centre whose side is 7/8
            of the shorter side.
        flip: whether the photographs are mirrored.
        progress: called after each batch with the number of photographs done.
        phase: what progress is told is being done.

    Returns:
        "avg" and "max": (N, D) in main memory, in the order of ``names``.

    Raises:
        UserError: if a photograph cannot be read, if a feature is not finite, if device, precision, size or crop is
            invalid.
    """
    if not names:
        raise UserError("there are no photographs to extract features of")
    where, precision = resolve_device(device), resolve_precision(precision)
    require(size >= MIN_SIZE, f"size must be at least {MIN_SIZE} pixels, not {size}")
    require(crop in CROPS, f"crop must be one of {', '.join(CROPS)}, not {crop!r}")
    require(batch_size >= 1, f"batch_size must be at least 1, not {batch_size}")
    frozen = FrozenBackbone(backbone, where, precision)
    places = [(0, index) for index in distributed.share(range(len(names)))]
    batches = [places[start : start + batch_size] for start in range(0, len(places), batch_size)]
    pooled: dict[str, list[Float32[Tensor, "batch dim"]]] = {"avg": [], "max": []}
    done = 0
    progress(done, len(places), phase)
    photographs = Photographs(images, names, size, bands=bands(backbone), crop=crop, flip=flip)
    for pixels, indices in load(photographs, batches, workers=workers, pin=where.type == "cuda"):
        features = frozen(pixels)
        for kind, parts in pooled.items():
            parts.append(pooling.pool(features, kind).cpu())
        done += len(indices)
        progress(done, len(places), phase)
    result = {kind: distributed.gather_shares(torch.cat(parts), len(names)) for kind, parts in pooled.items()}
    require(
        all(bool(torch.isfinite(values).all()) for values in result.values()),
        "the backbone gives features that are not finite: its weights are damaged, or come from a run that diverged",
    )
    return result


def combine(pooled: Pooled, kind: str) -> Float32[Tensor, "images pooled_dim"]:
    """Features of any pooling, (N, D) or for "cat" (N, 2D), from those that ``extract`` gives."""
    return pooling.combine(pooled["avg"], pooled["max"], kind)


def require(condition: bool, message: str) -> None:
    """Raise a UserError with this message unless the condition holds."""
    if not condition:
        raise UserError(message)
