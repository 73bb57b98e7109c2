"""Safe reading of named tensors from checkpoint files: no code in them is executed."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from manyview.backbones.exported import described, described_archive, exported_weights, suggested_file
from manyview.backbones.pickles.pickle_scan import HostilePickleError, check_pickle
from manyview.backbones.pickles.safe_pickle import ForbiddenNameError, StoredArray, read_pickle
from manyview.errors import UserError
from manyview.runs.sealed import read_sealed

FORMAT = "manyview-backbone"
_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\n\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # Start of PyTorch's files before version 1.6.
_LEGACY_PICKLES = 5  # magic number, version, machine, content, and names of the storages that follow
_LARGE, _MOST_RATIO = 2**28, 16  # bytes of an archive once unpacked: so many, and so many times its own
_HEAD = 512  # bytes by which a format is recognized
_CONTAINERS = ("state_dict", "model")  # Entries in which training programs store the network's weights.
_DEPTH = 6  # levels of entries in entries
_MOST_ENTRIES = 10_000  # as a small pickle can hold the same dictionary at any number of places
# Entries of training programs with tensors by other names than a network's.
_STATES = re.compile(r"optim|sched|scaler|rng|amp$|grad|momentum_buffer", re.IGNORECASE)


@dataclass(frozen=True)
class StoredTensors:
    """Content of a checkpoint file.

    Attributes:
        entries: the named tensors, on the CPU, of each entry of the file, such as "state_dict" or "teacher"; entries in
            entries are separated by a slash, and "" is the top level. The usual entries come first; there is one.
        metadata: the header of manyview's own files, with entries such as ``name``.
        architecture: name of the network recorded by the training program, if any.
    """

    entries: Mapping[str, Mapping[str, Tensor]]
    metadata: Mapping[str, str] = field(default_factory=dict)
    architecture: str | None = None

    @property
    def container(self) -> str:
        """The first entry."""
        return next(iter(self.entries))

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The named tensors of the first entry."""
        return self.entries[self.container]


def read_tensors(path: Path) -> StoredTensors:
    """Read the named tensors of a file.

    Args:
        path: a safetensors file, a PyTorch checkpoint or a pickle of NumPy arrays as written by Detectron2, with
            named tensors at the top level or in any of its entries; or a program of ``torch.export.save``.

    Raises:
        UserError: it cannot be read, is damaged, is no checkpoint, or could execute code.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise UserError(f"there is no file or folder {path}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise UserError(f"{path} is empty")
    if not head.startswith((_PICKLE, _ZIP)) and (what := described(path, head)):
        raise UserError(f"{path} is {what}")
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return _read_safetensors(path)
    if head.startswith(_ZIP):
        names = _archived(path)
        if (weights := exported_weights(path, names)) is not None:
            return StoredTensors({"": weights})
        if what := described_archive(path, names):
            raise UserError(f"{path} is {what}")
    if head.startswith((_ZIP, _LEGACY)):
        return _named_tensors(_read_torch(path), path)
    if head.startswith(_PICKLE):
        return _named_tensors(_read_arrays(path), path)
    raise UserError(f"{path} is not a checkpoint: neither safetensors nor a file that PyTorch or Detectron2 saved")


def _read_safetensors(path: Path) -> StoredTensors:
    tensors, metadata = read_sealed(path)
    return StoredTensors({"": tensors}, metadata if metadata.get("format") == FORMAT else {})


def _archived(path: Path) -> list[str]:
    """Names of the files in an archive, whose sizes have been checked."""
    try:
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path} is truncated; copy or download it again")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > _LARGE + _MOST_RATIO * path.stat().st_size:
                raise UserError(f"{path} is damaged: it would be more than {_MOST_RATIO} times as large once unpacked")
            return [member.filename for member in members]
    except UserError:
        raise
    except Exception as error:  # Damaged bytes can raise any exception.
        raise UserError(f"{path} is damaged; copy or download it again") from error


def _why(error: Exception) -> str:
    """What ``check_pickle`` found, for a message."""
    return f" (its pickle has {error})" if isinstance(error, HostilePickleError) else ""


def _read_torch(path: Path) -> Any:
    try:
        _check_pickles(path)
        # Training programs store their options with the weights: attributes of plain data, which execute nothing.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About unsupported protocols; the error is enough.
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Damaged bytes can raise any exception.
        named = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and named:
            raise _refusal(path, named[1], f"torch.load({str(path)!r}, weights_only=False)") from error
        raise UserError(f"{path} is damaged, truncated, or not a checkpoint that PyTorch saved{_why(error)}") from error


def _check_pickles(path: Path) -> None:
    """Check the pickles of a file of PyTorch: those of its archive, or at the beginning of one before version 1.6."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if PurePosixPath(member.filename).name == "data.pkl":
                    check_pickle(BytesIO(archive.read(member)))
        return
    with path.open("rb") as file:
        for _ in range(_LEGACY_PICKLES):
            check_pickle(file)


