"""Label-free measures of a backbone on a sample of images, with a diagnosis."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from manyview.backbones import Backbone, load_backbone, wrap_backbone
from manyview.backbones.build import UNTRAINED, untrained
from manyview.config import DataConfig, PretrainConfig, ViewsConfig, WholeViewsConfig
from manyview.errors import UserError, require, require_seed
from manyview.evaluation.features.backbone import bands, bit_depth
from manyview.evaluation.features.dataset import MIN_SIZE, ImageDataset, whole_and_pair
from manyview.evaluation.features.extract import BATCH_SIZE, FeaturesInViews, features_in_views, require_finite
from manyview.evaluation.health.diagnosis import Measures, beside_initial, diagnose
from manyview.evaluation.health.normalization import check_normalization
from manyview.evaluation.health.run_parts import initial_of, remedies_of, run_config
from manyview.evaluation.resume import RESULT_FILE
from manyview.evaluation.run_heads import Trained, trained_with
from manyview.evaluation.session import write_result
from manyview.evaluation.settings import (
    describe_loading,
    describe_pixels,
    describe_range,
    describe_versions,
    describe_weights,
)
from manyview.images import ImageFiles, ImageRoot, find_images, image_root
from manyview.measures import ALPHA_REQ_RANKS, alignment, alpha_req, collapse_std, effective_rank, uniformity
from manyview.options.base import StrPath, among, recorded, verb
from manyview.options.shared import Normalization
from manyview.options.unlabeled import CheckWeightsOptions
from manyview.runs import RunFolder, provenance, run_at
from manyview.runs.files import claim_folder
from manyview.runs.progress import Progress, no_progress
from manyview.runs.result import Result
from manyview.runtime import resolve_device, resolve_precision

HEALTH_FILE = "health.json"
_UNTRAINED = f"{UNTRAINED}; batch norms normalise by each batch of {BATCH_SIZE} photographs"
# Enough to distinguish healthy from collapsed, and faster than one training step at the usual batch.
HEALTH_SAMPLE = 256


@verb(CheckWeightsOptions)
def check_weights(
    weights: StrPath,
    *,
    views: ViewsConfig | None = None,
    progress: Progress = no_progress,
    **options: Unpack[CheckWeightsOptions],
) -> Result:
    """Measure a backbone and an untrained one without labels, and diagnose collapse.

    Measured are the features (global average of the feature map) and, if ``weights`` are a run's, their projections z:
    the standard deviation of z/|z|, RankMe, alpha-ReQ and uniformity on whole images warped to S x S, and alignment
    between two augmented views of each. All networks are in eval mode.

    Args:
        weights: run folder or checkpoint file.
        views: how the two views are drawn, at S; unset: as in the run, or SimSiam's of 224 pixels.
        progress: called as work goes on.
        **options: as ``CheckWeightsOptions`` declares them.

    Returns:
        Plain data, as in metrics.json: "protocol" (all that the figures depend on), "results" (for "pretrained",
        "random_init" and "initial", the weights that a run began with, if it still has them: of "features" and, for a
        run, "projections" the measures "dim", "std", "rankme", "rankme_share"
        (of the smaller of images and dim), "alpha_req" (None if too few dimensions), "uniformity", "alignment"),
        "normalization" (of ``check_normalization``), "diagnosis" ("verdict": "healthy",
        "partly collapsed", "collapsed" or "undecided", and "sentence"),
        "provenance".

    Raises:
        UserError: a setting is out of range, the weights or the images cannot be used, ``out`` already holds a
            metrics.json or cannot be written.
    """
    origin = provenance()
    sample, size, seed, out = options["sample"], options["size"], options["seed"], options["out"]
    _check_settings(sample, size, seed, options["workers"])
    where, precision = resolve_device(options["device"]), resolve_precision(options["precision"])
    if out is not None:
        claim_folder(Path(out), RESULT_FILE)
    run = run_at(Path(weights))
    config = run_config(run) if run else None
    views = views or (config.views if config else WholeViewsConfig())
    views = views.model_copy(update={"size": size or (config.views if config else views).layout[0].size})
    network = _load(weights, options["backbone"], views.size, config, among(Normalization, options))
    names = None if options["list"] is None else Path(options["list"])
    dataset = _dataset(network, image_root(options["images"]), names, views, seed, config)
    compared = options["random_init"] and not network.name.startswith("own:")
    others = {"random_init": _without_statistics(untrained(network, seed))} if compared else {}
    initial = initial_of(run, network) if run else None
    if initial is not None:
        others["initial"] = initial
    drawn = _draw(len(dataset), sample, seed)
    fit = check_normalization(network, dataset, drawn)
    found = features_in_views(
        {"pretrained": network, **others},
        dataset,
        drawn,
        device=where,
        precision=precision,
        workers=options["workers"],
        progress=progress,
    )
    _check_features(found)
    trained = trained_with(run, network) if run else None
    result = {
        "evaluation": "label-free",
        "protocol": {
            **_describe_weights(Path(weights), network, trained),
            **_describe_images(dataset, views, found, sample, None if names is None else str(names)),
            **describe_range(ImageFiles(dataset.files.root, [dataset.files[index] for index in drawn]), network),
            "untrained_backbone": _UNTRAINED if compared else None,
            **recorded(CheckWeightsOptions, options),
            "precision": precision,
            "device": str(where),
        },
        **_judge(found, trained, remedies_of(run, config) if run and config else None),
        "normalization": fit,
        "provenance": origin,
    }
    if out is not None:
        write_result(Path(out), result)
    return Result(result)


def check_run(run: RunFolder, config: PretrainConfig, *, module: nn.Module | None = None) -> str:
    """Check the weights of a finished run on some of its images; writes ``health.json`` to its folder.

    Args:
        run: the run's folder.
        config: of the run, with its images, loader processes and device.
        module: the backbone, if it is a user's own module; a copy is measured.

    Returns:
        The diagnosis as a sentence, or why there is none: a finished run does not fail without it.
    """
    data = config.data
    try:
        result = check_weights(
            run,
            images=data.images,
            list=data.list,
            sample=HEALTH_SAMPLE,
            backbone=module,
            workers=data.workers,
            device=config.training.device,
        )
        run.write_json(HEALTH_FILE, result)
    except UserError as error:
        return f"The weights were not checked: {error}"
    sentence: str = result["diagnosis"]["sentence"]
    return sentence


def measure(vectors: Float32[Tensor, "images 3 dim"]) -> Measures:
    """Measures of finite vectors of at least two images, each as a whole and in two views."""
    whole, first, second = vectors.unbind(1)
    rank, alpha = effective_rank(whole), alpha_req(whole)
    return {
        "dim": whole.shape[1],
        "std": collapse_std(whole),
        "rankme": rank,
        "rankme_share": rank / min(whole.shape),
        "alpha_req": None if math.isnan(alpha) else alpha,
        "uniformity": uniformity(whole),
        "alignment": alignment(first, second),
    }


def _check_settings(sample: int, size: int | None, seed: int, workers: int | None) -> None:
    require(sample >= 2, f"sample must be at least 2 images, not {sample}")
    require(size is None or size >= MIN_SIZE, f"size must be at least {MIN_SIZE} pixels, not {size}")
    require_seed(seed)
    require(workers is None or workers >= 0, f"workers must be at least 0, not {workers}")


def _load(
    weights: str | os.PathLike[str],
    backbone: str | nn.Module | None,
    size: int,
    config: PretrainConfig | None,
    images: Normalization,
) -> Backbone:
    """The weights' network, or a copy of a module with them; ``images`` as ``load_backbone`` takes them."""
    if not isinstance(backbone, nn.Module):
        return load_backbone(weights, backbone, **images)
    # A copy, as measuring changes mode and device, and the module is the caller's.
    channels = config.data.channels if config else 3
    return load_backbone(weights, into=wrap_backbone(copy.deepcopy(backbone), size, channels), **images)


