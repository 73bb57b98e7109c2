"""Run folders: configuration, provenance, metrics and crash-safe checkpoints."""

from manyview.runs.checkpoints import CheckpointStore, TrainingCheckpoint
from manyview.runs.files import atomic_write, sha256, write_tensors
from manyview.runs.folder import RunFolder
from manyview.runs.provenance import provenance

__all__ = [
    "CheckpointStore",
    "RunFolder",
    "TrainingCheckpoint",
    "atomic_write",
    "provenance",
    "sha256",
    "write_tensors",
]
