"""Settling of a run from its configuration, its images, its initial weights and the machine."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from manyview.backbones import build_backbone, load_backbone
from manyview.config import IMAGENET_MEAN, IMAGENET_STD, resolve
from manyview.config.resolve import Assignment
from manyview.errors import UserError
from manyview.images import find_images
from manyview.runs.progress import run_console
from manyview.training.initial.weights import InitialWeights, find_initial
from manyview.training.settle import Settled, settle, start_hardware

ON_CPU = {"training.device": "cpu", "training.precision": "float32", "training.threads": 1}


def settled(photos: Path, initial: InitialWeights | None = None, **settings: Any) -> Settled:
    """Of the sixteen images; nothing may be built for it."""
    values = {"data.images": str(photos), **ON_CPU} | {key.replace("__", "."): v for key, v in settings.items()}
    config = resolve({}, [Assignment(key, value, "set") for key, value in values.items()])
    build = lambda _: pytest.fail("a method was built")  # noqa: E731
    hardware, console = start_hardware(config), run_console(enabled=False)
    return settle(config, find_images(photos), initial, hardware, build=build, console=console)


def differences(found: Settled) -> dict[str, Any]:
    """Settings of what runs that differ from what was asked for."""
    asked, config = found.asked.model_dump(), found.config.model_dump()
    return {
        f"{section}.{key}": now
        for section in ("views", "training", "data")
        for key, now in config[section].items()
        if now != asked[section][key]
    }


def test_only_what_was_left_open_is_filled_in(photos: Path) -> None:
    found = settled(photos, training__batch_size=8)

    assert differences(found) == {
        "views.mean": IMAGENET_MEAN,
        "views.std": IMAGENET_STD,
        "training.renderer": "cpu",
    }
    assert (found.plan.batch_size, found.plan.steps_per_epoch) == (8, 2)
    assert found.hardware.describe() == {"device": "cpu", "precision": "float32", "processes": 1}


def test_what_was_asked_for_stays(photos: Path) -> None:
    given = {"views__mean": (0.1, 0.2, 0.3), "views__std": (0.4, 0.5, 0.6), "training__renderer": "reference"}

    assert differences(settled(photos, training__batch_size=16, **given)) == {}


def test_half_of_the_normalization_may_be_given(photos: Path) -> None:
    found = settled(photos, training__batch_size=16, views__mean=(0.1, 0.2, 0.3))

    assert differences(found) == {"views.std": IMAGENET_STD, "training.renderer": "cpu"}


def test_the_batch_and_the_learning_rate_fit_the_images(photos: Path) -> None:
    found = settled(photos, training__batch_size=64, training__accumulate=3)

    assert (found.config.training.batch_size, found.config.training.accumulate) == (16, 1)
    assert math.isclose(found.config.learning_rate, 0.05 * 16 * 4 / 256)
    assert found.asked.training.batch_size == 64


def test_initial_weights_say_how_their_images_were_normalized(photos: Path) -> None:
    initial = InitialWeights(photos, "", ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))

    found = settled(photos, initial, training__batch_size=16, backbone__init="w.pth")

    assert (found.config.views.mean, found.config.views.std) == initial.normalization


def test_a_normalization_is_said_to_be_from_where_it_is_recorded(photos: Path, tmp_path: Path) -> None:
    torch.save(build_backbone("timm/test_resnet").state_dict(), tmp_path / "pytorch_model.bin")
    settings = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": settings}))
    values = {"data.images": str(photos), "backbone.name": "timm/test_resnet", "backbone.init": str(tmp_path)}
    initial = find_initial(resolve({}, [Assignment(key, value, "set") for key, value in values.items()]))
    assert initial is not None
    backbone = load_backbone(tmp_path)
    assert backbone.loading is not None
    assert "as config.json beside the file records." in initial.sentences(backbone.loading, backbone)[1]


def test_a_decoding_device_renders(photos: Path) -> None:
    found = settled(photos, training__batch_size=16, data__decode="device")

    assert found.config.training.renderer == "device"


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.jpg").write_bytes(b"")

    with pytest.raises(UserError, match="holds 1 image; contrasting needs at least 2"):
        settled(tmp_path)