def _without_statistics(network: Backbone) -> Backbone:
    """Make batch norms normalize by each batch, also in eval mode.

    Those of an untrained network have mean 0 and variance 1, with which its features nearly coincide: a pass over the
    images, without any training, would multiply their rank.
    """
    for norm in network.modules():
        if isinstance(norm, _BatchNorm):
            norm.track_running_stats = False
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    return network


def _dataset(
    network: Backbone,
    images: ImageRoot,
    names: Path | None,
    views: ViewsConfig,
    seed: int,
    config: PretrainConfig | None,
) -> ImageDataset:
    """Each image as a whole, and the two views of a positive pair in epoch 0 of a run with this seed."""
    data = config.data if config else DataConfig(images=str(images), bands=bands(network))
    files = find_images(images, names, arrays=data.bands != "rgb")
    drawn = partial(whole_and_pair, config=views, seed=seed)
    return ImageDataset(files, views.size, drawn, data.bands, data.rgb_bands, data.max_pixels, bit_depth(network))


def _describe_weights(weights: Path, network: Backbone, trained: Trained | None) -> dict[str, Any]:
    """Protocol of the weights and measures."""
    projector = "the run's projector on the features"
    z = projector if trained and trained.projector else "none: they need the checkpoint that a run's folder has"
    return {
        "evaluation": "label-free measures",
        **describe_weights(weights, network),
        "loading": describe_loading(network.loading),
        "features": "global average of the backbone's feature map",
        "projections": z,
        "steps": trained.steps if trained else None,
        **describe_pixels(network),
        "alpha_req": "least squares on log eigenvalues {} to {}, weights 1/k".format(*ALPHA_REQ_RANKS),
        "uniformity": "t = 2",
        "alignment": "alpha = 2, between two views of each photograph",
        **describe_versions(),
    }


