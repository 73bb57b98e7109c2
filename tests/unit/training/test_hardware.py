"""Fabric, and the loss under automatic mixed precision."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from manyview.backbones import wrap_backbone
from manyview.config import LossesConfig, SimSiamConfig, resolve
from manyview.config.resolve import Assignment
from manyview.methods import MethodBatch
from manyview.methods.simsiam import SimSiam
from manyview.training.settle import start_hardware


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
