"""Memory and time of the image-aware loss with its gradient, by number of vectors, in one interleaved run.

    python -m benchmarks.loss --out loss.json [--page docs/performance.md] [--plot docs/loss.png]

Each loss has a process of its own, with one thread, which computes it and its gradient when it is asked to. The losses
take turns, and ratios are taken within a round, of the process's own time on its core (on a GPU: of the clock). The
first step of a process gives the memory at its peak beyond what was held before. Up to 8,192 vectors it is not timed;
of more, each loss is computed once. A loss for which there is not enough memory is left out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.arguments import command_line, parsed
from benchmarks.loss.child import serve
from benchmarks.loss.contestants import CONTESTANTS, STREAMED, TEMPERATURE, VIEWS, Contestant
from benchmarks.loss.show import draw, markdown
from benchmarks.records import origin, put_between_markers, spread, write_json

WARMED = 8192
"""Most vectors of which the first step is not timed."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    contestants = [contestant for contestant in CONTESTANTS if contestant.is_installed]
    result: dict[str, Any] = {
        **origin("loss", options.given),
        "left_out": [contestant.name for contestant in CONTESTANTS if not contestant.is_installed],
        "vectors_of_an_image": VIEWS,
        "temperature": TEMPERATURE,
        "dim": options.dim,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu, one thread",
        "sizes": {},
    }
    for count in sorted(options.sizes):
        fitting = [each for each in contestants if fits(each.name, count, result["sizes"], options)]
        result["sizes"][str(count)] = measure(fitting, count, options)
        write_json(options.out, result)
        print(f"{count} vectors: {', '.join(result['sizes'][str(count)]['losses'])}", file=sys.stderr, flush=True)
    text = markdown(result)
    if options.page:
        put_between_markers(options.page, "loss", text)
    if options.plot:
        draw(result, options.plot)
    print(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/loss.json"))
    parser.add_argument("--page", type=Path, help="document whose table is replaced")
    parser.add_argument("--plot", type=Path, help="picture to write")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024 * 2**power for power in range(6)])
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5, help="up to 4,096 vectors; half of that up to 8,192")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--keep-free", type=float, default=4, help="GB of memory that are left to others")
    options = parsed(parser, arguments)
    if wrong := [size for size in options.sizes if size < VIEWS or size % VIEWS]:
        parser.error(f"sizes must be multiples of {VIEWS}, the vectors of an image: {wrong}")
    return options


def fits(name: str, count: int, smaller: dict[str, Any], options: argparse.Namespace) -> bool:
    """Whether a loss of so many vectors fits into memory, if its memory grows with the pairs since the last size.

    Ours in blocks, whose memory grows with the vectors, always takes part: ratios are to its time.
    """
    if not smaller or name == STREAMED:
        return True
    last = max(smaller, key=int)
    if name not in smaller[last]["losses"]:
        return False
    needed = smaller[last]["losses"][name]["extra_bytes"] * (count / int(last)) ** 2
    return needed < available(options.device) - options.keep_free * 1e9


def available(device: str) -> float:
    """Free bytes of memory."""
    if device == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    meminfo = Path("/proc/meminfo")
    return float(meminfo.read_text().split("MemAvailable:")[1].split()[0]) * 1024 if meminfo.exists() else 2.0**33


def measure(contestants: Sequence[Contestant], count: int, options: argparse.Namespace) -> dict[str, Any]:
    """Memory and seconds of each loss, and its time and memory relative to ours in blocks."""
    rounds = options.rounds if count <= WARMED // 2 else max(1, options.rounds // 2) if count <= WARMED else 1
    with ExitStack() as stack:
        ways = {
            each.name: stack.enter_context(running(each, count, options.dim, options.device)) for each in contestants
        }
        steps = [{name: ask(way) for name, way in ways.items()} for _ in range(rounds + (count <= WARMED))]
    timed = steps[1:] if count <= WARMED else steps
    losses: dict[str, dict[str, Any]] = {
        name: {
            "loss": steps[0][name]["loss"],
            "extra_bytes": steps[0][name]["extra_bytes"],
            "seconds": [step[name]["seconds"] for step in timed],
        }
        for name in ways
    }
    ours = losses[STREAMED]["seconds"]
    for about in losses.values():
        about["times_as_long"] = spread([theirs / own for theirs, own in zip(about["seconds"], ours, strict=True)])
    return {"vector_bytes": count * options.dim * 4, "losses": losses}


@contextmanager
def running(contestant: Contestant, count: int, dim: int, device: str) -> Iterator[Connection]:
    """A process that computes a loss."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, contestant.name, count, dim, device), daemon=True)
    process.start()
    there.close()  # so that the end of the process is seen here
    try:
        yield here
        here.send(None)
        process.join()
    finally:
        process.kill()


def ask(pipe: Connection) -> dict[str, float]:
    """The figures of a step.

    Raises:
        EOFError: the process has failed; its traceback is printed.
    """
    pipe.send("step")
    figures: dict[str, float] = pipe.recv()
    return figures


if __name__ == "__main__":
    main()
