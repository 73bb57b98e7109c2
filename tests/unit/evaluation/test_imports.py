"""What importing the evaluations or a run does not bring along, as it is slow or may not be installed."""

from __future__ import annotations

import subprocess
import sys

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


def test_imports_are_light_and_what_they_leave_out_still_can_be_had() -> None:
    """In one new process, by attributes of the releases that the tests run with."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
