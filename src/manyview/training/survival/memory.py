"""What to say where memory runs out: how much a step needs, and what to lower."""

from __future__ import annotations

import copy
import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from manyview import distributed, methods
from manyview.config import PretrainConfig
from manyview.config.methods import SupervisedConfig
from manyview.errors import MemoryUsedUpError
from manyview.methods import Method, MethodBatch
from manyview.runs.progress import Progress, no_progress
from manyview.runtime import is_out_of_memory, memory_limit
from manyview.training.initial.network import build_backbone_of

_GIB = 2**30
_USABLE = 0.85  # of the memory: the rest is workspace, gradients of activations, and what is free between blocks
_TRIED = (1, 2, 4, 8)  # images, with twice and three times as many
_STATES = {"sgd": 1, "lars": 1, "adamw": 2}  # tensors of the optimizer for each parameter


@dataclass(frozen=True)
class Needs:
    """Bytes that a step needs in one process.

    Attributes:
        fixed: kept by a forward pass for the backward pass whatever the number of images.
        each: kept for each image of a batch.
        pair: kept for each pair of images, as by losses that compare all with all.
        states: weights, gradients and the optimizer's state, and the weights of momentum encoders.
    """

    fixed: float
    each: float
    pair: float
    states: int

    def activations(self, images: int) -> int:
        """Kept for the backward pass of a batch, which is most of what a step needs."""
        return round(self.fixed + self.each * images + self.pair * images**2)


