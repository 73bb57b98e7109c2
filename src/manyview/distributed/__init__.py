"""Several processes that train or evaluate together; the identity on one process."""

from manyview.distributed.agreement import agree, printed_once
from manyview.distributed.collectives import (
    any_process,
    from_first,
    gather,
    gather_shares,
    gather_unequal,
    mean_of_processes,
    share,
)
from manyview.distributed.group import join, leave, leave_at_exit, rank, wait_for_all, world_size
from manyview.distributed.norms import SynchronizedBatchNorm, synchronize_norms

__all__ = [
    "SynchronizedBatchNorm",
    "agree",
    "any_process",
    "from_first",
    "gather",
    "gather_shares",
    "gather_unequal",
    "join",
    "leave",
    "leave_at_exit",
    "mean_of_processes",
    "printed_once",
    "rank",
    "share",
    "synchronize_norms",
    "wait_for_all",
    "world_size",
]
