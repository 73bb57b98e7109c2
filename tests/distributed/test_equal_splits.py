"""The equality table: every method on one, two and four processes, in loss, gradient and state, step after step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from manyview.backbones import wrap_backbone
from manyview.config import PretrainConfig, resolve
from manyview.config.resolve import Assignment
from manyview.distributed import mean_of_processes
from manyview.methods import METHODS, Method, MethodBatch, Moment, build_method
from tests.helpers.processes import in_processes, joined
from tests.helpers.tiny import METHODS as SMALL
from tests.helpers.tiny import WITH_IMAGE_AWARE

IMAGES, SIZE, STEPS, CLASSES = 8, 16, 2, 3
TERM, SHUFFLED = " + image-aware", " + image-aware in shuffled shards"
# Views of each image by group: pairs of blocks, and large and small pairs of the whole image.
LAYOUTS: dict[str, tuple[tuple[int, int], ...]] = {"blocks": ((4, SIZE),), "two groups": ((2, SIZE), (4, SIZE // 2))}
WITH_TERM = [name for name, method in METHODS.items() if "losses.image_aware" in method.section.reads]
# How near the losses of the first step and of all steps are, gradients as shares of the largest, and states.
DTYPES: dict[str, tuple[torch.dtype, float, float, float]] = {
    "float64": (torch.float64, 1e-12, 1e-12, 1e-12),
    "float32": (torch.float32, 1e-6, 5e-6, 3e-5),
    "bf16": (torch.float32, 3e-2, 5e-2, 0.5),
}
TRIED = [
    *((name, "blocks", dtype) for dtype in DTYPES for name in METHODS),
    *((name + TERM, "blocks", "float32") for name in WITH_TERM),
    *((name + SHUFFLED, "two groups", "float64") for name in WITH_TERM),
]


def on(tried: tuple[str, str, str]) -> tuple[int, ...]:
    """Numbers of processes: what depends on them does so in any precision, and is seen best in this one."""
    return (2, 4) if tried[2] == "float64" else (2,)


@cache
def configured(case: str) -> PretrainConfig:
    name, _, term = case.partition(" + ")
    settings: dict[str, Any] = {"data.images": "photos", "training.batch_size": IMAGES, "method.name": name}
    settings |= {f"method.{key}": value for key, value in SMALL[name].items()}
    if "shuffled_parts" in SMALL[name]:
        settings["method.shuffled_parts"] = 4
    if name == "dino":
        settings["method.freeze_last_layer_epochs"] = 0.0
    if term:
        settings |= {"losses.image_aware.weight": 2.0, **WITH_IMAGE_AWARE.get(name, {})}
    if term and "shards" in term:
        settings["losses.image_aware.shards"] = 3
    if METHODS[name].section.labeled:
        settings |= {"data.labels": "labels.csv", "method.classes": [f"class {number}" for number in range(CLASSES)]}
    return resolve({}, [Assignment(key, value, "test") for key, value in settings.items()])


def built(case: str, dtype: torch.dtype) -> Method:
    torch.manual_seed(0)
    layers = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        *(nn.Conv2d(8, 12, 3, bias=False), nn.BatchNorm2d(12)),
    )
    method = build_method(wrap_backbone(layers, SIZE), configured(case)).to(dtype)
    if method.section.labeled:
        targets = (torch.arange(IMAGES)[:, None] % (2 + torch.arange(CLASSES)) == 0).to(dtype)
        targets[1, 2] = targets[6, 0] = torch.nan
        method.take_targets(targets)
    return method


def batches(layout: str, rank: int, processes: int, dtype: torch.dtype) -> Iterator[MethodBatch]:
    share = IMAGES // processes
    own = slice(rank * share, (rank + 1) * share)
    for number in range(STEPS):
        generator = torch.Generator().manual_seed(number)
        groups = [
            torch.randn(IMAGES, count, 3, size, size, generator=generator, dtype=torch.float64)
            for count, size in LAYOUTS[layout]
        ]

        def permutation(length: int, number: int = number) -> Tensor:
            return torch.randperm(length, generator=torch.Generator().manual_seed(1000 + number))

        ids = torch.arange(IMAGES)[own]
        yield MethodBatch(tuple(group[own].to(dtype) for group in groups), ids, permutation, Moment(number, 8, 4))


def trained(case: str, layout: str, name: str, rank: int, processes: int) -> dict[str, Any]:
    """Losses and other scalars of each step, the last gradients, and the state."""
    dtype = DTYPES[name][0]
    method = built(case, dtype)
    if processes > 1:
        method.synchronize_norms()
    module = nn.parallel.DistributedDataParallel(method) if processes > 1 else method
    optimizer = torch.optim.SGD([each for each in method.parameters() if each.requires_grad], lr=0.05, momentum=0.9)
    names: list[list[str]] = []
    values: list[Tensor] = []
    for batch in batches(layout, rank, processes, dtype):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if name == "bf16" else nullcontext():
            result = module(batch)
        result["loss"].backward()
        method.after_backward(batch.moment)
        optimizer.step()
        method.after_step(batch.moment)
        names.append([key for key in result if key != "z"])
        values += [result[key].detach().double() for key in names[-1]]
    means = iter(mean_of_processes(torch.stack(values)).tolist())
    scalars = [{key: next(means) for key in each} for each in names]
    gradients = {key: value.grad for key, value in method.named_parameters() if value.grad is not None}
    return {"scalars": scalars, "gradients": gradients, "state": dict(method.state_dict())}


def work(rank: int, root: str) -> None:
    for processes in (2, 4):
        if rank < processes:
            with joined(rank, Path(root), processes):
                found = {tried: trained(*tried, rank, processes) for tried in TRIED if processes in on(tried)}
                everyones: list[Any] = [None] * processes
                dist.all_gather_object(everyones, _digest(found))
                assert len(set(everyones)) == 1, "gradients and states differ"
            if rank == 0:
                torch.save(found, f"{root}/{processes}.pt")


def _digest(found: dict[Any, dict[str, Any]]) -> str:
    """Of the bits of all gradients and states; compared at once, as each meeting of processes takes its time."""
    bits = hashlib.sha256()
    for trial in found.values():
        for key, value in {**trial["gradients"], **trial["state"]}.items():
            if not _of_keys(key):
                bits.update(key.encode() + value.contiguous().numpy().tobytes())
    return bits.hexdigest()


def _of_keys(name: str) -> bool:
    """Whether it is a running statistic of a key encoder, whose norms are those of the parts of one process."""
    return name.startswith("key_") and name.endswith(("running_mean", "running_var", "num_batches_tracked"))


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[Any, dict[str, Any]]]:
    """What the first of two and of four processes found."""
    folder = tmp_path_factory.mktemp("splits")
    in_processes(work, str(folder), processes=4)
    return {processes: torch.load(folder / f"{processes}.pt") for processes in (2, 4)}


@pytest.fixture(scope="module")
def alone() -> Callable[[tuple[str, str, str]], dict[str, Any]]:
    done: dict[Any, dict[str, Any]] = {}

    def find(tried: tuple[str, str, str]) -> dict[str, Any]:
        if tried not in done:
            done[tried] = trained(*tried, 0, 1)
        return done[tried]

    return find


@pytest.mark.parametrize(
    ("tried", "processes"),
    [pytest.param(each, count, id=f"{' - '.join(each)}-{count}") for each in TRIED for count in on(each)],
)
def test_several_processes_are_one(
    tried: tuple[str, str, str], processes: int, several: dict[int, dict[Any, dict[str, Any]]], alone: Any
) -> None:
    found, expected = several[processes][tried], alone(tried)
    _, first, later, near = DTYPES[tried[2]]
    assert found["scalars"][0] == pytest.approx(expected["scalars"][0], rel=first, abs=first)
    for ours, theirs in zip(found["scalars"], expected["scalars"], strict=True):
        assert ours == pytest.approx(theirs, rel=later, abs=later)
    for part in ("gradients", "state"):
        assert found[part].keys() == expected[part].keys()
        largest = max(float(value.abs().max()) for value in expected[part].values())
        assert largest > 0
        for key, value in expected[part].items():
            if not _of_keys(key):
                assert (found[part][key] - value).abs().max() <= near * largest, key
