"""Mean and standard deviation of a run's images: from the initial weights, or ImageNet's for RGB, or measured."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from manyview import distributed
from manyview.config import IMAGENET_MEAN, IMAGENET_STD, PretrainConfig
from manyview.images import ImageFiles
from manyview.images.loading import worker_count
from manyview.images.statistics import BandStatistics, measure_bands
from manyview.runs import RunFolder

Normalization = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel, of values in 0 to 1."""


def settle_normalization(
    config: PretrainConfig,
    files: ImageFiles,
    console: Console,
    *,
    resumed: RunFolder | None = None,
    initial: Normalization | None = None,
) -> Normalization:
    """Determine ``views.mean`` and ``views.std`` where they are unset.

    With several processes, the first one measures.

    Args:
        config: configuration as given by the user.
        files: images, which are measured if their statistics are not known otherwise.
        console: console for the measured values.
        resumed: folder of a resumed run, which keeps its values.
        initial: normalization of the initial weights, if known.

    Raises:
        UserError: no image, or the resumed run's configuration, can be read.
    """
    mean, std = config.views.mean, config.views.std
    if mean is None or std is None:
        usual_mean, usual_std = _unset(config, files, console, resumed, initial)
        mean, std = mean or usual_mean, std or usual_std
    return mean, std


def _unset(
    config: PretrainConfig,
    files: ImageFiles,
    console: Console,
    resumed: RunFolder | None,
    initial: Normalization | None,
) -> Normalization:
    imagenet = IMAGENET_MEAN, IMAGENET_STD
    rgb = config.data.bands == "rgb"
    if rgb and config.backbone.init is None:
        return imagenet
    if resumed is not None:
        return distributed.from_first(lambda: _kept(resumed))
    return distributed.from_first(lambda: initial or (imagenet if rgb else _measured(config, files, console)))


def _kept(folder: RunFolder) -> Normalization:
    mean, std = (folder.settled(f"views.{name}", _are_numbers) for name in ("mean", "std"))
    return tuple(map(float, mean)), tuple(map(float, std))


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, int | float) for each in value)


def _measured(config: PretrainConfig, files: ImageFiles, console: Console) -> Normalization:
    data, bands = config.data, config.data.channels
    with console.status(f"Measuring {bands} bands") as status:
        statistics = measure_bands(
            files,
            bands,
            seed=config.training.seed,
            max_pixels=data.max_pixels,
            threads=max(1, worker_count(data.workers)),
            bit_depth=data.bit_depth,
            progress=lambda done, total: status.update(f"Measuring {bands} bands: {done:,} of {total:,} images"),
        )
    console.print(_sentence(statistics, len(files)), highlight=False, markup=False)
    return statistics.mean, statistics.std


def _sentence(statistics: BandStatistics, images: int) -> str:
    mean, std = (" ".join(f"{value:.4f}" for value in values) for values in (statistics.mean, statistics.std))
    return (
        f"Bands measured on {statistics.images:,} of {images:,} images (values from 0 to 1): "
        f"mean {mean}, standard deviation {std}."
    )
