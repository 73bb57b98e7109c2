"""Executes every jaxtyping annotation of the package under beartype, whatever test is run; marks what takes long."""

import contextlib
import gc
import os
import signal
import sys
from pathlib import Path

import jaxtyping
import pytest

from tests.helpers.checked import begin_test, checked

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Several test processes share the cores; threads that wait for each other would take many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Some hundred processes are started, and each would compile the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# nohup and shells' background jobs start programs that ignore these, which runs respect and tests send.
with contextlib.suppress(ValueError):  # not in the main thread
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Imports leave objects and no garbage: looking through them again and again takes seconds.
gc.disable()

jaxtyping.jaxtyped = checked
_hook = jaxtyping.install_import_hook("manyview", "beartype.beartype")

# What starts processes, trains for many steps, or exports large networks: folders and files below tests/.
SLOW = (
    "contracts/test_exporters.py",
    "contracts/test_methods.py",
    "distributed",
    "examples",
    "faults",
    "runs",
    "unit/backbones/test_checkpoint_formats.py",
    "unit/backbones/pickles/test_pickle_scan.py",
    "unit/backbones/test_networks.py",
    "unit/benchmarks",
    "unit/cli",
    "unit/detection/test_c4_and_fpn_run.py",
    "unit/detection/test_detect_prediction.py",
    "unit/detection/test_fine_tuning.py",
    "unit/detection/test_fine_tuning_learns.py",
    "unit/docs/test_site.py",
    "unit/distributed/test_synchronized_norms.py",
    "unit/evaluation/embed",
    "unit/evaluation/health",
    "unit/evaluation/linear",
    "unit/evaluation/neighbours",
    "unit/export",
    "unit/images/loading/test_loading_in_its_own_python.py",
    "unit/images/loading/test_loading_in_workers.py",
    "unit/images/test_bombs.py",
    "unit/options/test_declaration.py",
    "unit/packaging/test_wheel.py",
    "unit/recipes",
    "unit/report/test_views_picture.py",
    "unit/test_imports_of_libraries.py",
    "unit/training",
    "unit/views/test_block_views.py",
    "unit/views/test_sampling.py",
)


def pytest_runtest_logstart() -> None:
    """The checks of a test do not depend on those before it."""
    begin_test()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and begin with those files, so that no process is left with one of them at the end."""
    root = Path(__file__).parent
    slow_files = set()
    for item in items:
        path = item.path.relative_to(root).as_posix()
        if any(path == slow or path.startswith(f"{slow}/") for slow in SLOW):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("slow") is not None:
            slow_files.add(item.path)
    items.sort(key=lambda item: item.path not in slow_files)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Collect garbage again, and begin what starts processes that work together, where a test needs it."""
    gc.enable()
    if any(hasattr(getattr(item, "module", None), "in_processes") for item in session.items):
        from tests.helpers.processes import begin_server

        begin_server()


def pytest_sessionfinish() -> None:
    """Collect garbage once: pytest would twice, and Python at its end, each time through all that was imported."""
    gc.collect()
    gc.freeze()
