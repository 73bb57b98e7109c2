"""The weights of a row of random init, with norm statistics of the images."""

from __future__ import annotations

from pathlib import Path

import torch

from manyview.backbones import build_backbone, save_backbone
from manyview.backbones.norm_statistics import set_norms
from manyview.evaluation.features.extract import FeatureSettings
from manyview.evaluation.features.norms import measure_on_images
from manyview.images import find_images
from manyview.runs import RunFolder


def write_random(
    run: RunFolder,
    *,
    backbone: str,
    images: str,
    list: str | None,
    size: int,
    seed: int,
    workers: int | None,
    device: str,
) -> None:
    """Write a backbone as it is initialized, to be evaluated as any other.

    The last norm of each residual branch starts at one: at zero, as SimSiam trains it, the untrained network would skip
    its branches. Statistics of the norms are measured on the images, as those of trained weights are.

    Args:
        run: folder for the weights.
        backbone: name of the network.
        images: folder of the images for the statistics.
        list: file that names them; None for all.
        size: side of the images in pixels.
        seed: of the weights.
        workers: loader processes; None: by cores.
        device: on which it runs.

    Raises:
        UserError: an unknown backbone, or images that cannot be read.
    """
    files = find_images(Path(images), None if list is None else Path(list))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_backbone(backbone, zero_init_residual=False).eval()
    settings = FeatureSettings("gamp", size, workers, device, "float32")
    set_norms(network, measure_on_images(network, files.root, [*files], settings, seed))
    run.path.mkdir(parents=True, exist_ok=True)
    save_backbone(network.cpu(), run.weights, {"recipe": "random", "seed": str(seed)})
