"""Export of the network as a graph: ONNX, and PyTorch's exported programs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from manyview.backbones import Backbone
from manyview.backbones.base import WrappedBackbone
from manyview.backbones.weights import own_weights
from manyview.errors import UserError
from manyview.export.base import ExportFormat, pixels
from manyview.export.checking import (
    OTHER_KERNELS,
    Check,
    Images,
    compare_maps,
    native_size,
    probe,
    require_values,
)
from manyview.runtime import silenced

_INPUT, _OUTPUT = "images", "features"
_FREE_SIZES = ((64, 96), (96, 128))
_BATCHES = (1, 3)


class TorchExportFormat(ExportFormat):
    """An ``ExportedProgram`` for any number of images, of any size if the network allows it."""

    name = "torch-export"
    library = "PyTorch"
    about = "any network; a .pt2 of torch.export"
    suffixes = (".pt2",)
    sized = True

    def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
        """Trace the network and save the program."""
        torch.export.save(trace(backbone, size), target)

    def check(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> Check:
        """Load the program and run it."""
        program = torch.export.load(target)
        prefix = "network." if isinstance(backbone, WrappedBackbone) else ""
        held = {name.removeprefix(prefix): tensor for name, tensor in program.state_dict.items()}
        matched = require_values(own_weights(backbone), held)
        difference = compare_maps(backbone, program.module(), batches(backbone, size))
        return Check(matched, matched, "weights", *difference, f"torch.export.load of torch {torch.__version__}")

    def lines(self, backbone: Backbone, out: str) -> str:
        """Code that runs the program."""
        return f"""import torch

network = torch.export.load("{out}").module()
# network(images) is the feature map (B, {backbone.out_channels}, h, w); images: {pixels(backbone)}
# mean={list(backbone.mean)}, std={list(backbone.std)}
"""


class OnnxFormat(ExportFormat):
    """An ONNX graph for any number of images, of any size if the network allows it."""

    name = "onnx"
    library = "ONNX Runtime"
    about = "any network; an .onnx"
    suffixes = (".onnx",)
    sized = True

    def refusal(self, backbone: Backbone) -> str | None:
        """Any network is supported, if the packages are installed."""
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
        if missing:
            return f"export to onnx needs {', '.join(missing)}; install it with: pip install 'manyview[export]'"
        return None

    def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
        """Trace the network and translate the program."""
        with silenced("torch.onnx"):
            torch.onnx.export(
                trace(backbone, size),
                (),
                str(target),
                input_names=[_INPUT],
                output_names=[_OUTPUT],
                dynamo=True,
                external_data=False,
                verbose=False,
            )

    def check(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> Check:
        """Run the graph with ONNX Runtime."""
        import onnx
        import onnxruntime

        onnx.checker.check_model(str(target))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(target), options, providers=["CPUExecutionProvider"])

        def network(images: Tensor) -> Tensor:
            return torch.from_numpy(session.run([_OUTPUT], {_INPUT: images.numpy()})[0])

        maps = batches(backbone, size)
        difference = compare_maps(backbone, network, maps, OTHER_KERNELS)
        return Check(len(maps), len(maps), "feature maps", *difference, f"onnxruntime {onnxruntime.__version__}")

    def lines(self, backbone: Backbone, out: str) -> str:
        """Code that runs the graph with ONNX Runtime."""
        return f"""import onnxruntime

session = onnxruntime.InferenceSession("{out}", providers=["CPUExecutionProvider"])
# session.run(["{_OUTPUT}"], {{"{_INPUT}": images}})[0] is the feature map; images: {pixels(backbone)}
# mean={list(backbone.mean)}, std={list(backbone.std)}
"""


def trace(backbone: Backbone, size: tuple[int, int] | None) -> torch.export.ExportedProgram:
    """Trace a network for any number of images.

    Args:
        backbone: in eval mode.
        size: height and width to fix; unset: the network's own if it has one, or else dynamic.

    Raises:
        UserError: the network does not support the size, or a dynamic size.
    """
    free = size is None and native_size(backbone) is None
    sides = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC} if free else {}
    images = probe(backbone, size=size)
    try:
        with silenced("torch.onnx"):
            return torch.export.export(backbone, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC, **sides},))
    except UserError:
        raise
    except Exception as error:  # PyTorch raises any exception, from anywhere in the network.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        what = "images of any size" if free else f"images of {images.shape[2]} x {images.shape[3]} pixels"
        advice = "fix the size, as with --size 224" if free else "choose another --size"
        raise UserError(f"{backbone.name} cannot be compiled for {what} ({reason}); {advice}") from error


def batches(backbone: Backbone, size: tuple[int, int] | None) -> list[Images]:
    """Images for the verification: two batch sizes, each at two image sizes if the size is dynamic."""
    fixed = size or native_size(backbone)
    return [probe(backbone, batch, side) for side in ((fixed,) if fixed else _FREE_SIZES) for batch in _BATCHES]
