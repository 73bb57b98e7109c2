"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1  # it takes C integers


def keep_freed_memory(block: int, total: int) -> bool:
    """Let glibc keep what is freed for the next who asks, instead of giving it back to the system at once.

    A network on a CPU asks for blocks of a hundred megabytes, layer after layer. By default each comes anew from the
    system, which clears it page by page: a fifth of a ResNet-18's time at 224 pixels.

    Args:
        block: the largest block that is kept, in bytes.
        total: at most so many bytes are kept at the end of the heap.

    Returns:
        whether there is a glibc that does so.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, min(block, _MOST)) and mallopt(_TRIM_THRESHOLD, min(total, _MOST)))
