"""Freed memory: kept or given back, as glibc is told; in processes of their own."""

from __future__ import annotations

import platform

import pytest

from memory import extra_memory, reads_peak_memory

MEGABYTE = 2**20
_FAULTS = "import resource; faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt"


@reads_peak_memory
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
@pytest.mark.parametrize("kept", [True, False])
def test_a_large_block_is_taken_anew_from_the_system_only_where_it_is_not_kept(kept: bool) -> None:
    """Ten blocks of 100 MB, one after the other: each of new pages (of 4 KB, or 50 of 2 MB), or of the first one's."""
    limits = "2**30, 2**31" if kept else "2**20, 2**20"
    prepare = (
        f"{_FAULTS}\nfrom manyview.memory import keep_freed_memory\nassert keep_freed_memory({limits})\n"
        "bytearray(100 * 2**20)"
    )
    work = (
        "before_them = faults()\nfor _ in range(10): bytearray(100 * 2**20)\n"
        f"assert (faults() - before_them < 250) == {kept}, faults() - before_them"
    )
    assert extra_memory(prepare, work) < 110 * MEGABYTE


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_left_alone(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from manyview import memory

    monkeypatch.setattr(memory.sys, "platform", system)
    monkeypatch.setattr(memory.ctypes, "CDLL", None)
    assert memory.keep_freed_memory(1, 1) is False


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from manyview import memory

    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory(1, 1) is False