def _describe_images(
    images: ImageDataset, views: ViewsConfig, found: FeaturesInViews, sample: int, names: str | None
) -> dict[str, Any]:
    """Protocol of the images and views."""
    return {
        "images": str(images.files.root),
        "list": names,
        "sample": sample,
        "photographs": found.readable,
        "unreadable": {str(item.path): item.reason for item in found.unreadable},
        **({"left_out": images.files.left_out} if images.files.left_out else {}),
        "size": views.size,
        "views": views.model_dump(mode="json"),
    }


def _draw(images: int, sample: int, seed: int) -> list[int]:
    """Indices of a sample without repetition, in ascending order."""
    drawn: list[int] = np.sort(np.random.default_rng(seed).permutation(images)[:sample]).tolist()
    return drawn


def _check_features(found: FeaturesInViews) -> None:
    """Refuse features of too few images, and features that are not finite."""
    readable = found.readable
    if readable < 2:
        first = f"; not {found.unreadable[0].path} ({found.unreadable[0].reason})" if found.unreadable else ""
        raise UserError(
            f"at least two images are needed, but only {readable} of {readable + len(found.unreadable)} can be "
            f"read{first}"
        )
    for vectors in found.by_network.values():
        require_finite(vectors)


def _judge(found: FeaturesInViews, trained: Trained | None, remedies: Sequence[str] | None) -> dict[str, Any]:
    """Measures of all networks, and the diagnosis."""
    results = {name: {"features": measure(vectors)} for name, vectors in found.by_network.items()}
    if trained and trained.projector:
        with torch.no_grad():
            z = trained.projector(found.by_network["pretrained"].flatten(0, 1)).unflatten(0, (-1, 3))
        require_finite(z)
        results["pretrained"]["projections"] = measure(z)
    diagnosis = diagnose(
        results["pretrained"]["features"],
        found.readable,
        untrained=results["random_init"]["features"] if "random_init" in results else None,
        projections=results["pretrained"].get("projections"),
        remedies=remedies,
        steps=trained.steps if trained else None,
    )
    sentence = diagnosis.sentence
    if "initial" in results:
        sentence += " " + beside_initial(results["pretrained"]["features"], results["initial"]["features"])
    return {"results": results, "diagnosis": {"verdict": diagnosis.verdict, "sentence": sentence}}