def _read_arrays(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            check_pickle(file)
            file.seek(0)
            content = read_pickle(file)
    except ForbiddenNameError as error:
        raise _refusal(path, error.name, f"pickle.loads(pathlib.Path({str(path)!r}).read_bytes())") from error
    except Exception as error:  # Damaged bytes can raise any exception.
        raise UserError(
            f"{path} is damaged, truncated, or not a checkpoint of Detectron2 or PyTorch{_why(error)}"
        ) from error
    if not any(isinstance(value, StoredArray) for _, entry in _entries(content) for value in entry.values()):
        raise UserError(f"{path} is not a checkpoint: a pickle without named arrays")
    return content


def _refusal(path: Path, name: str, load: str) -> UserError:
    """An error that names what the file would execute, with a command that extracts only its weights."""
    weights = "c.state_dict() if hasattr(c, 'state_dict') else c.get('state_dict', c.get('model', c))"
    save = f"torch.save({{k: torch.as_tensor(v) for k, v in w.items()}}, {suggested_file(path)!r})"
    command = f"import pathlib, pickle, torch; c = {load}; w = {weights}; {save}"
    return UserError(
        f"{path} holds more than weights ({name}): loading it could execute code, so it is refused; only where you "
        f'trust its makers, save its weights alone: python -c "{command}"'
    )


def _named_tensors(content: Any, path: Path) -> StoredTensors:
    entries: dict[str, dict[str, Tensor]] = {}
    for name, entry in _entries(content):
        tensors = {str(key): tensor for key, value in entry.items() if (tensor := _tensor(value)) is not None}
        # Beside weights there may be a few numbers; a few tensors among other things are no network.
        if 2 * len(tensors) > len(entry):
            entries[name] = tensors
    if entries:
        usual = sorted(entries, key=lambda name: _CONTAINERS.index(name) if name in _CONTAINERS else len(_CONTAINERS))
        return StoredTensors({name: entries[name] for name in usual}, architecture=_architecture(content))
    inner = (
        next((content[key] for key in _CONTAINERS if key in content), content) if isinstance(content, dict) else None
    )
    listed = ", ".join(map(str, list(inner)[:5])) if isinstance(inner, dict) and inner else "none"
    raise UserError(
        f"{path} does not hold a network's weights by their own names (its entries: {listed}); "
        "save the encoder's state_dict alone"
    )


def _entries(content: Any) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Every dictionary in a file's content but those of optimizers, with its name; as many as files have at most."""
    return islice(_all_entries(content, "", _DEPTH), _MOST_ENTRIES)


def _all_entries(content: Any, name: str, depth: int) -> Iterator[tuple[str, dict[Any, Any]]]:
    if not isinstance(content, dict):
        return
    yield name, content
    for key, value in content.items() if depth else ():
        if isinstance(key, str) and not _STATES.search(key):
            yield from _all_entries(value, f"{name}/{key}" if name else key, depth - 1)


def _tensor(value: object) -> Tensor | None:
    """A tensor with values of its own: neither sparse, quantized, on no device, nor larger than what is stored."""
    if isinstance(value, StoredArray) and value.values is not None:
        return torch.from_numpy(value.values)
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized or value.is_meta:
        return None
    size = value.numel() * value.element_size()
    return value if size <= max(value.untyped_storage().nbytes(), _LARGE) else None


def _architecture(content: Any) -> str | None:
    """The network recorded by the programs of SimSiam, MoCo and timm (``arch``) and SlotCon (in its options)."""
    if not isinstance(content, dict):
        return None
    options = next((content[key] for key in ("args", "opt") if isinstance(content.get(key), argparse.Namespace)), None)
    noted = content.get("arch", getattr(options, "arch", None))
    return noted if isinstance(noted, str) else None
