"""Words of verbs that make them take seconds, for tests of the command."""

from __future__ import annotations

COMPUTING = ("--workers", 0, "--device", "cpu", "--precision", "float32")
DETECTOR = (
    *("--architecture", "fpn", "--iterations", 1, "--batch-size", 2, "--short-side", 32, "--regions", 4),
    *("--test-proposals", 6, "--precise-batches", 1, "--beside", "none", *COMPUTING),
)
SCALE = """
title = "seconds"
backbone = "timm/test_resnet"
view_size = 16
views_per_step = 32
budget = {views = 64}
size = 32
set = {"method.projection_dim" = 32, "method.prediction_hidden_dim" = 16, "training.threads" = 1}
[instruments.logistic]
resamples = 0
cost = 0.01
"""