@contextmanager
def memory_explained(
    run: Callable[[], tuple[PretrainConfig, int]], backbone: nn.Module | None, device: torch.device, precision: str
) -> Iterator[None]:
    """Turn the error by which memory runs out into one sentence, with an estimate of what a step needs.

    Args:
        run: gives the configuration, with what is known of it by then, and the number of steps done.
        backbone: a custom backbone; None for the named one.
        device: of the run.
        precision: "float32" or "bf16".

    Raises:
        MemoryUsedUpError: memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        config, steps = run()
        if "DataLoader worker" in str(error):
            raise MemoryUsedUpError("a loader process is out of memory: use fewer of them (data.workers)") from error
        if steps:
            raise MemoryUsedUpError(
                f"out of memory on {device} after step {steps:,}, though the steps before it had enough: see what else "
                "uses the memory; what is saved stays, continue with --resume"
            ) from error
        traceback.clear_frames(error.__traceback__)  # which keep the step's tensors
        if device.type == "cuda":
            torch.cuda.empty_cache()
        raise MemoryUsedUpError(advice(config, backbone, device, precision)) from None


def advice(config: PretrainConfig, backbone: nn.Module | None, device: torch.device, precision: str) -> str:
    """How much a step needs, and what to lower; without figures where not even four images fit."""
    training, limit, processes = config.training, memory_limit(device), distributed.world_size()
    views = training.batch_size * sum(group.count for group in config.views.layout)
    sizes = " and ".join(dict.fromkeys(str(group.size) for group in config.views.layout))
    start = f"out of memory in the first step on {device}" + (f" ({_gib(limit)})" if limit else "")
    start += f", with {training.batch_size:,} images in a batch, {views:,} views of {sizes} pixels"
    ways = ["smaller views (--view-size)", "a smaller backbone"]
    if precision == "float32" and device.type == "cuda":
        ways.insert(1, "training.precision=bf16")
    needs = measure_needs(config, backbone, device, precision)
    smaller = "a smaller --batch-size (with training.accumulate, the images of a step stay as many)"
    if needs is not None:
        start += (
            f", which keep about {_gib(needs.activations(training.batch_size // processes))} for the backward pass"
            f"{' in each process' if processes > 1 else ''}, besides {_gib(needs.states)} of weights, gradients and "
            "optimizer state"
        )
        batch = _fitting(training.batch_size, needs, limit, processes)
        if batch is not None:
            times = training.accumulate * training.batch_size // batch
            total = _gib(needs.activations(batch // processes) + needs.states)
            smaller = f"--batch-size {batch} with training.accumulate={times} (as many images a step, {total})"
    return f"{start}: take {smaller}, {', '.join(ways[:-1])} or {ways[-1]}"


def _fitting(batch: int, needs: Needs, limit: int | None, processes: int) -> int | None:
    """The largest half, quarter, ... of the batch that fits the memory; None if none does."""
    while batch % (2 * processes) == 0 and batch // 2 >= max(2, processes):
        batch //= 2
        if limit is None or needs.activations(batch // processes) + needs.states <= _USABLE * limit:
            return batch
    return None


def measure_needs(
    config: PretrainConfig,
    backbone: nn.Module | None,
    device: torch.device,
    precision: str,
    progress: Progress = no_progress,
) -> Needs | None:
    """What a step needs, by forward passes of few images, of which nothing is kept.

    Counted is each storage that a pass saves for the backward pass (``saved_tensors_hooks``) and is no parameter.

    Args:
        config: configuration of the run.
        backbone: a custom backbone, which is copied; None for the named one.
        device: of the run.
        precision: "float32" or "bf16".
        progress: called with what is done.

    Returns:
        the needs of any number of images; None where the method or the memory does not allow such passes.
    """
    with torch.random.fork_rng(), distributed.alone():
        for images in _TRIED:
            try:
                method = _build(config, copy.deepcopy(backbone), 3 * images).to(device).train()
                saved = []
                for times in (1, 2, 3):
                    progress(times - 1, 3, "measuring the memory")
                    saved.append(_saved(method, config, times * images, device, precision))
                progress(3, 3, "measuring the memory")
            except (RuntimeError, ValueError, MemoryError):  # as of methods that need more images
                continue
            once, twice, thrice = saved
            pair = (thrice - 2 * twice + once) / (2 * images**2)
            each = (twice - once) / images - 3 * images * pair
            return Needs(once - each * images - pair * images**2, each, pair, _states(method, config))
    return None


def _saved(method: Method, config: PretrainConfig, images: int, device: torch.device, precision: str) -> int:
    """Bytes of a batch and of what its pass saves."""
    batch = _batch(config, images, device)
    saved = {group.data_ptr(): group.untyped_storage().nbytes() for group in batch.groups}
    own = {tensor.untyped_storage().data_ptr() for tensor in (*method.parameters(), *method.buffers())}
    alive: list[Tensor] = []  # so that no storage takes the address of another

    def note(tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and storage.data_ptr() not in saved:
            saved[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return 0

    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda _: torch.empty(0)),
        torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"),
    ):
        method(batch)
    return sum(saved.values())


def _build(config: PretrainConfig, backbone: nn.Module | None, images: int) -> Method:
    values = config.model_dump()
    usual = {"mean": [0.5] * config.data.channels, "std": [0.25] * config.data.channels}
    values["views"] |= {name: value for name, value in usual.items() if values["views"][name] is None}
    if isinstance(config.method, SupervisedConfig) and config.method.classes is None:
        values["method"]["classes"] = ("any",)
    filled = PretrainConfig.model_validate(values)
    built = build_backbone_of(filled, backbone)
    assert filled.views.mean is not None
    assert filled.views.std is not None
    built.take_images(filled.views.mean, filled.views.std, rgb=filled.data.bands == "rgb")
    method = methods.build_method(built, filled)
    if isinstance(filled.method, SupervisedConfig):
        method.take_targets(torch.zeros(images, len(filled.method.classes or ())))
    return method


def _batch(config: PretrainConfig, images: int, device: torch.device) -> MethodBatch:
    channels = config.data.channels
    groups = tuple(
        torch.randn(images, group.count, channels, group.size, group.size, device=device)
        for group in config.views.layout
    )
    ids = torch.arange(images, device=device)
    return MethodBatch(groups, ids, lambda count: torch.randperm(count, device=device))


def _states(method: Method, config: PretrainConfig) -> int:
    trained = sum(each.numel() * each.element_size() for each in method.parameters() if each.requires_grad)
    others = sum(each.numel() * each.element_size() for each in method.parameters() if not each.requires_grad)
    buffers = sum(each.numel() * each.element_size() for each in method.buffers())
    return trained * (2 + _STATES[config.training.optimizer]) + others + buffers


def _gib(count: int) -> str:
    if count < _GIB / 20:
        return f"{math.ceil(count / 2**20):,} MiB"
    return f"{count / _GIB:.1f} GiB" if count < 100 * _GIB else f"{count / _GIB:,.0f} GiB"
