"""Device, precision, threads, the memory settings of glibc (in their own processes), and silenced libraries."""

from __future__ import annotations

import atexit
import gc
import logging
import platform
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import torch

from manyview import runtime
from manyview.errors import UserError
from manyview.runtime import choose_precision, pool_of_single_threads, resolve_device, silenced, single_thread
from tests.helpers.memory import extra_memory, reads_peak_memory

CPU = torch.device("cpu")
CORES = 3
MEGABYTE = 2**20
_FAULTS = "import resource; faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt"


def have(monkeypatch: pytest.MonkeyPatch, *, cuda: int = 0, mps: bool = False) -> None:
    """Let PyTorch say that this machine has so many CUDA devices, or Metal."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(0, False, "cpu"), (0, True, "mps"), (1, True, "cuda")])
def test_auto_is_the_best_device_there_is(cuda: int, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, cuda=cuda, mps=mps)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert str(resolve_device("auto")) == expected


def test_each_process_gets_the_device_of_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, cuda=2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert {str(resolve_device(name)) for name in ("auto", "cuda", "cuda:1")} == {"cuda:1"}
    with pytest.raises(UserError, match="several processes need an accelerator each: use \"cuda\", not 'cuda:0'"):
        resolve_device("cuda:0")


@pytest.mark.parametrize("name", ["cuda:1", "mps", "meta"])
def test_a_device_that_pytorch_lacks_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, cuda=1)
    with pytest.raises(UserError, match=f"the device '{name}' is not available here"):
        resolve_device(name)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fma avx2 avx512f", "float32"), ("fma avx512_bf16 clzero", "bf16"), ("amx_bf16 amx_tile", "bf16")],
)
def test_a_cpu_computes_in_bf16_only_where_it_has_instructions_for_it(
    flags: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: f"flags : {flags}\n")

    assert choose_precision("auto", CPU) == expected


def test_a_system_without_proc_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)

    assert choose_precision("auto", CPU) == "float32"


@pytest.mark.parametrize("asked", ["float32", "bf16"])
def test_what_is_asked_for_is_taken(asked: str) -> None:
    assert choose_precision(asked, CPU) == asked


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has a CUDA device")
@pytest.mark.parametrize(("asked", "word"), [("cuda", "cuda"), ("gpu", "'gpu'"), ("cpu:x", "'cpu:x'")])
def test_a_device_that_is_not_there_is_refused(asked: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        resolve_device(asked, "training.device")


@pytest.fixture
def cores() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(CORES)
    yield CORES
    torch.set_num_threads(before)


def test_one_thread_computes_until_the_end_even_after_an_error(cores: int) -> None:
    before = cv2.getNumThreads()
    found = []

    def fail() -> None:
        with single_thread():
            found.append(torch.get_num_threads())
            raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        fail()
    assert found == [1]
    assert (torch.get_num_threads(), cv2.getNumThreads()) == (cores, before)


def test_threads_that_others_start_compute_as_before(cores: int) -> None:
    found: list[int] = []
    with pool_of_single_threads(2) as pool:
        found += pool.map(lambda _: torch.get_num_threads(), range(4))
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
    assert found == [1, 1, 1, 1, cores]


def test_it_is_imported_without_pytorch_and_opencv() -> None:
    code = "import sys, manyview.runtime; sys.exit(bool({'torch', 'cv2', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_command_ends_without_a_search_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_is_command", False)
    monkeypatch.setattr(atexit, "register", (registered := []).append)
    for _ in range(2):
        runtime.run_as_command()
    assert registered == [gc.freeze]
    assert runtime.is_command()


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="collections are incremental, without a third threshold")
def test_a_command_searches_all_objects_for_garbage_only_once_it_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, others, clock = gc.get_threshold(), list(gc.callbacks), [100.0]
    monkeypatch.setattr(runtime, "_is_command", False)
    monkeypatch.setattr(runtime.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(atexit, "register", lambda _: None)
    runtime.run_as_command()
    gc.collect(0)
    assert gc.get_threshold()[:2] == usual[:2]
    assert gc.get_threshold()[2] > 1e9
    clock[0] += 9.9
    gc.collect(0)
    assert gc.get_threshold()[2] > 1e9
    clock[0] += 0.2
    gc.collect(0)
    assert (gc.get_threshold(), gc.callbacks) == (usual, others)


@reads_peak_memory
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc")
@pytest.mark.parametrize("kept", [True, False])
def test_a_large_block_is_taken_anew_from_the_system_only_where_it_is_not_kept(kept: bool) -> None:
    """Ten blocks of 100 MB, one after the other: each of new pages (of 4 KB, or 50 of 2 MB), or of the first one's."""
    limits = "2**30, 2**31" if kept else "2**20, 2**20"
    prepare = (
        f"{_FAULTS}\nfrom manyview.runtime import keep_freed_memory\nassert keep_freed_memory({limits})\n"
        "bytearray(100 * 2**20)"
    )
    work = (
        "before_them = faults()\nfor _ in range(10): bytearray(100 * 2**20)\n"
        f"assert (faults() - before_them < 250) == {kept}, faults() - before_them"
    )
    assert extra_memory(prepare, work) < 110 * MEGABYTE


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_left_alone(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.sys, "platform", system)
    monkeypatch.setattr(runtime.ctypes, "CDLL", None)
    assert runtime.keep_freed_memory(1, 1) is False


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.sys, "platform", "linux")
    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda name: object())
    assert runtime.keep_freed_memory(1, 1) is False


def test_only_errors_of_that_library_are_heard(caplog: pytest.LogCaptureFixture) -> None:
    library = logging.getLogger("some.library")
    library.setLevel(logging.INFO)
    with caplog.at_level(logging.INFO):
        with silenced("some.library"):
            warnings.warn("advice", UserWarning, stacklevel=1)  # an error in these tests
            library.warning("within")
            library.error("broken")
            logging.getLogger("another").warning("another's")
        library.info("after")
    assert [record.message for record in caplog.records] == ["broken", "another's", "after"]
    with pytest.raises(UserWarning, match="advice"):
        warnings.warn("advice", UserWarning, stacklevel=1)


def test_the_level_comes_back_after_an_error() -> None:
    library = logging.getLogger("some.library")
    library.setLevel(logging.INFO)
    with pytest.raises(ValueError, match="failed"), silenced("some.library"):
        raise ValueError("failed")
    assert library.level == logging.INFO
