"""The checksum that a safetensors file carries in its own header, so that a cut or flipped file is noticed when read.

The entries ``checksum`` ("SHA-256") and ``sha256`` of the header's metadata are first and say what the SHA-256 of the
rest is: of the header without the second, in compact JSON, followed by the tensors' bytes. There are two, so that no
single flipped bit makes a sealed file look like one without a seal. Other programs ignore them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyview.errors import UserError
from manyview.parsing import parse_json

if TYPE_CHECKING:
    from torch import Tensor

_NAME, _SUM = "checksum", "sha256"
_METADATA = "__metadata__"
_LARGEST_HEADER = 100_000_000  # bytes; that of the library
_CHUNK = 1 << 22


def seal(header: dict[str, Any], data: memoryview) -> dict[str, Any]:
    """The header of a file with the checksum of its content.

    Args:
        header: of a safetensors file: its tensors by name, and metadata if any.
        data: the tensors' bytes.
    """
    metadata = {_NAME: "SHA-256", **header.get(_METADATA, {})}
    marked = {_METADATA: metadata, **{key: value for key, value in header.items() if key != _METADATA}}
    digest = hashlib.sha256(compact(marked))
    digest.update(data)
    return {**marked, _METADATA: {_NAME: metadata[_NAME], _SUM: digest.hexdigest(), **metadata}}


def compact(header: dict[str, Any]) -> bytes:
    """A header as JSON without spaces."""
    return json.dumps(header, separators=(",", ":")).encode()


def read_sealed(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors on the CPU, by name, and the metadata of a safetensors file whose checksum is right, if it has one.

    Raises:
        UserError: the file is damaged, or is none.
        OSError: it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    check_seal(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} is truncated or no safetensors file ({error})") from error


def is_sealed(path: Path, entry: str) -> bool:
    """Whether the header of a file with a checksum, intact or not, has this entry."""
    return entry in read_metadata(path)


def written_step(weights: Path) -> int:
    """The optimizer step that written weights are of, as their file's header says; 0 without any, or if it does not."""
    try:
        return int(read_metadata(weights).get("step", 0))
    except (ValueError, TypeError):
        return 0


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata in the header of a safetensors file, which is not checked; {} if it has none, or cannot be read."""
    try:
        with path.open("rb") as file:
            header = parse_json(file.read(min(int.from_bytes(file.read(8), "little"), _LARGEST_HEADER)))
        return dict(header[_METADATA])
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def check_seal(path: Path) -> None:
    """Compare a safetensors file with the checksum that it carries; one without is not checked.

    Raises:
        UserError: they differ.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > _LARGEST_HEADER:
            return  # no such file, as its reader says
        try:
            header = parse_json(file.read(size))
            metadata = dict(header[_METADATA])
        except (ValueError, LookupError, TypeError):
            return
        if not {_NAME, _SUM} & metadata.keys():
            return
        expected = metadata.pop(_SUM, None)
        digest = hashlib.sha256(compact({**header, _METADATA: metadata}))
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise UserError(
            f"{path} is damaged: its content does not match the SHA-256 in its header. Copy it again; the weights of a "
            "pre-training run are written again by: manyview pretrain --resume --out RUN. If another program changed "
            f'them on purpose, it must leave out "{_NAME}" and "{_SUM}" of their metadata'
        )
