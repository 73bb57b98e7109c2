"""Memory that runs out: the estimate against what a pass really keeps, and the sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from manyview.config import PretrainConfig
from manyview.errors import MemoryUsedUpError
from manyview.recipes.launch import resolve_settings
from manyview.runtime import is_out_of_memory, memory_limit
from manyview.training import loop
from manyview.training.survival import memory
from tests.helpers.tiny import METHODS, TinyNet, train_tiny

CPU = torch.device("cpu")
ALLOCATOR = RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory")


def config(recipe: str, **settings: Any) -> PretrainConfig:
    name = {"paper": "simsiam", "mocov2": "moco", "swav": "swav", "supervised": "supervised"}[recipe]
    own = {f"method.{key}": value for key, value in METHODS[name].items()}
    labels = {"data.labels": "labels.csv"} if recipe == "supervised" else {}
    values = [f"{key}={value}" for key, value in {**own, **labels, **settings}.items()]
    return resolve_settings("photos", recipe=recipe, view_size=24 if recipe != "swav" else None, set=values)


@pytest.mark.parametrize("recipe", ["paper", "mocov2", "swav", "supervised"])
def test_the_estimate_is_what_a_pass_leaves_allocated(recipe: str) -> None:
    """PyTorch's profiler counts what is allocated and not freed by then, which includes the results."""
    settings, count = config(recipe), 32
    needs = memory.measure_needs(settings, TinyNet(), CPU, "float32")
    assert needs is not None
    method = memory._build(settings, TinyNet(), count).train()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        batch = memory._batch(settings, count, CPU)
        result = method(batch)
    kept = sum(event.self_cpu_memory_usage for event in found.key_averages())
    assert result["loss"].requires_grad
    assert needs.activations(count) == pytest.approx(kept, rel=0.01)
    trained = 4 * sum(each.numel() for each in method.parameters() if each.requires_grad)
    assert needs.states >= 3 * trained, "weights, gradients and momentum"


def test_what_libraries_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_out_of_memory(ALLOCATOR)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(RuntimeError("cuBLAS: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))
    assert not is_out_of_memory(RuntimeError("sizes do not match"))
    assert not is_out_of_memory(OSError("out of memory"))
    limit = memory_limit(CPU)
    assert limit is None or limit > 2**28


@pytest.mark.parametrize("error", [ALLOCATOR, MemoryError()])
def test_the_first_step_says_what_to_lower_and_leaves_the_folder(
    error: Exception, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(loop, "train_step", fail)
    needs = memory.Needs(fixed=0.0, each=2.0**28, pair=0.0, states=2**28)
    monkeypatch.setattr(memory, "measure_needs", lambda *_: needs)
    monkeypatch.setattr(memory, "memory_limit", lambda _: 2**30)
    with pytest.raises(MemoryUsedUpError) as raised:
        train_tiny(photos, tmp_path / "run")
    assert str(raised.value) == (
        "out of memory in the first step on cpu (1.0 GiB), with 4 images in a batch, 32 views of 16 pixels, which keep "
        "about 1.0 GiB for the backward pass, besides 0.2 GiB of weights, gradients and optimizer state: take "
        "--batch-size 2 with training.accumulate=2 (as many images a step, 0.8 GiB), smaller views (--view-size) or a "
        "smaller backbone"
    )
    monkeypatch.undo()
    run = train_tiny(photos, tmp_path / "run", epochs=1)  # into the same folder
    assert len(list(run.checkpoints.folder.glob("step-*.json"))) == 1


def test_where_even_two_images_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda _: 2**18)
    assert "a smaller --batch-size (with" in memory.advice(config("paper"), TinyNet(), CPU, "float32")

    def fail(*_: Any) -> None:
        raise ALLOCATOR

    monkeypatch.setattr(memory, "_saved", fail)
    found = memory.advice(config("paper"), TinyNet(), CPU, "float32")
    assert found.startswith("out of memory in the first step on cpu (1 MiB), with 128 images in a batch")
    assert "backward" not in found


def test_a_later_step_keeps_what_is_saved(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = loop.train_step

    def fail(training: Any, *given: Any, **named: Any) -> Any:
        if training.step == 5:
            raise ALLOCATOR
        return step(training, *given, **named)

    monkeypatch.setattr(loop, "train_step", fail)
    with pytest.raises(MemoryUsedUpError, match="out of memory on cpu after step 5, though the steps before it had"):
        train_tiny(photos, tmp_path / "run")
    assert list((tmp_path / "run/checkpoints").glob("step-000000004.json"))
