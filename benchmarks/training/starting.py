"""Seconds that the command takes to start: help, a mistake, and pre-training until its first step is done.

    python -m benchmarks.training.starting --photos DIR [--page docs/performance.md]

Core time is that of the process; loader processes, whose work goes on beside, are left out. The table has multiples of
what importing PyTorch alone takes in the same round, as seconds say more of the machine; these are in the JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.arguments import command_line, parsed

BEGINS, ENDS = "pretrain: first step begins", "pretrain: first step is done"
UNIT = "python -c 'import torch'"
GOALS = {"manyview --help": 0.2, ENDS: 6.0}  # seconds by the clock
CLOCKS = ("core_seconds", "seconds")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.part:
        first_step(options.photos, options.part)
        return
    from benchmarks.records import origin, put_between_markers, spread, write_json

    rounds = [one_round(options) for _ in range(options.rounds)]
    found = {
        name: {
            **{key: spread([each[name][key] for each in rounds]) for key in CLOCKS},
            "times_the_import": {key: spread([each[name][key] / each[UNIT][key] for each in rounds]) for key in CLOCKS},
        }
        for name in rounds[0]
    }
    with os.scandir(options.photos) as entries:
        count = sum(1 for _ in entries)
    about = {"images": count, "goals": GOALS, "load": os.getloadavg()[0]}
    result = {**origin("training.starting", options.given), **about, "starts": found}
    write_json(options.out, result)
    text = markdown(result)
    if options.page:
        put_between_markers(options.page, "starting", text)
    print(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder of some thousand images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/starting.json"))
    parser.add_argument("--page", type=Path, help="document whose table is replaced")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    return parsed(parser, arguments)


def one_round(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Seconds of each start."""
    python, verb = [sys.executable, "-c"], [sys.executable, "-m", "manyview"]
    mistake = ["pretrain", str(options.photos), "--out", "none", "--set", "views.overlap=9"]
    found = {
        "python -c pass": timed([*python, "pass"]),
        UNIT: timed([*python, "import torch"]),
        "manyview --help": timed([*verb, "--help"]),
        "manyview pretrain --help": timed([*verb, "pretrain", "--help"]),
        "manyview pretrain, with a mistake in a setting": timed([*verb, *mistake], status=2),
    }
    with tempfile.TemporaryDirectory() as folder:
        words = [
            sys.executable,
            "-m",
            "benchmarks.training.starting",
            "--photos",
            str(options.photos),
            "--part",
            folder,
        ]
        began = time.time()
        lines = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    for name, line in zip((BEGINS, ENDS), lines.splitlines(), strict=True):
        clock, cores = json.loads(line)
        found[name] = {"seconds": clock - began, "core_seconds": cores}
    return found


def timed(words: Sequence[str], status: int = 0) -> dict[str, float]:
    """Seconds of a process until it ends with a status."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    if done.returncode != status:
        raise SystemExit(f"{words} ended with {done.returncode}")
    cores = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "core_seconds": cores}


def first_step(photos: Path, folder: str) -> None:
    """Pre-train until the first step is done, and print the time and the core seconds before and after it."""
    import manyview.recipes.launch as launch
    from manyview.cli import main as command

    train = launch._train

    def hooked(*arguments: Any, **options: Any) -> None:
        from manyview.training import loop

        step, count = loop.train_step, itertools.count()

        def once(*words: Any, **more: Any) -> Any:
            if next(count):
                sys.stdout.flush()
                os._exit(0)
            print(json.dumps([time.time(), time.process_time()]))
            result = step(*words, **more)
            print(json.dumps([time.time(), time.process_time()]))
            return result

        loop.train_step = once
        train(*arguments, **options)

    launch._train = hooked
    run = ["pretrain", str(photos), "--out", str(Path(folder) / "run"), "--backbone", "resnet18", "--epochs", "1"]
    sys.argv = ["manyview", *run, "--view-size", "64", "--batch-size", "16"]
    command()


def markdown(result: dict[str, Any]) -> str:
    """Table with a row for each start."""
    from benchmarks.records import table

    text = "{median:.3g} ({lowest:.3g} to {highest:.3g})"
    rows = [
        [
            f"`{name}`" if " -" in name else name,
            *(text.format(**found["times_the_import"][key]) for key in CLOCKS),
            f"{found['seconds']['median'] / result['goals'][name]:.2f}" if name in result["goals"] else "",
        ]
        for name, found in result["starts"].items()
    ]
    about = (
        f"ResNet-18, views of 64 pixels, 16 images a step (128 views), {result['images']:,} images, "
        f"{result['machine']['cores']} cores; PyTorch's import is 1. Median of the rounds, lowest and highest. The "
        f"machine had a load of {result['load']:.0f} at the end: beyond its cores the clock says more of other work."
    )
    return about + "\n\n" + table(["start", "core time", "by the clock", "share of the goal's seconds"], rows)


if __name__ == "__main__":
    main()
