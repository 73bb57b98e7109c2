"""Loggers of a run's figures: TensorBoard, Weights & Biases, MLflow and trackio, each through its own package."""

from manyview.training.loggers.base import Logger, Loggers, RunFacts, check_installed, loggers_of

__all__ = ["Logger", "Loggers", "RunFacts", "check_installed", "loggers_of"]
