"""Throughput of views on one core, in images a second, compared with other libraries in one interleaved run.

    python -m benchmarks.views [--photos DIR] --out views.json [--page docs/performance.md]

Each round gives every contestant the same images, so that other load on the machine affects all equally; ratios are
computed within a round, and their median over the rounds is reported with the range. The clock is the process's core
time. A last table has the share of each step and operation in the time of our views.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import command_line, parsed
from benchmarks.images import describe, jpegs, write_jpegs
from benchmarks.records import origin, put_between_markers, spread, table, write_json
from benchmarks.views.contestants import (
    CONTESTANTS,
    ENTROPY,
    FLOOR,
    FULL_DECODE,
    LIGHTLY,
    LOADER,
    NORMALIZED,
    PILLOW,
    UINT8,
    WHOLE_PIXELS,
    WITHOUT_KERNEL,
    Contestant,
    Task,
)
from benchmarks.views.operations import WHOLE, shares
from benchmarks.views.operations import ways as ways_by_operation
from manyview.config import BlockViewsConfig
from manyview.runtime import single_thread
from manyview.views import sample_views


@dataclass(frozen=True)
class Format:
    """A size of images, and the size of their views.

    Attributes:
        name: for the tables.
        size: width and height of the images.
        view_size: side of a view.
        enlarge: whether images that are too small are enlarged, not combined in a mosaic.
    """

    name: str
    size: tuple[int, int]
    view_size: int
    enlarge: bool = True

    @property
    def is_large(self) -> bool:
        return self.size[0] * self.size[1] > 4_000_000


# A 12-megapixel photo has more detail than an enlarged small image, and less than a mosaic of many.
FORMATS = (
    Format("640 x 480, views of 224", (640, 480), 224),
    Format("640 x 480, views of 96", (640, 480), 96),
    Format("640 x 480, views of 64", (640, 480), 64),
    Format("4000 x 3000, little detail, views of 224", (4000, 3000), 224),
    Format("4000 x 3000, much detail, views of 224", (4000, 3000), 224, enlarge=False),
)
# Pairs (faster, slower) whose ratios are reported.
RATIOS = (
    *((ours, theirs) for ours in (UINT8, LOADER, NORMALIZED, WITHOUT_KERNEL) for theirs in (LIGHTLY, PILLOW)),
    (UINT8, WITHOUT_KERNEL),
)
LARGE_RATIOS = tuple((faster, FULL_DECODE) for faster in (UINT8, LOADER, FLOOR, ENTROPY.name))


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    with one_core() as core:
        contestants = [contestant for contestant in CONTESTANTS if contestant.is_installed]
        result = {
            **origin("views", options.given),
            "photographs": describe(options.photos),
            "core": core,
            "left_out": [contestant.name for contestant in CONTESTANTS if not contestant.is_installed],
            "formats": {},
        }
        for form in FORMATS:
            result["formats"][form.name] = measure(form, contestants, options)
            write_json(options.out, result)
    text = markdown(result)
    if options.page:
        put_between_markers(options.page, "views", text)
    print(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--photos", type=Path, help="folder of images; unset: synthetic scenes")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/views.json"))
    parser.add_argument("--page", type=Path, help="document whose table is replaced")
    parser.add_argument("--count", type=int, default=16, help="images of 640 x 480")
    parser.add_argument("--large-count", type=int, default=4, help="images of 12 megapixels")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="minimum time of a contestant in a round")
    return parsed(parser, arguments)


@contextlib.contextmanager
def one_core() -> Iterator[int | None]:
    """Pin this process to one core and its libraries to one thread; yields the core's number if it can be chosen."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if allowed:
        os.sched_setaffinity(0, {max(allowed)})
    os.environ["OMP_NUM_THREADS"] = "1"  # for libraries that are yet to be loaded
    try:
        with single_thread():
            yield max(allowed) if allowed else None
    finally:
        if allowed:
            os.sched_setaffinity(0, allowed)


def measure(form: Format, contestants: Sequence[Contestant], options: argparse.Namespace) -> dict[str, Any]:
    """Throughput of each contestant and the ratios, for images of one size."""
    if form.is_large:
        contestants = [*contestants, WHOLE_PIXELS, ENTROPY]
    count = options.large_count if form.is_large else options.count
    encoded = jpegs(options.photos, form.size, count, enlarge=form.enlarge)
    with tempfile.TemporaryDirectory() as folder:
        task = Task(encoded, write_jpegs(Path(folder) / "images", encoded), form.view_size)
        ways = {contestant.name: contestant.prepare(task) for contestant in contestants}
        seconds, busy = compete(ways, len(encoded), options.rounds, options.seconds)
        parts, _ = compete(ways_by_operation(task), len(encoded), options.rounds, options.seconds)
    return {
        "photographs": len(encoded),
        "mean_bytes": round(statistics.mean(map(len, encoded))),
        "core_share": busy,
        "shown": shown(form),
        "contestants": {
            contestant.name: {
                "returns": contestant.returns,
                "how": contestant.how,
                "images_per_second": 1 / statistics.median(seconds[contestant.name]),
                "seconds_per_image": seconds[contestant.name],
            }
            for contestant in contestants
        },
        "operations": {"seconds_per_image": parts, "shares": shares(parts)},
        "ratios": ratios(seconds, RATIOS + (LARGE_RATIOS if form.is_large else ())),
    }


