"""Folders of runs and results as the verbs write them, without any training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manyview.backbones import build_backbone, save_backbone
from manyview.evaluation.metrics.bootstrap import summarize
from manyview.evaluation.metrics.multilabel import multilabel_report
from manyview.recipes import resolve_settings
from manyview.runs import RunFolder, sha256
from manyview.runs.files import plain

STEPS, PER_EPOCH, VIEWS = 40, 20, 32
PLAN = {"photographs": 80, "steps": STEPS, "steps_per_epoch": PER_EPOCH, "views_per_step": VIEWS}


def write_run(folder: Path, images: Path, *, recipe: str = "recommended", seed: int = 0, steps: int = STEPS) -> Path:
    """A run of 40 steps, of which some are done."""
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    settings = {"recipe": recipe, "backbone": "timm/test_resnet", "view_size": 16, "batch_size": 4, "seed": seed}
    config = resolve_settings(images, steps=STEPS, **settings).model_dump(mode="json")
    run.write_json("config.json", config)
    command = ["manyview", "pretrain", str(images), "--out", str(folder)]
    about = {"command": command, "plan": PLAN, "data": {"photographs": 80, "fingerprint": "abc"}, "device": "cpu"}
    run.write_json("run.json", {**about, "versions": {"torch": "2.11"}, "started": "2026-11-01T10:00:00+00:00"})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_backbone("timm/test_resnet")
    backbone.take_images((0.5,) * 3, (0.25,) * 3, rgb=True)
    save_backbone(backbone, run.weights, {"step": str(steps)})
    write_log(run, range(steps + 1))
    return folder


def write_log(run: RunFolder, steps: Sequence[int]) -> None:
    """Records of some steps."""
    for step in steps:
        means = {"loss": 5.0 - 0.05 * step, "similarity": -0.5 - 0.01 * step, "std": 0.9, "rank": 8.0 + 0.1 * step}
        pace = {"learning_rate": 0.1 / (step + 1), "views_per_second": 100.0, "waiting": 0.02, "elapsed": 1.5 * step}
        if step % 10 == 0:
            figures = {"logistic": 0.2 + 0.002 * step, "knn": 0.19, "rankme": 40.0, "dense": 0.5}
            run.append_metrics({"step": step, "kind": "quality", **figures, "seconds": 1.0, "elapsed": 1.5 * step})
        if step and step % 5 == 0:
            run.append_metrics({"step": step, "kind": "step", "epoch": step // PER_EPOCH, **means, **pace})
        if step and step % PER_EPOCH == 0:
            run.append_metrics({"step": step, "kind": "epoch", "epoch": step // PER_EPOCH - 1, **means, **pace})


def protocol_of(weights: Path, classes: Sequence[str]) -> dict[str, Any]:
    """The part of a protocol that all evaluations on labels have."""
    split = {"labels": "labels.csv", "count": 30, "positives": [10] * len(classes), "ignored": [0] * len(classes)}
    digest = sha256(weights) if weights.is_file() else "0"
    about = {
        "backbone": "timm/test_resnet",
        "weights": str(weights),
        "weights_sha256": digest,
        "pool": "gamp",
        "size": 32,
    }
    return {**about, "classes": list(classes), "train": split, "val": split, "crop": "warp"}


def write_linear(folder: Path, weights: Path, classes: Sequence[str], *, verb: str = "linear") -> dict[str, Any]:
    """A result of ``linear`` or ``knn`` on random scores; returns its content."""
    rng = np.random.default_rng(len(classes))
    targets = (rng.random((30, len(classes))) < 0.4).astype(int)
    results = {
        name: plain(multilabel_report(rng.random(targets.shape), targets, resamples=20))
        for name in ("pretrained", "random_init")
    }
    differences = {"random_init": {"mAP": 0.031, "interval": [-0.01, 0.08]}}
    command = ["manyview", verb, str(weights), "--out", str(folder)]
    content = {
        "evaluation": verb,
        "protocol": {**protocol_of(weights, classes), "recipe": "logistic", "threshold": 0.5},
        "results": results,
        "differences": differences,
        "provenance": {"command": command},
    }
    _write(folder / "metrics.json", content)
    return content


def write_probe(folder: Path, weights: Path, classes: Sequence[str]) -> None:
    """A result of ``probe`` at two amounts of labels."""
    rng = np.random.default_rng(1)
    targets = (rng.random((30, len(classes))) < 0.4).astype(int)
    entries = []
    for images, fraction in ((8, 0.1), (80, 1.0)):
        runs = [multilabel_report(rng.random(targets.shape), targets, resamples=0) for _ in range(2)]
        entries.append({"images": images, "fraction": fraction, "runs": runs, "summary": summarize(runs)})
    content = {
        "evaluation": "probe",
        "protocol": {**protocol_of(weights, classes), "classifier": "logistic"},
        "results": {"pretrained": entries},
        "provenance": {},
    }
    _write(folder / "metrics.json", plain(content))


def write_detector(folder: Path, weights: Path, classes: Sequence[str]) -> None:
    """A result of ``detect`` without a picture."""
    figures = {"AP": 0.12, "AP50": 0.3, "AP75": 0.05, "AP_by_class": [0.1 * n for n in range(len(classes))]}
    protocol = {**protocol_of(weights, classes), "architecture": "fpn", "iterations": 30, "batch_size": 2}
    _write(folder / "metrics.json", {"protocol": protocol, "results": {"box": figures}, "provenance": {}})


def write_neighbors(picture: Path, weights: Path, images: Path, names: Sequence[str]) -> None:
    """A result of ``neighbours`` with a picture that is none."""
    protocol = {**protocol_of(weights, ["a"]), "images": str(images), "k": 2, "photographs": len(names), "bands": "rgb"}
    near = [{"image": name, "cosine": 0.9} for name in names[1:3]]
    picture.write_bytes(b"no picture")
    _write(picture.with_suffix(".json"), {"protocol": protocol, "results": [{"image": names[0], "neighbours": near}]})


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
