"""The commands whose results are compared, as text.

``{to}`` is the folder of the case itself, ``{from}/NAME`` that of a case that it needs. All paths are relative, and all
that depends on the machine is set, so that results hold no trace of either.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

RECIPES = ("paper", "simsiam", "released")
# A case that continues a run: it begins with a copy of this case's folder, without the newest checkpoint.
RESUMES = {"resumed": "paper-0"}

_OPTIONS = {
    "small": "--backbone resnet18 --view-size 32 --epochs 2 --set training.precision=float32 --set training.device=cpu "
    "--set training.threads=1 --set data.workers=0 --set method.projection_dim=64 "
    "--set method.prediction_hidden_dim=16 --set monitor.every=2",
    "same": "--workers 0 --device cpu --precision float32",
    "labeled": "--size 32 --workers 0 --device cpu --precision float32",
    "tiny": "--short-side 64 --batch-size 2 --regions 16 --test-proposals 8 --precise-batches 1 --workers 0 "
    "--device cpu --precision float32",
    "head": "--size 32 --workers 0 --device cpu --precision float32 --epochs 3 --batch-size 8 --resamples 50",
    "csv": "--images data/images --train-labels data/train.csv --val-labels data/val.csv",
    "coco": "--images data/images --train-labels data/instances_train.json --val-labels data/instances_val.json",
    "voc": "--images data/images --train-labels data/voc/ImageSets/Main/train.txt "
    "--val-labels data/voc/ImageSets/Main/val.txt",
    "yolo": "--images data/images --train-labels data/yolo/labels/train --val-labels data/yolo/labels/val",
}
_RUNS = {
    f"{recipe}-{seed}": f"--recipe {recipe} --seed {seed} --batch-size 12" for recipe in RECIPES for seed in (0, 1)
}
_RUNS |= {
    "four-pairs": "--recipe simsiam-4pairs --batch-size 12",
    "device-renderer": "--batch-size 12 --set training.renderer=device",
    "accumulate": "--batch-size 8 --set training.accumulate=2",
    "grid": "--batch-size 8 --set views.grid=[2,3]",
    "constant-predictor": "--recipe released --batch-size 12 --set training.constant_predictor_lr=true",
}
_RUN = "pretrain data/images --out {to} {small}"
_COMMANDS = {
    **{name: f"{_RUN} {options}" for name, options in _RUNS.items()},
    "from-weights": f"{_RUN} --batch-size 12 --init {{from}}/simsiam-0 --set training.renderer=reference",
    "bands": "pretrain data/bands --out {to} {small} --batch-size 12 --set data.bands=5 --set data.rgb_bands=[2,1,0]",
    "resumed": f"{_RUN} {_RUNS['paper-0']} --resume",
    "embed": "embed {from}/paper-0 data/images --out {to}/features.npz --patches --size 64 {same}",
    "embed-bands": "embed {from}/bands data/bands --out {to}/features.npz --size 32 {same}",
    "neighbours": "neighbours {from}/paper-0 data/images --out {to}/found.png --blocks --queries 4 --size 32 {same}",
    "neighbours-stored": "neighbours {from}/paper-0 data/images --out {to}/found.png "
    "--features {from}/embed/features.npz --seed 1",
    "check-weights": "check-weights {from}/paper-0 --images data/images --out {to} {same}",
    "views": "views data/images --out {to}/views.html --labels data/instances_train.json --view-size 32 --photos 8 "
    "--recipe released --count-epochs 2",
    "linear": "linear {from}/paper-0 --out {to} {csv} {head} --recipe paper --beside random",
    "linear-cached": "linear {from}/released-0 --out {to} {voc} {head} --recipe released --cached --flips --epoch best",
    "knn": "knn {from}/paper-0 --out {to} {coco} {labeled} --resamples 50",
    "knn-1": "knn {from}/paper-1 --out {to} {coco} {labeled} --resamples 50",
    "knn-simsiam": "knn {from}/simsiam-0 --out {to} {coco} {labeled} --resamples 50",
    "probe": "probe {from}/paper-0 --out {to} {yolo} {labeled} --fraction .5 --fraction 1 --seed 0 --seed 1",
    "probe-svm": "probe {from}/simsiam-0 --out {to} {csv} {labeled} --fraction 1 --seed 0 --classifier svm "
    "--cost .1 --cost 1 --pool cat --crop center --average-precision voc07",
    "compare": "compare --group paper={from}/knn,{from}/knn-1 --group simsiam={from}/knn-simsiam --out {to}",
    "detect-c4": "detect {from}/paper-0 --out {to} {voc} {tiny} --iterations 3",
    "detect-fpn": "detect {from}/paper-0 --out {to} {coco} {tiny} --iterations 3 --architecture fpn --masks",
    "detect-yolo": "detect {from}/simsiam-0 --out {to} {yolo} {tiny} --iterations 2 --architecture fpn",
    "predict": "detect --predict {from}/detect-fpn --images data/new --out {to}/found.json {same}",
    "export-torchvision": "export {from}/paper-0 --to torchvision --out {to}/weights.safetensors",
    "export-timm": "export {from}/paper-0 --to timm --out {to}/weights.pth",
    "export-detectron2": "export {from}/paper-0 --to detectron2 --out {to}/weights.pkl",
    "export-mmdet": "export {from}/paper-0 --to mmdet --out {to}/weights.pth",
    "export-mmpretrain": "export {from}/paper-0 --to mmpretrain --out {to}/weights.pth",
    "export-ultralytics": "export {from}/paper-0 --to ultralytics --out {to}/folder",
    "export-huggingface": "export {from}/paper-0 --to huggingface --out {to}/folder",
    "knn-detectron2": "knn {from}/export-detectron2/weights.pkl --out {to} {csv} {labeled} --resamples 50",
    "export-onnx": "export {from}/paper-0 --to onnx --out {to}/network.onnx --size 32",
    "export-torch-export": "export {from}/bands --to torch-export --out {to}/network.pt2 --size 32",
}


@dataclass(frozen=True)
class Case:
    """A name, and what ``manyview`` is called with."""

    name: str
    command: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Cases whose folders it reads."""
        read = re.findall(r"\{from\}/([\w-]+)", self.command)
        return tuple(dict.fromkeys([*read, *([RESUMES[self.name]] if self.name in RESUMES else [])]))

    def arguments(self, to: str, source: str) -> list[str]:
        """The words of the command, with the folders that it writes to and reads from."""
        return [word.format(**{"to": to, "from": source}) for word in shlex.split(self.command)]


def all_cases() -> dict[str, Case]:
    """Each case by name, after those that it needs."""
    folders = {"to": "{to}", "from": "{from}"}
    return {name: Case(name, command.format(**folders, **_OPTIONS)) for name, command in _COMMANDS.items()}


def chosen(patterns: Sequence[str], needed: bool = True) -> dict[str, Case]:
    """The cases with names like one of the patterns, and with ``needed`` those that they need.

    Raises:
        ValueError: a pattern fits no case.
    """
    known = all_cases()
    wanted: set[str] = set()
    for pattern in patterns:
        fitting = fnmatch.filter(known, pattern)
        if not fitting:
            raise ValueError(f"no case is called {pattern}; there are {', '.join(known)}")
        wanted.update(fitting)
    for name in reversed(known):  # each stands after what it needs
        if name in wanted and needed:
            wanted.update(known[name].needs)
    return {name: case for name, case in known.items() if name in wanted}
