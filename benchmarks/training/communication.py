"""Two processes beside one: pace, the share that communication takes, and what a step sends; on paper for more.

    python -m benchmarks.training.communication [--backbone resnet18 --batch-size 32 --view-size 64] \
        [--page docs/performance.md]

Both processes run on this machine with one thread each, so that one alone leaves a core idle, and meet by gloo. Every
round takes the same steps in four ways, on views that lie ready: one process with the whole batch; one with half of it;
two with half of it each, as strangers; and two that train together. The last two differ by nothing but communication.

What a step sends is counted: gradients, statistics of batch norms, embeddings, buffers. For ``--large``, a step on tiny
views is enough, as the bytes do not depend on their size; a model of the interconnect gives the rest (``PAPER``).
"""

from __future__ import annotations

import pickle
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from benchmarks.arguments import command_line
from benchmarks.records import origin, put_between_markers, spread, table, write_json
from manyview import distributed
from manyview.backbones import build_backbone
from manyview.config import resolve
from manyview.config.resolve import Assignment
from manyview.distributed import group
from manyview.distributed.launcher import run_processes
from manyview.methods import Method, MethodBatch, build_method
from manyview.recipes import recipe_settings

WAYS = ("one, whole batch", "one, half of it", "two strangers", "two together")

# What the slowest link of a ring of all GPUs passes in each direction, in bytes a second, and how many seconds a small
# collective takes: published peaks, and latencies as nccl-tests reports them (docs/performance.md has the sources).
PAPER: dict[str, tuple[float, float]] = {
    "8, NVLink 4 (450 GB/s, 20 us)": (450e9, 20e-6),
    "8, PCIe 4 x16 (32 GB/s, 30 us)": (32e9, 30e-6),
    "64, a node of 8 with 8 x InfiniBand NDR (400 GB/s, 60 us)": (400e9, 60e-6),
    "64, a node of 8 with 100 Gb/s Ethernet (12.5 GB/s, 630 us)": (12.5e9, 630e-6),
}
# A bf16 step of 512 views of 224 pixels of a ResNet-50 on an H100, measured (docs/performance.md, "On a GPU").
STEP = 512 / 3720


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = command_line(__doc__)
    parser.add_argument("--recipe", default="paper")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--large", default="resnet50", help="network whose step is counted, for the model")
    parser.add_argument("--batch-size", type=int, default=16, help="images of both processes together")
    parser.add_argument("--view-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="in each round and way")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/communication.json"))
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as folder:
        job = {**vars(options), "found": f"{folder}/found"}
        run_processes([sys.executable, "-m", "benchmarks.training.communication", "--work"], 2, pickle.dumps(job))
        found = pickle.loads(Path(job["found"]).read_bytes())
    result = {**origin("training.communication", given), **summary(found)}
    write_json(options.out, result)
    text = markdown(result)
    if options.page:
        put_between_markers(options.page, "communication", text)
    print(text)


def work() -> None:
    """One of the two processes."""
    job = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(1)
    distributed.join(torch.device("cpu"))
    steps = {way: ready(job, way) for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(job["rounds"] + 1):
        for way in WAYS:
            alone = way.startswith("one")
            dist.barrier()
            took = timed(steps[way], job["steps"], way != "two together") if not alone or group.rank() == 0 else 0.0
            if number:  # the first allocates memory
                seconds[way].append(took)
    sent = count(job)
    if group.rank() == 0:
        Path(job["found"]).write_bytes(pickle.dumps({"seconds": seconds, "sent": sent}))
    distributed.leave()


def ready(job: Mapping[str, Any], way: str) -> Any:
    """A function that takes one step."""
    images = job["batch_size"] if way == "one, whole batch" else job["batch_size"] // 2
    together = way == "two together"
    method = built(job["recipe"], job["backbone"], together=together)
    return step(method, images, job["view_size"], together=together)


def built(recipe: str, backbone: str, *, together: bool) -> Method:
    torch.manual_seed(0)
    settings = [Assignment("data.images", "photos", "benchmark")]
    method = build_method(build_backbone(backbone), resolve(recipe_settings(recipe), settings))
    if together:
        method.synchronize_norms()
    return method.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload,no-any-return]


def step(method: Method, images: int, size: int, *, together: bool) -> Any:
    """A function that takes one step on views of noise: four pairs of each image."""
    module = nn.parallel.DistributedDataParallel(method) if together else method
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01, momentum=0.9)
    views = torch.randn(images, 8, 3, size, size)
    ids = torch.arange(images) + images * (group.rank() if together else 0)

    def take() -> None:
        module(MethodBatch((views,), ids, torch.arange))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()

    return take


def timed(take: Any, steps: int, alone: bool) -> float:
    """Seconds of a step."""
    began = time.perf_counter()
    with strangers() if alone else nullcontext():
        for _ in range(steps):
            take()
    return (time.perf_counter() - began) / steps


