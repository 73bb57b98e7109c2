"""No option that nothing reads: the reads of a few runs and of a collapse are recorded."""

from __future__ import annotations

import contextlib
import inspect
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from manyview.config import Augmentation, MethodSection, MonitorConfig, TrainingConfig, ViewsSection
from manyview.config.choices import CHOICES
from manyview.config.resolve import valid_keys
from manyview.config.section import Section
from manyview.training.monitor import CollapsedError, CollapseMonitor
from tests.helpers.tiny import train_tiny

GROUPS = {
    "PretrainConfig": "",
    "DataConfig": "data.",
    "BlockViewsConfig": "views.",
    "WholeViewsConfig": "views.",
    "BlockAndWholeViewsConfig": "views.",
    "GroupedViewsConfig": "views.",
    "SimSiamConfig": "method.",
    "MoCoConfig": "method.",
    "DenseCLConfig": "method.",
    "BYOLConfig": "method.",
    "ContrastiveConfig": "method.",
    "BarlowTwinsConfig": "method.",
    "VICRegConfig": "method.",
    "SupervisedConfig": "method.",
    "SwAVConfig": "method.",
    "DINOConfig": "method.",
    "SimilarityConfig": "losses.similarity.",
    "ImageAwareConfig": "losses.image_aware.",
    "BackboneConfig": "backbone.",
    "SGDConfig": "training.",
    "AdamWConfig": "training.",
    "LARSConfig": "training.",
    "MonitorConfig": "monitor.",
}


def own_settings(option: type[Section]) -> set[str]:
    """Settings of an option that not all options of its section share."""
    bases = (Augmentation, MethodSection, TrainingConfig, ViewsSection, Section)
    parts = [part for part in option.__mro__ if issubclass(part, Section) and part not in bases]
    return {key for part in parts for key in inspect.get_annotations(part) if key in option.model_fields}


def reader(frame: FrameType | None) -> tuple[str, str]:
    """Module and function; ``layout`` reads for whichever of the package's functions asks for it."""
    assert frame is not None
    if frame.f_code.co_name == "layout":
        while frame and (frame.f_code.co_name == "layout" or not name_of(frame).startswith("manyview.")):
            frame = frame.f_back
    return (name_of(frame), frame.f_code.co_name) if frame else ("", "")


def name_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Dotted keys that the package's code reads, outside of what resolves and validates a configuration.

    Each key by its section (``training.momentum``) and by its class (``LARSConfig.momentum``).
    """
    keys: set[str] = set()

    def spy(section: Any, name: str) -> Any:
        kind = type(section)
        if kind.__name__ in GROUPS and name in kind.model_fields:
            module, function = reader(sys._getframe(1))
            validating = module.startswith("manyview.config.") and function.startswith("_")
            laying_out = module in ("manyview.config.views", "manyview.config.methods")
            resolving = validating or laying_out or module == "manyview.config.resolve"
            if module.startswith("manyview.") and not resolving:
                keys.update((GROUPS[kind.__name__] + name, f"{kind.__name__}.{name}"))
        return object.__getattribute__(section, name)

    monkeypatch.setattr(Section, "__getattribute__", spy, raising=False)
    return keys


def test_every_setting_is_read(photos: Path, labels: Path, tmp_path: Path, read: set[str]) -> None:
    train_tiny(photos, tmp_path / "a", backbone="timm/test_resnet", view_size=32, epochs=1)
    train_tiny(photos, tmp_path / "on", backbone="timm/test_resnet", init=tmp_path / "a", view_size=32, epochs=1)
    train_tiny(photos, tmp_path / "b", recipe="simsiam", epochs=1, health=True)
    train_tiny(photos, tmp_path / "moco", recipe="mocov2", epochs=1)
    train_tiny(photos, tmp_path / "contrastive", recipe="recommended", epochs=1)
    for method in ("densecl", "byol"):
        train_tiny(photos, tmp_path / method, settings={"method.name": method}, epochs=1)
    for recipe in ("barlowtwins", "vicreg"):
        train_tiny(photos, tmp_path / recipe, recipe=recipe, epochs=1)
    train_tiny(photos, tmp_path / "supervised", recipe="supervised", labels=labels, epochs=1)
    for recipe in ("swav", "dino"):
        settings = {"views.kind": "whole", "training.warmup_epochs": 0.0}
        train_tiny(photos, tmp_path / recipe, recipe=recipe, settings=settings, epochs=1)
    bands = {"data.bands": 3, "data.rgb_bands": [2, 1, 0]}
    train_tiny(photos, tmp_path / "c", settings=bands, epochs=1)
    for name in ("adamw", "lars"):
        settings = {"training.optimizer": name, "training.schedule": "step"}
        train_tiny(photos, tmp_path / name, settings=settings, epochs=1)
    groups = {"views.kind": "groups", "views.groups": [{"size": 24}, {"count": 4}]}
    train_tiny(photos, tmp_path / "d", settings=groups, epochs=1)
    train_tiny(photos, tmp_path / "both", settings={"views.kind": "both"}, epochs=1)
    train_tiny(photos, tmp_path / "steps", epochs=None, steps=1, eval_labels=labels, settings={"monitor.eval_size": 16})
    watcher = CollapseMonitor(MonitorConfig(patience=1), [])
    watcher.measure(torch.randn(64, 32, generator=torch.Generator().manual_seed(0)), 1)
    with contextlib.suppress(CollapsedError):
        watcher.measure(torch.ones(64, 32), 2)

    # What chooses a section is a choice of classes.
    assert sorted(set(valid_keys()) - read - {choice.key for choice in CHOICES.values()}) == []
    # An option's own settings are read from that option, not only from another that has one of the same name.
    own = {
        f"{option.__name__}.{key}"
        for choice in CHOICES.values()
        for option in choice.options.values()
        for key in own_settings(option) - {choice.tag}
    }
    assert sorted(own - read) == []


def test_the_record_knows_what_is_not_read(photos: Path, tmp_path: Path, read: set[str]) -> None:
    train_tiny(photos, tmp_path / "a", epochs=1)

    assert "views.overlap" in read
    assert "views.pairs" not in read
    assert "monitor.patience" not in read
