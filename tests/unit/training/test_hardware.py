"""Choice of device and precision."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from manyview.backbones import wrap_backbone
from manyview.config import LossesConfig, SimSiamConfig, resolve
from manyview.config.resolve import Assignment
from manyview.errors import UserError
from manyview.methods import MethodBatch
from manyview.methods.simsiam import SimSiam
from manyview.training.hardware import choose_device, choose_precision
from manyview.training.settle import start_hardware

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fma avx2 avx512f", "float32"), ("fma avx512_bf16 clzero", "bf16"), ("amx_bf16 amx_tile", "bf16")],
)
def test_a_cpu_computes_in_bf16_only_where_it_has_instructions_for_it(
    flags: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: f"flags : {flags}\n")

    assert choose_precision("auto", CPU) == expected


def test_a_system_without_proc_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)

    assert choose_precision("auto", CPU) == "float32"


def test_fabric_says_nothing_of_what_is_asked_of_it(caplog: pytest.LogCaptureFixture) -> None:
    asked = [Assignment("training.precision", "bf16", ""), Assignment("data.images", "photos", "")]
    logger = logging.getLogger("lightning_fabric")
    before = logger.level
    logger.addHandler(caplog.handler)
    try:
        start_hardware(resolve({}, asked))
    finally:
        logger.removeHandler(caplog.handler)

    assert caplog.messages == []
    assert logger.level == before


@pytest.mark.parametrize("asked", ["float32", "bf16"])
def test_what_is_asked_for_is_taken(asked: str) -> None:
    assert choose_precision(asked, CPU) == asked


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has a CUDA device")
@pytest.mark.parametrize(("asked", "word"), [("cuda", "cuda"), ("gpu", "'gpu'"), ("cpu:x", "'cpu:x'")])
def test_a_device_that_is_not_there_is_refused(asked: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        choose_device(asked)


def test_the_loss_is_float32_under_bf16_autocast() -> None:
    torch.manual_seed(0)
    seen = []
    convolution = nn.Conv2d(3, 8, 3, stride=2)
    convolution.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    method = SimSiam(
        wrap_backbone(convolution, 16), SimSiamConfig(projection_dim=16, prediction_hidden_dim=8), LossesConfig()
    )
    batch = MethodBatch((torch.randn(4, 8, 3, 16, 16),), torch.arange(4), torch.randperm)
    exact = method(batch)
    seen.clear()

    with torch.autocast("cpu", torch.bfloat16):
        rough = method(batch)

    assert set(seen) == {torch.bfloat16}
    assert {value.dtype for value in rough.values()} == {torch.float32}
    torch.testing.assert_close(rough["loss"], exact["loss"], atol=0.05, rtol=0)
