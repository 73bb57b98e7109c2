from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import Dataset

from manyview.images.loading import load_in_workers
from manyview.images.loading.sharing import SharedObjects

ROLLUP = Path("/proc/self/smaps_rollup")


class Collecting(Dataset[int]):
    """Item 0 is the memory of this process's own that it has at first, item 1 after a full garbage collection."""

    def __getitem__(self, index: int) -> int:
        if index:
            gc.collect()
        lines = ROLLUP.read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("Private_Dirty:")))


@pytest.mark.skipif(not ROLLUP.exists(), reason="memory is read from /proc")
def test_a_garbage_collection_in_a_worker_copies_no_objects_of_libraries() -> None:
    with_objects = [[number] for number in range(1_000_000)]  # some 100 MB, as an import has them
    loading = load_in_workers(Collecting(), [[0], [1]], workers=1, pin=False, collate=lambda items: items[0])
    first, collected = loading
    assert collected - first < 5e7  # what other tests left is less
    assert len(with_objects) == 1_000_000


def test_objects_are_collected_again_after_the_last_loader() -> None:
    assert gc.get_freeze_count() == 0
    one, other = (load_in_workers(Numbers(), [[0]] * 3, workers=1, pin=False) for _ in range(2))
    assert gc.get_freeze_count() > 0
    other.close()
    other.close()
    assert gc.get_freeze_count() > 0
    assert len(list(one)) == 3
    assert gc.get_freeze_count() == 0


def test_what_a_program_has_frozen_stays_so() -> None:
    gc.freeze()
    try:
        shared = SharedObjects()
        shared.release()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


class Numbers(Dataset[Any]):
    def __getitem__(self, index: int) -> int:
        return index
