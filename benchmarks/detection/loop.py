"""Pace of fine-tuning a detector, beside torchvision's reference loop on the same detector and images.

    python -m benchmarks.detection.loop --images VOC/images --train VOC/instances_train.json [--page PAGE]

Each loop has a process of its own, as a user would start it: ``manyview detect``'s with what the command sets up, and
the loop of torchvision's references/detection as its documentation describes it (Pillow, images of like shape in a
batch, four loader processes, SGD, a warm-up, losses read once an iteration, torchvision's RoIAlign and PyTorch's
convolutions, no allocator or thread settings). Blocks of iterations alternate; while one runs, the other's processes
are halted. Core seconds are those of a process and its loader's, and less sensitive to other work on the machine than
the clock.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.arguments import command_line, parsed
from benchmarks.processes import core_seconds, tree

OURS, REFERENCE = "manyview", "reference"
GOAL = 1.2
LABELS = {OURS: "`manyview detect`", REFERENCE: "torchvision's reference loop"}
WORKERS = 4  # of the reference


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.part:
        with tempfile.TemporaryDirectory() as folder:
            {OURS: ours, REFERENCE: reference}[options.part](options, Path(folder))
        return
    from benchmarks.records import origin, put_between_markers, write_json

    blocks = alternate(options)
    result = {**origin("detection.loop", options.given), "goal": GOAL, **settings(options), **summary(blocks, options)}
    write_json(options.out, result)
    text = markdown(result)
    if options.page:
        put_between_markers(options.page, "detection loop", text)
    print(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True, help="objects: COCO JSON")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--short-side", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--regions", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5, help="blocks of iterations of each loop")
    parser.add_argument("--iterations", type=int, default=3, help="iterations a block")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/detection_loop.json"))
    parser.add_argument("--page", type=Path, help="document whose table is replaced")
    parser.add_argument("--part", choices=[OURS, REFERENCE], help=argparse.SUPPRESS)
    return parsed(parser, arguments)


def settings(options: argparse.Namespace) -> dict[str, Any]:
    names = ("backbone", "short_side", "batch_size", "regions", "rounds", "iterations")
    return {name: getattr(options, name) for name in names}


def alternate(options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Figures of each block of each loop."""
    words = [sys.executable, "-m", "benchmarks.detection.loop", *options.given, "--part"]
    children = {part: Child([*words, part]) for part in (OURS, REFERENCE)}
    blocks: dict[str, list[dict[str, float]]] = {part: [] for part in children}
    try:
        for child in children.values():
            child.run(1)  # which also allocates memory and selects kernels
        for number in range(options.rounds):
            for part in list(children) if number % 2 == 0 else reversed(children):
                blocks[part].append(children[part].run(options.iterations))
    finally:
        for child in children.values():
            child.end()
    return blocks


class Child:
    """A loop in a process group of its own, which is halted but while a block runs."""

    def __init__(self, words: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._read()
        self._signal(signal.SIGSTOP)

    def run(self, iterations: int) -> dict[str, float]:
        self._signal(signal.SIGCONT)
        assert self.process.stdin is not None
        self.process.stdin.write(f"{iterations}\n")
        self.process.stdin.flush()
        found = self._read()
        self._signal(signal.SIGSTOP)
        return found

    def end(self) -> None:
        self._signal(signal.SIGCONT)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a loop ended early")
        return dict(json.loads(line))

    def _signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)


def serve(iterate: Callable[[], None]) -> None:
    """Run as many iterations as each line of standard input says, and say how long they took."""
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        began, cores = time.perf_counter(), core_seconds(tree(os.getpid()))
        for _ in range(int(line)):
            iterate()
        spent = {"seconds": time.perf_counter() - began, "core_seconds": core_seconds(tree(os.getpid())) - cores}
        print(json.dumps(spent), flush=True)


