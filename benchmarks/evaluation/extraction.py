"""Throughput of feature extraction relative to the network's bare forward pass: ResNet-18 on the CPU.

    python -m benchmarks.evaluation.extraction [--photos DIR] --out extraction.json [--page docs/performance.md]

``manyview.evaluation.extract`` on JPEG files, from the start of its loader to the last feature, alternates with the
same network's bare forward pass over as many normalized tensors in memory, in the same batches. Both share the cores
with nothing else, so the difference is the core time of loading, normalization and pooling, and the wait for the first
batch. The ratio is also reported by core time, which is less sensitive to other work on the machine.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.arguments import command_line, parsed
from manyview.cli.main import prepare

prepare()  # as the command does, before PyTorch is imported

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.images import describe, jpegs, write_jpegs  # noqa: E402
from benchmarks.records import origin, put_between_markers, spread, table, write_json  # noqa: E402
from manyview.backbones import Backbone, build_backbone  # noqa: E402
from manyview.evaluation import extract  # noqa: E402
from manyview.evaluation.features.dataset import ImageDataset, fixed_views, load_readable  # noqa: E402
from manyview.images import ImageFiles  # noqa: E402
from manyview.images.loading import worker_count  # noqa: E402
from manyview.views import normalize  # noqa: E402

SIZE = (640, 480)
GOAL = 0.95
KEPT = {"pace_kept": "throughput kept", "kept_by_core_time": "the same by core time"}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    torch.manual_seed(0)
    backbone = build_backbone(options.backbone).eval()
    result = {
        **origin("evaluation.extraction", options.given),
        "photographs": f"{describe(options.photos)}, JPEG of {SIZE[0]} x {SIZE[1]}",
        "count": options.count,
        "backbone": options.backbone,
        "size": options.size,
        "batch_size": options.batch_size,
        "workers": worker_count(None),
        "threads": torch.get_num_threads(),
        "goal": GOAL,
        "precisions": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        images = write_jpegs(Path(folder) / "images", jpegs(options.photos, SIZE, options.count, enlarge=True))
        for precision in options.precisions:
            result["precisions"][precision] = measure(backbone, images, precision, options)
            write_json(options.out, result)
    text = markdown(result)
    if options.page:
        put_between_markers(options.page, "extraction", text)
    print(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--photos", type=Path, help="folder of images; unset: synthetic scenes")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=224, help="side of the inputs in pixels")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--count", type=int, default=3072, help="images")
    parser.add_argument("--rounds", type=int, default=3, help="passes over the images, of each type")
    parser.add_argument("--precisions", nargs="+", default=["bf16", "float32"], choices=["bf16", "float32"])
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/extraction.json"))
    parser.add_argument("--page", type=Path, help="document whose table is replaced")
    return parsed(parser, arguments)


def measure(backbone: Backbone, images: Path, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """Alternate passes of both types over all images; the figures of each round."""
    names = sorted(path.name for path in images.iterdir())
    ready = ready_batch(backbone, images, names[: options.batch_size], options.size)

    def extracted() -> None:
        extract(backbone, images, names, options.size, batch_size=options.batch_size, device="cpu", precision=precision)

    def bare() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            for start in range(0, len(names), options.batch_size):
                backbone(ready[: len(names) - start])

    bare()  # the first pass also allocates memory and selects kernels
    passes: dict[str, Callable[[], None]] = {"extracted": extracted, "bare": bare}
    rounds = []
    for number in range(options.rounds):
        order = list(passes) if number % 2 == 0 else list(reversed(passes))
        rounds.append({name: timed(passes[name]) for name in order})
    return {
        "photographs_per_second": {
            name: spread([len(names) / found[name]["seconds"] for found in rounds]) for name in passes
        },
        "pace_kept": spread([found["bare"]["seconds"] / found["extracted"]["seconds"] for found in rounds]),
        "kept_by_core_time": spread(
            [found["bare"]["core_seconds"] / found["extracted"]["core_seconds"] for found in rounds]
        ),
        "loading_share_of_core_time": sum(found["extracted"]["loading_core_seconds"] for found in rounds)
        / sum(found["extracted"]["core_seconds"] for found in rounds),
        "rounds": rounds,
    }


def ready_batch(backbone: Backbone, images: Path, names: Sequence[str], size: int) -> Tensor:
    """The first batch of network inputs, loaded and normalized beforehand."""
    indices = [[(0, index) for index in range(len(names))]]
    pixels = next(load_readable(ImageDataset(ImageFiles(images, names), size, fixed_views), indices, workers=0))
    return normalize(pixels, backbone.mean, backbone.std).contiguous(memory_format=torch.channels_last)


def timed(work: Callable[[], None]) -> dict[str, float]:
    """Wall-clock and core seconds, including the loader's processes, which end before the work returns."""
    began, own, children = time.perf_counter(), time.process_time(), of_children()
    work()
    seconds, own, children = time.perf_counter() - began, time.process_time() - own, of_children() - children
    return {"seconds": seconds, "core_seconds": own + children, "loading_core_seconds": children}


def of_children() -> float:
    """Core seconds of child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def markdown(result: dict[str, Any]) -> str:
    """Table with a row for each precision."""
    rows = [
        [
            precision,
            *(f"{found['photographs_per_second'][name]['median']:.1f}" for name in ("bare", "extracted")),
            *("{median:.3f} ({lowest:.3f} to {highest:.3f})".format(**found[key]) for key in KEPT),
            f"{100 * found['loading_share_of_core_time']:.1f} %",
        ]
        for precision, found in result["precisions"].items()
    ]
    head = ["precision", "bare, images/s", "extracted", *KEPT.values(), "loading's share of the core time"]
    about = (
        f"{result['backbone']} at {result['size']} pixels on {result['machine']['cores']} cores; {result['count']} "
        f"{result['photographs']}, in batches of {result['batch_size']}, {result['workers']} workers. Median of the "
        f"rounds, lowest and highest; the goal is {result['goal']}."
    )
    return about + "\n\n" + table(head, rows)


if __name__ == "__main__":
    main()
