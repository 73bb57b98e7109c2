"""Several processes that train or evaluate together; the identity on one process."""

from manyview.distributed.agreement import agree, printed_once
from manyview.distributed.collectives import (
    any_process,
    from_first,
    gather,
    gather_shares,
    gather_unequal,
    largest,
    mean_of_processes,
    own_rows,
    share,
)
from manyview.distributed.group import alone, join, leave, leave_at_exit, rank, wait_for_all, world_size
from manyview.distributed.lost import first_sentence, tells_of_a_lost_process
from manyview.distributed.norms import SynchronizedBatchNorm, synchronize_norms

__all__ = [
    "SynchronizedBatchNorm",
    "agree",
    "alone",
    "any_process",
    "first_sentence",
    "from_first",
    "gather",
    "gather_shares",
    "gather_unequal",
    "join",
    "largest",
    "leave",
    "leave_at_exit",
    "mean_of_processes",
    "own_rows",
    "printed_once",
    "rank",
    "share",
    "synchronize_norms",
    "tells_of_a_lost_process",
    "wait_for_all",
    "world_size",
]
