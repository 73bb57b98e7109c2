"""Who makes a run's views: settled once, when it starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from manyview.errors import UserError
from manyview.images.jpeg_on_device import check_device_decoding
from manyview.training.costs import measure_costs
from manyview.training.loop import Training
from manyview.training.plan import Plan

Renderer = Literal["cpu", "device", "reference"]

# Here the device's work takes the workers' cores, so nothing is gained by giving it to the slower of two renderers.
_SHARE_THE_CORES = ("cpu",)


def settle_renderer(training: Training, *, resume: bool) -> Plan:
    """The plan with ``training.renderer`` settled: as asked, as the run had it before, or as measured here and now.

    Auto is the workers' renderer on a CPU, so that a run is the same on any; on an accelerator it is the one with which
    a step takes less time. All processes come to the same: the first one's figures count.

    Raises:
        UserError: the device is to decode JPEGs, but cannot.
    """
    config, fabric = training.plan.config, training.fabric
    if config.data.decode == "device":
        check_device_decoding(fabric.device)
    if config.training.renderer != "auto":
        return training.plan
    if config.data.decode == "device":
        renderer: Renderer = "device"
    elif resume:
        renderer = _kept(training)
    elif fabric.device.type in _SHARE_THE_CORES:
        renderer = "cpu"
    else:
        renderer = _measured(training)
    settled = config.training.model_copy(update={"renderer": renderer})
    return replace(training.plan, config=config.model_copy(update={"training": settled}))


def _kept(training: Training) -> Renderer:
    """The one that the resumed run was started with."""
    file = training.folder.path / "config.json"
    renderer = training.folder.read_json("config.json").get("training", {}).get("renderer")
    if renderer not in ("cpu", "device", "reference"):
        raise UserError(f"{file} does not say training.renderer, without which the run cannot go on; start a new one")
    return renderer


def _measured(training: Training) -> Renderer:
    with training.display.console.status("Measuring where views are made fastest"):
        costs = measure_costs(training)
    renderer: Renderer = "device" if costs is not None and costs.with_device < costs.with_workers else "cpu"
    renderer = training.fabric.broadcast(renderer)
    if costs is not None:
        training.display.say(f"Renderer {renderer}: {costs}.")
    return renderer
