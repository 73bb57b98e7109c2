"""What is disturbed: runs of seconds of pretrain, linear and detect, and what must be equal at their end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from manyview.backbones import build_backbone, save_backbone
from manyview.evaluation import linear_evaluation
from manyview.evaluation import resume as evaluation_resume
from manyview.runs import RunFolder
from tests.helpers.shapes import tune_tiny, write_shapes
from tests.helpers.tiny import train_tiny, write_images

EPOCHS, STEPS = 3, 12
OFTEN = {"training.checkpoint_minutes": 1e-6}
# Of records, what depends on the clock.
_CLOCKS = ("elapsed", "seconds", "seconds_per_iteration", "views_per_second", "waiting")


@dataclass
class Data:
    """Images, labels and weights in a folder, made once."""

    folder: Path

    @cached_property
    def photos(self) -> Path:
        """Eighteen images, two of which cannot be read."""
        images = write_images(self.folder / "photos", 18)
        (images / "03.jpg").write_bytes((images / "03.jpg").read_bytes()[:400])
        (images / "11.jpg").write_text("no image")
        return images

    @cached_property
    def sound(self) -> Path:
        """Sixteen images, all readable, with ``labels.csv`` beside the folder."""
        images = write_images(self.folder / "sound" / "images", 16)
        rows = [f"{index:02d}.jpg,any{'|even' * (index % 2 == 0)}{'|third' * (index % 3 == 0)}" for index in range(16)]
        (images.parent / "labels.csv").write_text("\n".join(["image,labels", *rows]) + "\n")
        return images

    @property
    def labels(self) -> Path:
        """The labels of ``sound``."""
        return self.sound.parent / "labels.csv"

    @cached_property
    def weights(self) -> Path:
        """Weights of a small network."""
        file = self.folder / "weights.safetensors"
        save_backbone(build_backbone("timm/test_resnet"), file, {})
        return file

    @cached_property
    def shapes(self) -> Path:
        """Labels beside eight pictures of shapes."""
        return write_shapes(self.folder / "shapes", 8)

    def make(self) -> None:
        """Make everything."""
        _ = self.photos, self.sound, self.weights, self.shapes


@dataclass(frozen=True)
class Workload:
    """A command with its settings.

    Attributes:
        name: of the workload.
        data: what it reads.
        processes: that work together.
    """

    name: str
    data: Data
    processes: int = 1

    def run(self, out: Path, *, workers: int = 0, **settings: Any) -> None:
        """Start it in its folder, or go on with what is there."""
        if self.name == "linear":
            self._linear(out, workers)
        elif self.name == "detect":
            self._detect(out, workers)
        else:
            self._pretrain(out, workers, settings)

    def has_begun(self, out: Path) -> bool:
        """Whether there is something to resume."""
        if self.name == "linear":
            return (out / evaluation_resume.FOLDER / evaluation_resume.PROTOCOL_FILE).is_file()
        return RunFolder(out).holds_a_run

    def is_done(self, out: Path) -> bool:
        """Whether the command has ended, so that it would refuse to run again."""
        done = self.name in ("linear", "detect") and (out / "metrics.json").is_file()
        return done and not (out / evaluation_resume.FOLDER).is_dir()

    def _pretrain(self, out: Path, workers: int, settings: Mapping[str, Any]) -> None:
        images, more, named = self.data.photos, dict[str, Any](), dict[str, Any]()
        if self.name == "measured":
            images, labels = self.data.sound, str(self.data.labels)
            more = {"training.blend": 0.5, "monitor.eval_size": 32, "monitor.eval_labels": labels}
            more |= {"monitor.eval_every": 4, "backbone.init": str(self.data.weights)}
            named = {"backbone": "timm/test_resnet", "view_size": 32}
        values = {"data.workers": workers, "data.max_bad_fraction": 0.2, "monitor.every": 2, "training.threads": None}
        values |= more | OFTEN | settings
        train_tiny(images, out, settings=values, resume=self.has_begun(out), quiet=False, epochs=EPOCHS, **named)

    def _linear(self, out: Path, workers: int) -> None:
        evaluation_resume._SECONDS_BETWEEN = 0.0  # a checkpoint after every epoch
        linear_evaluation(
            self.data.weights,
            images=self.data.sound,
            train_labels=self.data.labels,
            val_labels=self.data.labels,
            out=out,
            recipe="paper",
            cached=True,
            beside="random",
            size=32,
            epochs=6,
            batch_size=8,
            resamples=10,
            workers=workers,
            device="cpu",
            resume=self.has_begun(out),
        )

    def _detect(self, out: Path, workers: int) -> None:
        tune_tiny(
            self.data.shapes,
            out,
            workers=workers,
            quiet=False,
            resume=self.has_begun(out),
            checkpoint_minutes=1e-6,
            iterations=4,
            eval_every=2,
            backbone="resnet18",
            architecture="fpn",
        )

    def result(self, out: Path) -> dict[str, Any]:
        """What must be equal at the end, by name."""
        if self.name == "linear":
            content = json.loads((out / "metrics.json").read_text())
            return {key: content[key] for key in ("protocol", "results", "differences")} | {"files": names(out)}
        log = [
            {key: value for key, value in line.items() if key not in _CLOCKS} for line in RunFolder(out).read_metrics()
        ]
        if self.name == "detect":
            content = json.loads((out / "metrics.json").read_text())
            weights = {"weights": (out / "detector.safetensors").read_bytes()}
            return {key: content[key] for key in ("protocol", "results", "by_iteration")} | weights | {"log": log}
        found: dict[str, Any] = {"log": log, "files": names(out)}
        last = f"checkpoints/step-{STEPS:09d}"
        files = ["backbone.safetensors", f"{last}.safetensors", f"{last}.json"]
        if self.name == "measured":
            files += ["best.safetensors", "best.json", "initial.safetensors"]
        else:
            files += ["skipped.csv"]
        return found | {name: (out / name).read_bytes() if (out / name).is_file() else None for name in files}


def names(out: Path) -> list[str]:
    """Names of files that remain, but for logs of curves, the checkpoints before the last, and locks."""
    left = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    return sorted(
        str(path) for path in left if path.name != ".lock" and path.parts[0] not in ("tensorboard", "checkpoints")
    )


def workloads(data: Data) -> dict[str, Workload]:
    """All, by name."""
    singles = {name: Workload(name, data) for name in ("pretrain", "measured", "linear", "detect")}
    return {**singles, "pair": Workload("pair", data, processes=2)}


def free_port() -> int:
    """A port on which nothing listens."""
    with contextlib.closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextlib.contextmanager
def rank_of(rank: int, count: int, port: int) -> Iterator[None]:
    """The environment that torchrun gives a process; nothing for one alone."""
    if count > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "GROUP_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    yield
