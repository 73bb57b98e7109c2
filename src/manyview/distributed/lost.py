"""Errors by which a backend says that another process of the group is gone."""

from __future__ import annotations

import re

from torch import distributed as dist

from manyview.distributed.group import world_size

_LOST = (
    *("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe"),
    *("Timed out waiting", "NCCL communicator", "NCCL error", "gloo/transport"),
)


def tells_of_a_lost_process(error: BaseException) -> bool:
    """Whether an error says that another process of the group no longer answers.

    Backends say so in words: gloo that a connection was closed, NCCL that its communicator was aborted.
    """
    if world_size() == 1 or not isinstance(error, RuntimeError):
        return False
    if isinstance(error, dist.DistError):
        return True
    text = str(error)
    return any(part in text for part in _LOST)


def first_sentence(error: BaseException) -> str:
    """An error's first sentence, without the file and line of PyTorch's source that it begins with."""
    text = str(error).strip().partition("\n")[0].partition(". ")[0]
    return re.sub(r"^\[[^\]]*\]\s*", "", text).rstrip(".")
