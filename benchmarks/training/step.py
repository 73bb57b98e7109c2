"""Where the time of a training step goes, part by part: ResNet-18 at 64 pixels on the CPU.

    python -m benchmarks.training.step [--photos DIR] --out step.json [--page docs/performance.md]

The steps are those of the loop, with all that follows each of them. Parts are shares of the main process's core time,
which is insensitive to other work on the machine; waiting for the loader is a share of the time by the clock. Also:
seconds that ``training.compile`` takes before its first step and its pace beside eager steps (--compile), and how alike
gradients in bf16 and float32 are on real photographs (--cosine).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.arguments import command_line, parsed
from manyview.cli.main import prepare

prepare()  # as the command does, before PyTorch is imported

import torch  # noqa: E402

from benchmarks.images import describe, jpegs, write_jpegs  # noqa: E402
from benchmarks.records import origin, put_between_markers, table, write_json  # noqa: E402
from benchmarks.training.steps import Steps, configure, started  # noqa: E402
from manyview.runs.signals import StopRequest  # noqa: E402
from manyview.training import loop  # noqa: E402
from manyview.training.data import method_batch  # noqa: E402
from manyview.training.survival.save_point import SavePoint  # noqa: E402

SIZE, GOAL = (320, 240), 0.03
EPOCH_END = "end of an epoch"  # of few images here: it is no part of a step
NETWORK = ("forward", "backward")
PARTS = (
    "forward",
    "backward",
    "receiving a batch",
    "normalization",
    "optimizer",
    "momentum encoder",
    "monitor",
    "log and display",
)


class Shares:
    """Core seconds by part; what is within another part counts for the inner one."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def of(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time counts for a part."""

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.process_time()
            self._inner.append(0.0)
            try:
                return function(*arguments, **options)
            finally:
                whole = time.process_time() - began
                self.spent[name] += whole - self._inner.pop()
                self._inner[-1] += whole

        return timed


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    result: dict[str, Any] = {
        **origin("training.step", options.given),
        "photographs": describe(options.photos),
        **{"view_size": options.view_size, "batch_size": options.batch_size, "threads": torch.get_num_threads()},
        **{"goal": GOAL, "recipes": {}, "compiled": {}, "cosine": None},
    }
    with tempfile.TemporaryDirectory() as folder:
        images = write_jpegs(Path(folder) / "images", jpegs(options.photos, SIZE, options.count, enlarge=True))
        for recipe in options.recipes:
            with running(images, Path(folder) / recipe, recipe, options) as steps:
                result["recipes"][recipe] = measure(steps, options.steps)
            write_json(options.out, result)
        if options.compile:
            result["compiled"] = compiled(images, Path(folder), options)
        if options.cosine:
            result["cosine"] = cosine(images, Path(folder), options)
    write_json(options.out, result)
    text = markdown(result)
    if options.page:
        put_between_markers(options.page, "step", text)
    print(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--photos", type=Path, help="folder of images; unset: synthetic scenes")
    parser.add_argument("--recipes", nargs="+", default=["simsiam", "mocov2", "byol"])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--view-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--count", type=int, default=256, help="images")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="also measure training.compile")
    parser.add_argument("--cosine", action="store_true", help="also compare gradients in bf16 and float32")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/step.json"))
    parser.add_argument("--page", type=Path, help="document whose table is replaced")
    return parsed(parser, arguments)


@contextmanager
def running(images: Path, folder: Path, recipe: str, options: argparse.Namespace, **more: Any) -> Iterator[Steps]:
    """A run of a recipe, ready for its first step."""
    settings = {
        **{"views.size": options.view_size, "training.batch_size": options.batch_size, "training.device": "cpu"},
        **{"backbone.name": options.backbone, "training.precision": "float32", **more},
        **({"method.queue": options.count // 2} if recipe == "mocov2" else {}),
    }
    with started(configure(images, settings, recipe), folder) as steps:
        yield steps


def measure(steps: Steps, count: int) -> dict[str, Any]:
    """Core seconds of each part, a step; ``rest`` is what is in none of them."""
    training, module, optimizer = steps.training, steps.module, steps.optimizer
    shares, progress = Shares(), loop._Progress(training)
    point = SavePoint(training.method, training.save, training.display.say, lambda: training.step)
    parts = [
        (training.method, "forward", "forward"),
        (training.fabric, "backward", "backward"),
        (loop, "method_batch", "normalization"),
        (optimizer, "step", "optimizer"),
        (optimizer, "zero_grad", "optimizer"),
        (training.method, "after_step", "momentum encoder"),
        (loop, "_watch", "monitor"),
        (training, "log", "log and display"),
        (training.display, "update", "log and display"),
        (point, "mark", "save point"),
        (loop, "_end_epoch", EPOCH_END),
    ]
    batches = iter(shares.of("receiving a batch", steps.batches.__next__), None)
    with training.display, StopRequest(None, may_exit=False) as stop:
        step = lambda: loop._step(training, module, optimizer, batches, progress, stop, point)  # noqa: E731
        for _ in range(3):
            step()
        shares.spent.clear()
        with _patched(parts, shares):
            began, clock = time.process_time(), time.perf_counter()
            for _ in range(count):
                step()
            whole, seconds = time.process_time() - began, time.perf_counter() - clock
    whole -= shares.spent.pop(EPOCH_END, 0.0)
    spent = {name: value / count for name, value in shares.spent.items()}
    spent["rest"] = whole / count - sum(spent.values())
    outside = sum(value for name, value in spent.items() if name not in NETWORK)
    return {
        "core_seconds": spent,
        "core_seconds_of_a_step": whole / count,
        "seconds_of_a_step": seconds / count,
        "outside": outside / (whole / count),
        "waiting": progress.clock.waiting,
    }


@contextmanager
def _patched(parts: Sequence[tuple[Any, str, str]], shares: Shares) -> Iterator[None]:
    """Context manager in which functions count for parts."""
    before = [(owner, name, owner.__dict__.get(name)) for owner, name, _ in parts]
    for owner, name, part in parts:
        owner.__dict__[name] = shares.of(part, getattr(owner, name))
    try:
        yield
    finally:
        for owner, name, own in before:
            if own is None:
                del owner.__dict__[name]
            else:
                owner.__dict__[name] = own


def compiled(images: Path, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Seconds until the second step of eager and compiled runs of SimSiam, and core seconds of the steps after it."""
    found: dict[str, float] = {}
    for name, chosen in (("eager", False), ("compiled", True)):
        began = time.perf_counter()
        with running(images, folder / name, "simsiam", options, **{"training.compile": chosen}) as steps:
            steps.run(steps.batches, 2)
            found[f"{name}_start"] = time.perf_counter() - began
            cores = time.process_time()
            steps.run(steps.batches, options.steps)
            found[f"{name}_core_seconds"] = (time.process_time() - cores) / options.steps
    return found


def cosine(images: Path, folder: Path, options: argparse.Namespace) -> float:
    """Cosine of the gradients in bf16 and float32 of the same batch and weights, all parameters as one vector."""
    gradients = []
    for precision in ("float32", "bf16"):
        more = {"training.precision": precision, "data.workers": 0}
        with running(images, folder / precision, "simsiam", options, **more) as steps:
            training = steps.training
            batch = next(steps.batches)
            torch.manual_seed(0)
            result = steps.module(method_batch(batch, training.method, 0, training.moment, 0))
            training.fabric.backward(result["loss"])
            found = [each.grad.double().flatten() for each in training.method.parameters() if each.grad is not None]
            gradients.append(torch.cat(found))
    first, second = gradients
    return torch.cosine_similarity(first, second, 0).item()


def markdown(result: dict[str, Any]) -> str:
    """Table with a row for each recipe, and sentences on the rest."""
    names = [*PARTS, "save point", "rest"]
    rows = [
        [
            f"`{recipe}`",
            *(f"{found['core_seconds'].get(name, 0) / found['core_seconds_of_a_step']:.1%}" for name in names),
            f"{found['outside']:.1%}",
            f"{found['waiting']:.1%}",
        ]
        for recipe, found in result["recipes"].items()
    ]
    head = ["recipe", *names, "outside of forward and backward", "waiting (by the clock)"]
    about = (
        f"ResNet-18 on {result['photographs']}, views of {result['view_size']} pixels, {result['batch_size']} images a "
        f"step, float32 on {result['machine']['cores']} cores; the goal outside of forward and backward is at most "
        f"{result['goal']:.0%}."
    )
    sentences = [about, table(head, rows)]
    if found := result["compiled"]:
        pace = found["eager_core_seconds"] / found["compiled_core_seconds"]
        sentences.append(
            f"`training.compile`: the second step begins {found['compiled_start'] / found['eager_start']:.0f} times as "
            f"late; then {pace:.2f} times as fast by core time (`simsiam`)."
        )
    if result["cosine"] is not None:
        sentences.append(
            "Gradients in bf16 and float32 of the same batch and initial weights: cosine "
            f"{result['cosine']:.4f} over all parameters (`simsiam`)."
        )
    return "\n\n".join(sentences)


if __name__ == "__main__":
    main()
