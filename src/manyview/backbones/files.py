"""Safe reading of named tensors from checkpoint files: no code in them is executed."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manyview.backbones.safe_pickle import ForbiddenNameError, StoredArray, read_pickle
from manyview.errors import UserError

FORMAT = "manyview-backbone"
_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\n\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # Start of PyTorch's files before version 1.6.
_CONTAINERS = ("state_dict", "model")  # Entries in which training programs store the network's weights.


@dataclass(frozen=True)
class StoredTensors:
    """Content of a checkpoint file.

    Attributes:
        tensors: on the CPU, by their names in the file.
        container: the entry of the file that contains them, such as "state_dict"; "" if they are at its top level.
        metadata: the header of manyview's own files, with entries such as ``name``.
        architecture: name of the network recorded by the training program, if any.
    """

    tensors: dict[str, Tensor]
    container: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    architecture: str | None = None


def read_tensors(path: Path) -> StoredTensors:
    """Read the named tensors of a file.

    Args:
        path: a safetensors file, a PyTorch checkpoint or a pickle of NumPy arrays as written by Detectron2, with
            named tensors at the top level or in its ``state_dict`` or ``model``.

    Raises:
        UserError: it cannot be read, is damaged, is no checkpoint, or could execute code.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_LEGACY))
    except FileNotFoundError as error:
        raise UserError(f"there is no file or folder {path}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise UserError(f"{path} is empty")
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return _read_safetensors(path)
    if head.startswith(_ZIP) and not zipfile.is_zipfile(path):
        raise UserError(f"{path} is truncated; copy or download it again")
    if head.startswith((_ZIP, _LEGACY)):
        return _named_tensors(_read_torch(path), path)
    if head.startswith(_PICKLE):
        return _named_tensors(_read_arrays(path), path)
    raise UserError(f"{path} is not a checkpoint: neither safetensors nor a file that PyTorch or Detectron2 saved")


def _read_safetensors(path: Path) -> StoredTensors:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} is truncated or no safetensors file ({error})") from error
    return StoredTensors(tensors, metadata=metadata if metadata.get("format") == FORMAT else {})


def _read_torch(path: Path) -> Any:
    try:
        # Training programs store their options with the weights: attributes of plain data, which execute nothing.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About unsupported protocols; the error is enough.
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Damaged bytes can raise any exception.
        named = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and named:
            raise _refusal(path, named[1], f"torch.load({str(path)!r}, weights_only=False)") from error
        raise UserError(f"{path} is damaged, truncated, or not a checkpoint that PyTorch saved") from error


def _read_arrays(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            content = read_pickle(file)
    except ForbiddenNameError as error:
        raise _refusal(path, error.name, f"pickle.loads(pathlib.Path({str(path)!r}).read_bytes())") from error
    except Exception as error:  # Damaged bytes can raise any exception.
        raise UserError(f"{path} is damaged, truncated, or not a checkpoint of Detectron2 or PyTorch") from error
    arrays = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(arrays, dict) or not any(isinstance(value, StoredArray) for value in arrays.values()):
        raise UserError(f"{path} is not a checkpoint: a pickle without named arrays")
    return content


def _refusal(path: Path, name: str, load: str) -> UserError:
    """An error that names what the file would execute, with a command that extracts only its weights."""
    weights = "c.state_dict() if hasattr(c, 'state_dict') else c.get('state_dict', c.get('model', c))"
    save = f"torch.save({{k: torch.as_tensor(v) for k, v in w.items()}}, {str(path.with_suffix('.weights.pth'))!r})"
    command = f"import pathlib, pickle, torch; c = {load}; w = {weights}; {save}"
    return UserError(
        f"{path} holds more than weights ({name}): loading it could execute code, so it is refused; only where you "
        f'trust its makers, save its weights alone: python -c "{command}"'
    )


def _named_tensors(content: Any, path: Path) -> StoredTensors:
    container, inner = "", content
    if isinstance(content, dict):
        container = next((entry for entry in _CONTAINERS if isinstance(content.get(entry), dict)), "")
        inner = content[container] if container else content
    if isinstance(inner, dict) and inner:
        tensors = {str(key): _tensor(value) for key, value in inner.items()}
        whole = {key: value for key, value in tensors.items() if value is not None}
        if len(whole) == len(tensors):
            return StoredTensors(whole, container, architecture=_architecture(content))
    entries = ", ".join(map(str, list(inner)[:5])) if isinstance(inner, dict) and inner else "none"
    raise UserError(
        f"{path} does not hold a network's weights by their own names (its entries: {entries}); "
        "save the encoder's state_dict alone"
    )


def _tensor(value: object) -> Tensor | None:
    if isinstance(value, StoredArray) and value.values is not None:
        return torch.from_numpy(value.values)
    return value if isinstance(value, Tensor) else None


def _architecture(content: Mapping[Any, Any]) -> str | None:
    """The network recorded by the programs of SimSiam, MoCo and timm (``arch``) and SlotCon (in its options)."""
    options = next((content[key] for key in ("args", "opt") if isinstance(content.get(key), argparse.Namespace)), None)
    noted = content.get("arch", getattr(options, "arch", None))
    return noted if isinstance(noted, str) else None