@contextmanager
def strangers() -> Iterator[None]:
    """Let this process believe that it is alone."""
    before, group.initialized = group.initialized, lambda: False
    try:
        yield
    finally:
        group.initialized = before


def count(job: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Bytes that a process contributes to the collectives of a step of the large network, and their number."""
    method = built(job["recipe"], job["large"], together=True)
    take = step(method, 2, 32, together=True)
    take()
    calls: Counter[str] = Counter()
    sent: Counter[str] = Counter()

    def counted(function: Any, index: int) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            tensor: Tensor = arguments[index]
            purpose = "statistics of norms" if tensor.ndim == 1 else "embeddings"
            calls[purpose] += 1
            sent[purpose] += tensor.numel() * tensor.element_size()
            return function(*arguments, **named)

        return call

    before = dist.all_gather, dist.all_reduce
    dist.all_gather, dist.all_reduce = counted(dist.all_gather, 1), counted(dist.all_reduce, 0)
    try:
        take()
    finally:
        dist.all_gather, dist.all_reduce = before
    gradients = [parameter for parameter in method.parameters() if parameter.requires_grad]
    sent["gradients"] = sum(each.numel() * each.element_size() for each in gradients)
    calls["gradients"] = -(-sent["gradients"] // 2**20 // 25)  # DistributedDataParallel's buckets of 25 MiB
    sent["buffers"] = sum(each.numel() * each.element_size() for each in method.buffers())
    calls["buffers"] = 1
    return {purpose: {"bytes": sent[purpose], "calls": calls[purpose]} for purpose in sorted(sent)}


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """Ratios of each round, and the model."""
    seconds, sent = found["seconds"], found["sent"]
    rounds = [dict(zip(WAYS, row, strict=True)) for row in zip(*(seconds[way] for way in WAYS), strict=True)]
    return {
        "seconds": seconds,
        "speedup": spread([row["one, whole batch"] / row["two together"] for row in rounds]),
        "communication_share": spread([1 - row["two strangers"] / row["two together"] for row in rounds]),
        "slowdown_by_the_neighbor": spread([row["two strangers"] / row["one, half of it"] for row in rounds]),
        "sent": sent,
        "paper": {name: modelled(sent, int(name.split(",")[0]), *numbers) for name, numbers in PAPER.items()},
    }


def modelled(sent: Mapping[str, Mapping[str, float]], gpus: int, bandwidth: float, latency: float) -> dict[str, float]:
    """Seconds of a step's communication by a ring: 2 (n - 1) / n of the gradients go over each link.

    Gathers of norms and embeddings bring each GPU the rows of all, and back. A small collective takes its latency,
    whatever its size. Gradients overlap with the backward pass, two thirds of the step; statistics of norms cannot.

    Args:
        sent: what a process contributes, by purpose; embeddings for two images, of 64 in the step of ``STEP``.
        gpus: n.
        bandwidth: bytes a second and direction.
        latency: seconds of a small collective.
    """
    gradients = 2 * (gpus - 1) / gpus * sent["gradients"]["bytes"] / bandwidth
    norms = sent["statistics of norms"]
    statistics_ = norms["calls"] * latency + norms["bytes"] * (gpus - 1) / bandwidth
    embeddings = sent["embeddings"]["calls"] * latency + 32 * sent["embeddings"]["bytes"] * (gpus - 1) / bandwidth
    exposed = max(0.0, gradients - 2 / 3 * STEP) + statistics_ + embeddings
    parts = {"gradients": gradients, "statistics": statistics_, "embeddings": embeddings}
    return {**parts, "exposed": exposed, "efficiency": STEP / (STEP + exposed)}


def markdown(result: Mapping[str, Any]) -> str:
    measured = table(
        ["two processes on two cores", "median", "lowest", "highest"],
        [
            [name, *(f"{result[key][which]:.2f}" for which in ("median", "lowest", "highest"))]
            for name, key in (
                ("pace beside one process with the whole batch", "speedup"),
                ("share of communication in a step", "communication_share"),
                ("time of half a batch beside a stranger, of that alone", "slowdown_by_the_neighbor"),
            )
        ],
    )
    sizes = table(
        ["a process sends in a step of a ResNet-50", "MB", "collectives"],
        [[name, f"{each['bytes'] / 1e6:.2f}", f"{each['calls']}"] for name, each in result["sent"].items()],
    )
    columns = ("gradients", "statistics", "embeddings", "exposed")
    paper = table(
        ["GPUs", "gradients, ms", "norms, ms", "embeddings, ms", "not hidden, ms", "efficiency"],
        [
            [name, *(f"{1e3 * each[key]:.1f}" for key in columns), f"{each['efficiency']:.0%}"]
            for name, each in result["paper"].items()
        ],
    )
    return "\n\n".join((measured, sizes, paper))


if __name__ == "__main__":
    if sys.argv[1:] == ["--work"]:
        work()
    else:
        main()
