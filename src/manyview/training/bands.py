"""Mean and deviation of a run's photographs: its first weights', else ImageNet's for RGB, else measured once."""

from __future__ import annotations

from lightning_fabric import Fabric

from manyview.config import IMAGENET_MEAN, IMAGENET_STD, PretrainConfig
from manyview.errors import UserError
from manyview.images import ImageFiles
from manyview.images.loader import worker_count
from manyview.images.statistics import BandStatistics, measure_bands
from manyview.runs import RunFolder
from manyview.training.display import Display

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


def normalised(
    config: PretrainConfig,
    files: ImageFiles,
    folder: RunFolder,
    fabric: Fabric,
    display: Display,
    *,
    resume: bool,
    initial: Normalisation | None = None,
) -> PretrainConfig:
    """The configuration with ``views.mean`` and ``views.std`` filled in where they are unset.

    A resumed run takes those that it was started with, to the bit. Of several processes the first one measures.
    ``initial`` is what the weights that the run starts from were trained with, if they say.

    Raises:
        UserError: no photograph can be read, or the run's own record of its configuration.
    """
    if config.views.mean is not None and config.views.std is not None:
        return config
    if config.data.bands == "rgb" and config.backbone.init is None:
        return config.normalised(IMAGENET_MEAN, IMAGENET_STD)
    found: Normalisation | None = None
    if fabric.global_rank == 0:
        found = _kept(folder) if resume else initial or _usual(config, files, display)
    return config.normalised(*fabric.broadcast(found))


def _usual(config: PretrainConfig, files: ImageFiles, display: Display) -> Normalisation:
    return (IMAGENET_MEAN, IMAGENET_STD) if config.data.bands == "rgb" else _measured(config, files, display)


def _kept(folder: RunFolder) -> Normalisation:
    views = folder.read_json("config.json").get("views", {})
    try:
        return tuple(map(float, views["mean"])), tuple(map(float, views["std"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder.path / 'config.json'} does not say views.mean and views.std, without which the run cannot go on; "
            "start a new one"
        ) from error


def _measured(config: PretrainConfig, files: ImageFiles, display: Display) -> Normalisation:
    data, bands = config.data, config.data.channels
    with display.console.status(f"Measuring {bands} bands") as status:
        statistics = measure_bands(
            files,
            bands,
            seed=config.training.seed,
            max_pixels=data.max_pixels,
            threads=max(1, worker_count(data.workers)),
            progress=lambda done, total: status.update(f"Measuring {bands} bands: {done:,} of {total:,} photographs"),
        )
    display.say(_sentence(statistics, len(files)))
    return statistics.mean, statistics.std


def _sentence(statistics: BandStatistics, photographs: int) -> str:
    mean, std = (" ".join(f"{value:.4f}" for value in values) for values in (statistics.mean, statistics.std))
    return (
        f"Bands measured on {statistics.photographs:,} of {photographs:,} photographs, as shares of white: "
        f"mean {mean}, deviation {std}."
    )
