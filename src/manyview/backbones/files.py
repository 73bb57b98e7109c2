"""Named tensors from files of other people's making, without executing anything in them."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manyview.errors import UserError

FORMAT = "manyview-backbone"
_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, on the CPU, and what else the header says where the file is manyview's, such as ``name``.

    Args:
        path: a safetensors file, or a PyTorch checkpoint that holds named tensors, alone or as its ``state_dict``.

    Raises:
        UserError: it cannot be read, is damaged, is something else, or could execute code.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
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
    if not head.startswith((_ZIP, _PICKLE)):
        raise UserError(f"{path} is not a checkpoint: neither safetensors nor a file that PyTorch saved")
    return _named_tensors(_read_pickle(path), path), {}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} is truncated or no safetensors file ({error})") from error
    return tensors, metadata if metadata.get("format") == FORMAT else {}


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # On protocols that are not read; the error says what matters.
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Bytes of any kind can break the reader in any way.
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise UserError(
                f"{path} holds more than weights: loading it could execute code, so it is refused; "
                "save the network's state_dict alone where you trust the file"
            ) from error
        raise UserError(f"{path} is damaged, truncated, or not a checkpoint that PyTorch saved") from error


def _named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if isinstance(content, dict) and content and all(isinstance(value, Tensor) for value in content.values()):
        return {str(key): value for key, value in content.items()}
    entries = ", ".join(map(str, list(content)[:5])) if isinstance(content, dict) and content else "none"
    raise UserError(
        f"{path} does not hold a network's weights by their own names (its entries: {entries}); "
        "save the encoder's state_dict alone"
    )
