"""SHA-256 of every tensor in a file, for the formats that the commands write; read without PyTorch or ONNX.

A hash is over the type, the shape and the bytes. What else stands in such a file (paths, versions, stack traces of an
exporter) is no part of it.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_WIDTHS = {"Double": 8, "Long": 8, "Float": 4, "Int": 4, "Half": 2, "BFloat16": 2, "Short": 2}
_WIDTHS |= {"Byte": 1, "Char": 1, "Bool": 1}

Hashes = dict[str, str]


def safetensors(file: Path) -> Hashes:
    content = memoryview(file.read_bytes())
    length = int.from_bytes(content[:8], "little")
    head, data = json.loads(bytes(content[8 : 8 + length])), content[8 + length :]
    return {
        name: _hash(about["dtype"], about["shape"], data[slice(*about["data_offsets"])])
        for name, about in head.items()
        if name != "__metadata__"
    }


def npz(file: Path) -> Hashes:
    """Arrays, but for one of JSON that says where the others come from."""
    with np.load(file, allow_pickle=False) as arrays:
        return {name: _array_hash(arrays[name]) for name in arrays.files if name != "record"}


def torch_zip(file: Path) -> Hashes:
    """What ``torch.save`` wrote."""
    with zipfile.ZipFile(file) as archive:
        root = archive.namelist()[0].split("/")[0]
        with archive.open(f"{root}/data.pkl") as pickled:
            content = _Pickle(pickled, lambda key: archive.read(f"{root}/data/{key}")).load()
    return dict(_leaves(content))


def pickled_arrays(file: Path) -> Hashes:
    """Nested dictionaries of NumPy's arrays."""
    with file.open("rb") as content:
        return dict(_leaves(_Pickle(content, None).load()))


def torch_export(file: Path) -> Hashes:
    """Weights by name, and the sequence of operations."""
    with zipfile.ZipFile(file) as archive:
        root = archive.namelist()[0].split("/")[0]
        names = json.loads(archive.read(f"{root}/data/weights/model_weights_config.json"))["config"]
        hashes = {
            name: _hash("bytes", (), archive.read(f"{root}/data/weights/{about['path_name']}"))
            for name, about in names.items()
        }
        graph = json.loads(archive.read(f"{root}/models/model.json"))["graph_module"]["graph"]
    return {**hashes, "operations": _words(node["target"] for node in graph["nodes"])}


def onnx(file: Path) -> Hashes:
    """Weights by name, and the sequence of operations; numbers of fields as in onnx.proto."""
    [graph] = (value for field, value in _fields(memoryview(file.read_bytes())) if field == 7)
    hashes, operations = {}, []
    for field, value in _fields(graph):
        if field == 1:
            operations += [bytes(text).decode() for number, text in _fields(value) if number == 4]
        if field == 5:
            tensor = list(_fields(value))
            [name] = (bytes(text).decode() for number, text in tensor if number == 8)
            hashes[name] = _hash("fields", (), *(_encoded(text) for number, text in tensor if number != 8))
    return {**hashes, "operations": _words(operations)}


READERS: Mapping[str, Callable[[Path], Hashes]] = {
    ".safetensors": safetensors,
    ".npz": npz,
    ".pth": torch_zip,
    ".pt": torch_zip,
    ".pkl": pickled_arrays,
    ".pt2": torch_export,
    ".onnx": onnx,
}


class _Pickle(pickle.Unpickler):
    """Reads plain data and tensors, each as its hash, and refuses all that could run code."""

    def __init__(self, file: Any, storage: Callable[[str], bytes] | None) -> None:
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor_hash
        if module == "torch" and name.endswith("Storage"):
            return name.removesuffix("Storage")
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "_frombuffer", "ndarray", "dtype", "scalar"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is neither plain data nor a tensor")

    def persistent_load(self, pid: Any) -> tuple[str, bytes]:
        assert self._storage is not None
        _, dtype, key, _, _ = pid
        return dtype, self._storage(key)


def _tensor_hash(storage: tuple[str, bytes], offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any) -> str:
    dtype, content = storage
    width = _WIDTHS[dtype]
    values = np.frombuffer(content, dtype=f"V{width}")[offset:]
    strided = np.lib.stride_tricks.as_strided(values, shape, [stride * width for stride in strides])
    return _hash(dtype, shape, strided.tobytes())


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{prefix}{key}.")
    elif isinstance(value, np.ndarray):
        yield prefix[:-1], _array_hash(value)
    elif isinstance(value, str) and len(value) == 64:  # the hash of a tensor
        yield prefix[:-1], value


def _array_hash(array: np.ndarray) -> str:
    return _hash(array.dtype.str, array.shape, array.tobytes())


def _hash(dtype: str, shape: Sequence[int], *contents: bytes | memoryview) -> str:
    digest = hashlib.sha256(f"{dtype}{list(shape)}".encode())
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


def _words(words: Any) -> str:
    return _hash("words", (), " ".join(words).encode())


def _encoded(value: int | memoryview) -> bytes:
    return repr(value).encode() if isinstance(value, int) else bytes(value)


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a message in the wire format of protocol buffers: an integer, or its bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield field, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        else:
            length = {1: 8, 5: 4}[wire]
        yield field, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    for count in range(math.ceil(64 / 7)):
        byte = message[at + count]
        if byte < 0x80:
            whole = sum((message[at + i] & 0x7F) << 7 * i for i in range(count + 1))
            return whole, at + count + 1
    raise ValueError("a number without an end")
