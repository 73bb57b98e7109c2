"""Throughput of training with data loading, relative to training on a ready batch: ResNet-18 on the CPU.

    python -m benchmarks.training.loader [--photos DIR] --out loader.json [--page docs/performance.md]

Blocks of steps on batches from the loader alternate with blocks of the same step on one ready batch. Loading and
training share the cores, so a step on a ready batch has all of them: the loader's processes are stopped meanwhile, and
keep their queues. So the whole cost of loading shows, as the core time that it takes. The ratio is also reported by
core time, which is less sensitive to other work on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.arguments import command_line, parsed
from benchmarks.images import describe, jpegs, write_jpegs
from benchmarks.processes import core_seconds
from benchmarks.records import origin, put_between_markers, spread, table, write_json
from benchmarks.training.steps import Steps, configure, started

SIZE = (640, 480)
GOAL = 0.95
KEPT = {"throughput_kept": "throughput kept", "kept_by_core_time": "the same by core time"}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    result = {
        **origin("training.loader", options.given),
        "photographs": f"{describe(options.photos)}, JPEG of {SIZE[0]} x {SIZE[1]}",
        "backbone": options.backbone,
        "goal": GOAL,
        "view_sizes": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        images = write_jpegs(Path(folder) / "images", jpegs(options.photos, SIZE, options.count, enlarge=True))
        for view_size, batch_size in zip(options.view_sizes, options.batch_sizes, strict=True):
            settings = {
                "views.size": view_size,
                "training.batch_size": batch_size,
                "training.device": "cpu",
                "backbone.name": options.backbone,
            }
            with started(configure(images, settings), Path(folder) / "run") as steps:
                result["view_sizes"][view_size] = measure(steps, options.rounds, options.steps)
            write_json(options.out, result)
    text = markdown(result)
    if options.page:
        put_between_markers(options.page, "loader", text)
    print(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--photos", type=Path, help="folder of images; unset: synthetic scenes")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--view-sizes", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 8], help="images a step, for each size")
    parser.add_argument("--count", type=int, default=64, help="images")
    parser.add_argument("--rounds", type=int, default=8, help="blocks of steps of each type")
    parser.add_argument("--steps", type=int, default=4, help="steps a block")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/loader.json"))
    parser.add_argument("--page", type=Path, help="document whose table is replaced")
    return parsed(parser, arguments)


def measure(steps: Steps, rounds: int, count: int) -> dict[str, Any]:
    """Alternate blocks of steps; the figures of each."""
    plan, workers = steps.training.settled.plan, steps.processes
    ready = itertools.repeat(next(steps.batches))
    steps.run(steps.batches, 2 * len(workers) + 2)  # past the batches that were prefetched before training began
    blocks = []
    for number in range(rounds):
        order = ("ready", "loaded") if number % 2 == 0 else ("loaded", "ready")
        block = {}
        for batch in order:
            with paused(workers if batch == "ready" else []):
                own, loading = time.process_time(), core_seconds(workers)
                seconds, waited = steps.run(ready if batch == "ready" else steps.batches, count)
                own, loading = time.process_time() - own, core_seconds(workers) - loading
                block[batch] = {
                    "seconds": seconds,
                    "waiting": waited,
                    "core_seconds": own + loading,
                    "loading_core_seconds": loading,
                }
        blocks.append(block)
    loaded = [block["loaded"] for block in blocks]
    ratios = [block["ready"]["seconds"] / block["loaded"]["seconds"] for block in blocks]
    by_core_time = [block["ready"]["core_seconds"] / block["loaded"]["core_seconds"] for block in blocks]
    return {
        "workers": len(workers),
        "batch_size": plan.batch_size,
        "views_per_step": plan.views_per_step,
        "steps_per_block": count,
        "throughput_kept": spread(ratios),
        "kept_by_core_time": spread(by_core_time),
        "loading_share_of_core_time": _share(loaded, "loading_core_seconds", "core_seconds"),
        "waiting": _share(loaded, "waiting", "seconds"),
        "blocks": blocks,
    }


@contextlib.contextmanager
def paused(processes: Sequence[int]) -> Iterator[None]:
    """Stop child processes while entered."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    for process in processes:
        os.waitid(os.P_PID, process, os.WSTOPPED | os.WNOWAIT)  # until then it may still use its core
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def markdown(result: dict[str, Any]) -> str:
    """Table with a row for each view size."""
    rows = [
        [
            f"{size} pixels, {about['batch_size']} images a step, {about['workers']} workers",
            *("{median:.3f} ({lowest:.3f} to {highest:.3f})".format(**about[key]) for key in KEPT),
            f"{100 * about['loading_share_of_core_time']:.1f} %",
            f"{100 * about['waiting']:.1f} %",
        ]
        for size, about in result["view_sizes"].items()
    ]
    head = ["views", *KEPT.values(), "loading's share of the core time", "time waiting for data"]
    about = (
        f"{result['backbone']} on the CPU; {result['photographs']}. Median of the rounds, lowest and highest; the goal "
        f"is {result['goal']}."
    )
    return about + "\n\n" + table(head, rows)


def _share(blocks: Sequence[dict[str, float]], part: str, whole: str) -> float:
    return sum(block[part] for block in blocks) / sum(block[whole] for block in blocks)


if __name__ == "__main__":
    main()
