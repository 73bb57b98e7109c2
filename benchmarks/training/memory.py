"""Memory of a run over its epochs, the main process and its loader processes together: it must not grow.

    python -m benchmarks.training.memory [--photos DIR] [--epochs 30] --out memory.json

The run is the command itself, watched from outside (Linux). Memory is what it has allocated, pages that its processes
share being counted once; without pages of files, which other programs share and the kernel drops at need. Written are
the JSON and, beside it, a plot of the same name.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import command_line, parsed
from benchmarks.images import describe, jpegs, write_jpegs
from benchmarks.processes import allocated
from benchmarks.records import origin, write_json

SIZE = (320, 240)
GOAL = 0.02
POLL = 0.25  # seconds
Sample = tuple[float, int, int, int]
"""Seconds since the start, epochs done, bytes of the main process and of its loader processes."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        images = write_jpegs(Path(folder) / "images", jpegs(options.photos, SIZE, options.count, enlarge=True))
        samples = watch(
            command(images, Path(folder) / "run", options), Path(folder) / "run" / "metrics.jsonl", options.epochs
        )
    figures = by_epoch(samples)
    result = {
        **origin("training.memory", options.given),
        "photographs": f"{options.count} {describe(options.photos)}, JPEG of {SIZE[0]} x {SIZE[1]}",
        "backbone": options.backbone,
        "workers": options.workers,
        "goal": GOAL,
        "growth": growth(figures),
        "farthest_from_the_second_epoch": farthest(figures),
        "epochs": figures,
    }
    write_json(options.out, result)
    plot(figures, options.out.with_suffix(".png"))
    print(
        f"growth from the second epoch to the last: {result['growth']:+.2%}; farthest from the second: "
        f"{result['farthest_from_the_second_epoch']:.2%}; the goal is at most {GOAL:.0%}"
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--photos", type=Path, help="folder of images; unset: synthetic scenes")
    parser.add_argument("--backbone", default="timm/test_resnet")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--count", type=int, default=512, help="images, seen once an epoch")
    parser.add_argument("--workers", type=int, default=2, help="loader processes")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--view-size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/memory.json"))
    return parsed(parser, arguments)


def command(images: Path, run: Path, options: argparse.Namespace) -> list[str]:
    settings = {
        **{"data.workers": options.workers, "training.device": "cpu", "training.threads": 1},
        **{"monitor.on_collapse": "warn", "method.projection_dim": 256, "method.prediction_hidden_dim": 64},
    }
    return [
        *(sys.executable, "-m", "manyview", "pretrain", str(images), "--out", str(run), "--quiet"),
        *("--backbone", options.backbone, "--epochs", str(options.epochs), "--seed", "0"),
        *("--batch-size", str(options.batch_size), "--view-size", str(options.view_size)),
        *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")),
    ]


def watch(words: Sequence[str], metrics: Path, epochs: int) -> list[Sample]:
    """Memory of a command and its children until it ends, with the epochs that its metrics say are done."""
    samples: list[Sample] = []
    began = time.monotonic()
    with subprocess.Popen(words) as process:
        while process.poll() is None:
            sizes, done = memory(process.pid), epochs_done(metrics)
            if sizes is not None and done < epochs:  # then its loader processes end
                samples.append((round(time.monotonic() - began, 2), done, *sizes))
            time.sleep(POLL)
    if process.returncode:
        raise SystemExit(f"the run failed with {process.returncode}")
    return samples


def memory(pid: int) -> tuple[int, int] | None:
    """Allocated bytes of a process and of its children together; None once one of them is ending."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return allocated(pid), sum(allocated(int(child)) for child in children)
    except (OSError, ValueError):
        return None


def epochs_done(metrics: Path) -> int:
    try:
        lines = metrics.read_text().splitlines()
    except OSError:
        return 0
    return sum('"kind": "epoch"' in line for line in lines)


def by_epoch(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Bytes while each epoch ran, of the samples in which all loader processes were there: median and highest."""
    figures = []
    for epoch in sorted({done for _, done, _, _ in samples}):
        sizes = np.array([(main, workers) for _, done, main, workers in samples if done == epoch and workers])
        if len(sizes):
            main, workers = np.median(sizes, axis=0).tolist()
            figures.append(
                {
                    **{"epoch": epoch + 1, "main": round(main), "workers": round(workers)},
                    **{"together": round(float(np.median(sizes.sum(1)))), "highest": int(sizes.sum(1).max())},
                }
            )
    return figures


def growth(figures: Sequence[dict[str, Any]]) -> float:
    """Share by which memory grows from the second epoch to the last, along the line of least squares."""
    after = [(each["epoch"], each["together"]) for each in figures if each["epoch"] >= 2]
    epochs, sizes = np.array(after, np.float64).T
    slope, start = np.polyfit(epochs - epochs[0], sizes, 1)
    return float(slope * (epochs[-1] - epochs[0]) / start)


def farthest(figures: Sequence[dict[str, Any]]) -> float:
    """Share by which an epoch's memory differs most from the second epoch's, of those after it."""
    sizes = np.array([each["together"] for each in figures if each["epoch"] >= 2], np.float64)
    return float(np.abs(sizes / sizes[0] - 1).max())


def plot(figures: Sequence[dict[str, Any]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    epochs = [each["epoch"] for each in figures]
    for key, label in (("main", "main process"), ("workers", "loader processes")):
        axes.plot(epochs, [each[key] / 2**20 for each in figures], marker=".", label=label)
    total = [each["together"] / 2**20 for each in figures]
    axes.plot(epochs, [each["highest"] / 2**20 for each in figures], color="black", ls=":", label="together, highest")
    axes.plot(epochs, total, color="black", marker=".", label="together, median")
    if len(total) > 1:
        axes.axhspan(total[1] * (1 - GOAL), total[1] * (1 + GOAL), color="black", alpha=0.1, label="second epoch ± 2 %")
    axes.set(xlabel="epoch", ylabel="allocated memory, MiB", ylim=(0, None), title="Memory over a run's epochs")
    axes.legend(loc="lower right", ncols=2)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