def shown(form: Format, count: int = 100) -> dict[str, float]:
    """Mean share of an image's rows and of its area that at least one of its eight views shows."""
    width, height = form.size
    config, cell = BlockViewsConfig(size=form.view_size), 8
    rows, area = [], []
    for index in range(count):
        seen = np.zeros((height // cell, width // cell), dtype=bool)
        for view in sample_views(config, width, height, seed=0, epoch=0, image=index):
            left, top, right, bottom = (edge // cell for edge in view.crop)
            seen[top:bottom, left:right] = True
        rows.append(float(seen.any(axis=1).mean()))
        area.append(float(seen.mean()))
    return {"rows": statistics.mean(rows), "area": statistics.mean(area)}


def compete(
    ways: dict[str, Callable[[int], Any]], count: int, rounds: int, least: float
) -> tuple[dict[str, list[float]], float]:
    """Core seconds per image of each contestant by round, and the share of the time that this process had the core."""
    passes = {name: max(1, math.ceil(least / (count * _time(way, count, 1)))) for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    began, began_busy = time.perf_counter(), time.process_time()
    order = list(ways)
    for _ in range(rounds):
        for name in order:
            seconds[name].append(_time(ways[name], count, passes[name]))
        order.append(order.pop(0))  # so that none always follows the same contestant
    return seconds, (time.process_time() - began_busy) / (time.perf_counter() - began)


def _time(way: Callable[[int], Any], count: int, passes: int) -> float:
    """Core seconds of this process per image."""
    began = time.process_time()
    for _ in range(passes):
        for index in range(count):
            way(index)
    return (time.process_time() - began) / (passes * count)


def ratios(seconds: dict[str, list[float]], pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Speed of the first of each pair relative to the second, computed within each round."""
    found = []
    for ours, theirs in pairs:
        if ours in seconds and theirs in seconds:
            values = [slow / fast for fast, slow in zip(seconds[ours], seconds[theirs], strict=True)]
            found.append({"faster": ours, "than": theirs, **spread(values)})
    return found


def markdown(result: dict[str, Any]) -> str:
    """Two tables: throughput as a multiple of torchvision's on Pillow, and the ratios with their ranges."""
    formats = result["formats"].values()
    everybody = {name: about for form in formats for name, about in form["contestants"].items()}
    speeds = [
        [name, about["how"], about["returns"], *(_multiple(form, name) for form in formats)]
        for name, about in everybody.items()
    ]
    pairs = {(ratio["faster"], ratio["than"]) for form in formats for ratio in form["ratios"]}
    compared = [
        [f"{ours} / {theirs}", *(_range(form, ours, theirs) for form in formats)]
        for ours, theirs in RATIOS + LARGE_RATIOS
        if (ours, theirs) in pairs
    ]
    left_out = f" Not installed, so left out: {', '.join(result['left_out'])}." if result["left_out"] else ""
    rounds = len(next(iter(everybody.values()))["seconds_per_image"])
    return "\n\n".join(
        [
            f"Images a second on one core, torchvision's on Pillow being 1; {result['photographs']}.{left_out}",
            table(["", "how", "a view is", *result["formats"]], speeds, text_columns=3),
            f"Times as fast: median of {rounds} rounds, lowest and highest round.",
            table(["", *result["formats"]], compared),
            _why_all_is_read(result["formats"]),
            _operations(result["formats"]),
        ]
    )


def _why_all_is_read(formats: dict[str, Any]) -> str:
    """Why a part of a large JPEG is not decoded alone."""
    about = next(reversed(formats.values()))["shown"]
    return (
        "Decoding a part of a photograph would save little: eight views of 12 megapixels together show "
        f"{100 * about['rows']:.0f} % of the rows and {100 * about['area']:.0f} % of the area, and the entropy-coded "
        "data, which take the time of the last row above, can be skipped between restart markers at best."
    )


def _operations(formats: dict[str, Any]) -> str:
    """Where the time goes: a row for each step and operation, and the whole beside the floor."""
    names = next(iter(formats.values()))["operations"]["shares"]
    rows = [
        [name, *(f"{100 * form['operations']['shares'][name]:.0f} %" for form in formats.values())] for name in names
    ]
    floors = []
    for form in formats.values():
        floor = statistics.median(form["contestants"][FLOOR]["seconds_per_image"])
        floors.append(f"{statistics.median(form['operations']['seconds_per_image'][WHOLE]) / floor:.2f}")
    return "\n\n".join(
        [
            "Where the time of `manyview, uint8` goes: each step alone on the same photographs, and what each "
            "operation adds to the bare crops where no other is made; median of the rounds. Operations of one view "
            "share some work, so the rest, which has what else happens, may be below 0.",
            table(["", *formats], [*rows, ["the whole, times the floor", *floors]]),
        ]
    )


def _multiple(form: dict[str, Any], name: str) -> str:
    if name not in form["contestants"]:
        return ""
    seconds = {who: about["seconds_per_image"] for who, about in form["contestants"].items()}
    return f"{ratios(seconds, [(name, PILLOW)])[0]['median']:.2f}"


def _range(form: dict[str, Any], ours: str, theirs: str) -> str:
    for ratio in form["ratios"]:
        if (ratio["faster"], ratio["than"]) == (ours, theirs):
            return f"{ratio['median']:.1f} ({ratio['lowest']:.1f} to {ratio['highest']:.1f})"
    return ""


if __name__ == "__main__":
    main()
