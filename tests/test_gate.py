"""The whole gate runs with the tests, so that it is the same on every machine: format, lint, types, import layers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GATE = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
    "layers": ["lint-imports"],
}


@pytest.mark.parametrize("name", GATE)
def test_gate(name: str) -> None:
    program, *arguments = GATE[name]
    path = shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)
    assert path, f"{program} is not installed; make sets it up"
    done = subprocess.run([path, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_is_too_long_to_read() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "src").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 500
    }
    assert long == {}
