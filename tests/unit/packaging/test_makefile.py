"""Where make takes PyTorch from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or not sys.platform.startswith("linux"), reason="for make on Linux"
)


def commands(tmp_path: Path, *given: str, driver: bool = False) -> str:
    """What make would run to install, on a machine with an NVIDIA driver or without."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("make", "sh", "uname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    if driver:
        (tools / "nvidia-smi").symlink_to(sys.executable)
    words = ["make", "--no-print-directory", "-n", "-W", "setup.py", ".venv/.installed", *given]
    environment = {name: value for name, value in os.environ.items() if name not in ("TORCH_INDEX", "MAKEFLAGS")}
    environment |= {"PATH": str(tools)}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_without_a_driver_cuda_is_left_out_where_it_can_be(tmp_path: Path) -> None:
    text = commands(tmp_path)
    assert f"--index-url {CPU_INDEX} torch torchvision || echo " in text


def test_with_a_driver_and_where_it_is_asked_for_pips_own_index_is_taken(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for text in (commands(tmp_path, driver=True), commands(tmp_path / "other", "TORCH_INDEX=")):
        assert "--index-url" not in text
        assert "pip install --quiet --constraint constraints.txt --editable '.[test]'" in text


def test_an_index_that_is_named_must_have_it(tmp_path: Path) -> None:
    assert "--index-url https://example.org torch torchvision || exit 1" in commands(
        tmp_path, "TORCH_INDEX=https://example.org"
    )
