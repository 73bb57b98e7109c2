"""Run folders: configuration, provenance, metrics and crash-safe checkpoints."""

from manyview.runs.checkpoints import CheckpointStore, TrainingCheckpoint
from manyview.runs.files import atomic_write, sha256, write_tensors
from manyview.runs.folder import RunFolder, run_at
from manyview.runs.provenance import provenance

__all__ = [
    "CheckpointStore",
    "RunFolder",
    "TrainingCheckpoint",
    "atomic_write",
    "provenance",
    "run_at",
    "sha256",
    "write_tensors",
]
