"""Files that are no checkpoint: what they are, in words; and the weights of PyTorch's exported programs."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from manyview.errors import UserError
from manyview.parsing import parse_json

_WEIGHTS = "data/weights/model_weights_config.json"
# ``ScalarType`` of torch/_export/serde/schema.py by number.
_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
_DENSE = 7  # ``Layout.Strided`` of the same file
_GIVE = "give the file that its weights came from, or the state_dict of the network"
_LFS = b"version https://git-lfs"
# How files of other formats begin.
_STARTS = (
    (_LFS, "a pointer of Git LFS to a file that was not downloaded: run git lfs pull, or download the file itself"),
    (b"\x89HDF\r\n", f"an HDF5 file, as Keras saves weights, which this cannot read: {_GIVE} in PyTorch"),
    (b"GGUF", f"a GGUF file, as llama.cpp uses it: {_GIVE}"),
    (b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (b"BZh", "compressed by bzip2: unpack it first"),
    (b"\xfd7zXZ\x00", "compressed by xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "an archive of 7-Zip: unpack it first"),
    (b"Rar!", "an archive of RAR: unpack it first"),
    (b"\x93NUMPY", "an array of NumPy without names of weights"),
)
_ENDINGS = {
    ".onnx": f"an ONNX graph, whose weights have lost their names or are folded into each other: {_GIVE}",
    ".tflite": f"a TensorFlow Lite model: {_GIVE} in PyTorch",
    ".engine": f"an engine of TensorRT: {_GIVE}",
    ".plan": f"an engine of TensorRT: {_GIVE}",
    ".mlmodel": f"a Core ML model: {_GIVE}",
    ".msgpack": f"a file of Flax: {_GIVE} in PyTorch",
    ".pb": f"a graph of TensorFlow: {_GIVE} in PyTorch",
    ".index": f"a checkpoint of TensorFlow: {_GIVE} in PyTorch",
}


def described(path: Path, head: bytes) -> str | None:
    """What a file is that begins as no checkpoint does, and what to give instead; None if it is not known.

    Args:
        path: the file.
        head: its first bytes, at least 262 where it has as many.
    """
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not the file that a link leads to: download it again, as from the page's download button"
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    if path.suffix == ".tflite" or head[4:8] == b"TFL3":
        return _ENDINGS[".tflite"]
    return next((what for start, what in _STARTS if head.startswith(start)), _ENDINGS.get(path.suffix.lower()))


def described_archive(path: Path, names: list[str]) -> str | None:
    """What a zip file is that holds a program or other files instead of PyTorch's weights; None if it holds those.

    Args:
        path: the file.
        names: of the files in it.
    """
    inner = {name.partition("/")[2] for name in names}
    if any(name.startswith("code/") for name in inner) or "bytecode.pkl" in inner:
        save = f"torch.save(torch.jit.load({str(path)!r}, map_location='cpu').state_dict(), {suggested_file(path)!r})"
        return (
            "a TorchScript program, not weights, and loading it could execute code: give the checkpoint that it was "
            f'made from, or, where you trust its makers, save its weights alone: python -c "import torch; {save}"'
        )
    if any(name.startswith("data/aotinductor/") for name in inner):
        return f"a program compiled by AOTInductor: {_GIVE}"
    if "serialized_exported_program.json" in names or "models/model.json" in inner:
        save = f"torch.save(torch.export.load({str(path)!r}).state_dict, {suggested_file(path)!r})"
        return (
            "an exported program of torch.export whose weights are stored in a way that could execute code: give the "
            "checkpoint that it was made from, or, where you trust its makers, save its weights alone: "
            f'python -c "import torch; {save}"'
        )
    if any(PurePosixPath(name).name == "data.pkl" for name in names):
        return None
    if any(name.endswith(".npy") for name in names):
        return f"an archive of NumPy's arrays, as JAX programs save weights: {_GIVE} in PyTorch"
    if "config.json" in names and any(name.endswith(".h5") for name in names):
        return f"a model of Keras: {_GIVE} in PyTorch"
    if any(name.endswith("Manifest.json") or name.endswith("MANIFEST.json") for name in names):
        return f"a package for Core ML or TorchServe: unpack it, or {_GIVE}"
    weights = [name for name in names if name.endswith((".pth", ".pt", ".ckpt", ".safetensors", ".bin", ".tar"))]
    if weights:
        return f"a zip archive of files: unpack it and give one of them, such as {weights[0]}"
    return "a zip archive without weights of PyTorch"


def suggested_file(path: Path) -> str:
    """Where the commands that messages suggest write a file's weights."""
    return str(path.with_suffix(".weights.pth"))


def exported_weights(path: Path, names: list[str]) -> dict[str, Tensor] | None:
    """The weights of a program saved by ``torch.export.save``, read without its code; None if it is no such file.

    The archive (https://docs.pytorch.org/docs/stable/export/pt2_archive.html) has each weight's bytes as a file and
    their shapes as JSON. Weights that it holds as pickles are not read.

    Args:
        path: a zip file.
        names: of the files in it.

    Raises:
        UserError: it is damaged.
    """
    listed = next((name for name in names if name.endswith(f"/{_WEIGHTS}")), None)
    if listed is None:
        return None
    folder = listed.removesuffix(PurePosixPath(listed).name)
    try:
        with zipfile.ZipFile(path) as archive:
            config = parse_json(archive.read(listed))["config"]
            if any(entry["use_pickle"] for entry in config.values()):
                return None
            return {
                name: _tensor(entry["tensor_meta"], archive.read(folder + entry["path_name"]))
                for name, entry in config.items()
            }
    except Exception as error:  # Damaged bytes can raise any exception.
        raise UserError(f"{path} is damaged: its exported program's weights cannot be read ({error})") from error


def _tensor(about: dict[str, Any], content: bytes) -> Tensor:
    """A tensor of an archive from its bytes, which hold its storage."""
    dtype = _DTYPES[about["dtype"]]
    sizes, strides = ([int(length["as_int"]) for length in about[key]] for key in ("sizes", "strides"))
    offset = int(about["storage_offset"]["as_int"])
    if about["layout"] != _DENSE or min([0, offset, *sizes, *strides]) < 0:
        raise ValueError("a layout that is not dense")
    if math.prod(sizes) == 0:
        return torch.empty(sizes, dtype=dtype)
    storage = torch.frombuffer(bytearray(content), dtype=dtype)
    last = offset + sum((length - 1) * stride for length, stride in zip(sizes, strides, strict=True))
    if last >= len(storage):
        raise ValueError("a weight that is shorter than its shape")
    return storage.as_strided(sizes, strides, offset).clone(memory_format=torch.contiguous_format)