def fine_tuning(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    return {
        **{"weights": "random", "backbone": options.backbone, "images": options.images, "beside": "none"},
        **{"train_labels": options.train, "val_labels": options.train, "out": folder / "run", "quiet": True},
        **{"architecture": "fpn", "batch_size": options.batch_size, "iterations": 10_000, "regions": options.regions},
        **{"short_side": str(options.short_side), "precision": "float32", "device": "cpu"},
    }


def ours(options: argparse.Namespace, folder: Path) -> None:
    """The loop of ``manyview detect``."""
    from manyview.cli.main import prepare

    prepare()
    from manyview.detection import finetune, loop
    from manyview.detection.schedule import training_indices
    from manyview.runs.progress import StepClock

    def run_loop(tuning: Any) -> None:
        batches = tuning.batches(training_indices(tuning.settings, tuning.data.shapes, 0, 0, 1))
        clock = StepClock()

        def iterate() -> None:
            losses, rate, waited = loop.train_step(tuning, tuning.detector, batches)
            clock.add(1.0, waited)
            loop._count(tuning, losses, rate, clock)

        serve(iterate)
        batches.close()
        raise SystemExit

    vars(finetune)["run_loop"] = run_loop
    finetune.fine_tune(**fine_tuning(options, folder))


def reference(options: argparse.Namespace, folder: Path) -> None:
    """The reference loop, on the same detector with torchvision's RoIAlign and PyTorch's convolutions."""
    from torch import nn
    from torchvision.ops import roi_align

    from manyview.detection import finetune
    from manyview.detection.models import roi_heads, rpn

    vars(roi_heads)["roi_align"] = partial(roi_align, sampling_ratio=0, aligned=True)
    vars(rpn)["SampledConv2d"] = lambda channels: nn.Conv2d(channels, channels, 3, padding=1)

    def run_loop(tuning: Any) -> None:
        import torch

        detector = tuning.detector.train()
        parameters = [each for each in detector.parameters() if each.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=0.02 * options.batch_size / 16, momentum=0.9, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.001, total_iters=1000)
        batches, meters = reference_batches(options), defaultdict(list)

        def iterate() -> None:
            images, targets = next(batches)
            images = [image.to("cpu") for image in images]
            targets = [{name: value.to("cpu") for name, value in target.items()} for target in targets]
            losses = detector(images, targets)
            total = sum(losses.values())
            value = sum(each.detach() for each in losses.values()).item()
            if not math.isfinite(value):
                raise SystemExit(f"the loss is {value}")
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            schedule.step()
            for name, each in {"loss": value, **losses, "lr": optimizer.param_groups[0]["lr"]}.items():
                meters[name].append(each.item() if isinstance(each, torch.Tensor) else each)

        serve(iterate)
        raise SystemExit

    vars(finetune)["run_loop"] = run_loop
    finetune.fine_tune(**fine_tuning(options, folder))


def reference_batches(options: argparse.Namespace) -> Iterator[tuple[Any, Any]]:
    """Endless batches of images of like shape, by Pillow and torchvision's transforms."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms.v2 import functional

    content = json.loads(options.train.read_text())
    objects = defaultdict(list)
    for each in content["annotations"]:
        objects[each["image_id"]].append(each)
    images = [image for image in content["images"] if objects[image["id"]]]
    classes = {each["id"]: number for number, each in enumerate(content["categories"], start=1)}

    class Images(Dataset[Any]):
        def __getitem__(self, index: int) -> Any:
            about = images[index]
            image = Image.open(options.images / about["file_name"]).convert("RGB")
            boxes = torch.tensor([each["bbox"] for each in objects[about["id"]]], dtype=torch.float32)
            boxes[:, 2:] += boxes[:, :2]
            labels = torch.tensor([classes[each["category_id"]] for each in objects[about["id"]]])
            if random.random() < 0.5:
                image = functional.horizontal_flip(image)
                boxes[:, [0, 2]] = image.width - boxes[:, [2, 0]]
            pixels = functional.to_dtype(functional.pil_to_tensor(image), torch.float32, scale=True)
            return pixels, {"boxes": boxes, "labels": labels}

    def grouped() -> Iterator[list[int]]:
        waiting: dict[bool, list[int]] = {True: [], False: []}
        while True:
            for index in torch.randperm(len(images)).tolist():
                group = waiting[images[index]["width"] > images[index]["height"]]
                group.append(index)
                if len(group) == options.batch_size:
                    yield list(group)
                    group.clear()

    loader = DataLoader(Images(), batch_sampler=grouped(), num_workers=WORKERS, collate_fn=together)  # type: ignore[arg-type]
    return iter(loader)


def together(items: list[Any]) -> tuple[Any, ...]:
    return tuple(zip(*items, strict=True))


def summary(blocks: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> dict[str, Any]:
    """Images a second of each loop, and ratios block by block."""
    from benchmarks.records import spread

    images = options.iterations * options.batch_size
    pairs = list(zip(blocks[OURS], blocks[REFERENCE], strict=True))
    return {
        "images_per_second": {
            part: spread([images / each["seconds"] for each in found]) for part, found in blocks.items()
        },
        "core_seconds_per_image": {
            part: spread([each["core_seconds"] / images for each in found]) for part, found in blocks.items()
        },
        "times_as_fast": spread([other["seconds"] / own["seconds"] for own, other in pairs]),
        "times_as_fast_by_core_time": spread([other["core_seconds"] / own["core_seconds"] for own, other in pairs]),
        "blocks": blocks,
    }


def markdown(result: dict[str, Any]) -> str:
    """The ratios in a sentence."""
    text = "{median:.2f} ({lowest:.2f} to {highest:.2f})"
    return (
        f"Faster R-CNN (fpn) on {result['backbone']}, short side {result['short_side']}, {result['batch_size']} images "
        f"an iteration, float32 on {result['machine']['cores']} cores. {LABELS[OURS]} is "
        f"{text.format(**result['times_as_fast'])} times as fast by the clock, "
        f"{text.format(**result['times_as_fast_by_core_time'])} by core time; the goal is {result['goal']}."
    )


if __name__ == "__main__":
    main()
