"""What a run and evaluations import, and that what it leaves out can still be had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from manyview import imports

PROGRAM = """
import sys
import manyview.detection.models, manyview.evaluation, manyview.training.run
from manyview.backbones import build_backbone
from manyview.optimizers import SGD

build_backbone("resnet18")
assert "timm" not in sys.modules, "imported for a ResNet of torchvision's"
module = build_backbone("timm/test_resnet")
optimizer = SGD(build_backbone("resnet18").parameters(), lr=0.1)
optimizer.step(), optimizer.zero_grad(), optimizer.state_dict()
heavy = ("torch._dynamo", "torch._inductor", "sympy", "torchmetrics", "transformers", "matplotlib", "scipy", "sklearn",
         "pandas", "pyarrow", "tensorboard", "torch.distributed.fsdp")
assert [name for name in heavy if name in sys.modules] == [], "imported"

from lightning_fabric.utilities import imports
from lightning_fabric.wrappers import _unwrap_compiled
assert imports._TORCHMETRICS_GREATER_EQUAL_1_0_0 is True, "as if it were not installed"
from importlib.util import find_spec
assert find_spec("torchmetrics").origin.endswith("__init__.py"), "no longer to be had"

import torch, torch._dynamo
from torchvision.ops import roi_align
assert _unwrap_compiled(module) == (module, None)
compiled = torch.compile(module, backend="eager")
compiled._compile_kwargs = {}  # as Fabric notes
assert _unwrap_compiled(compiled) == (module, {}), "Fabric takes it for a module that is not compiled"
assert roi_align.__globals__["is_compile_supported"]("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
import os
os._exit(0)  # without a search of all these objects for garbage
"""


def test_a_run_imports_no_compiler_and_no_metrics_and_both_still_can_be() -> None:
    """By attributes of the releases that the tests run with."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


@pytest.mark.parametrize("line", ["from heavy import other", "import heavy.part", "import heavy; heavy.other"])
def test_a_library_that_reads_more_gets_it(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy/__init__.py").write_text("other = 1")
    (tmp_path / "heavy/part.py").write_text("")
    (tmp_path / "library.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports, "_COMPILER", "heavy")
    monkeypatch.delitem(sys.modules, "library", raising=False)
    monkeypatch.delitem(sys.modules, "heavy", raising=False)

    imports.import_lightly("library")

    assert sys.modules["library"]
    assert sys.modules["heavy"].other == 1
    assert sys.modules["heavy"].__file__


def test_a_function_that_is_left_out_of_compiled_code_still_is() -> None:
    traced = []

    @imports.disable
    def add_one(x: torch.Tensor) -> torch.Tensor:
        traced.append(torch.compiler.is_compiling())
        return x + 1

    compiled = torch.compile(lambda x: add_one(x * 2) * 3, backend="eager")

    assert add_one(torch.ones(1)).item() == 2
    assert compiled(torch.ones(1)).item() == 9
    assert traced == [False, False]
    assert add_one.__name__ == "add_one"
