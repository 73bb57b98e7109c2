"""A checkpoint of whatever origin, as the weights of its encoder under the network's own names."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from manyview.backbones.files import StoredTensors, read_tensors
from manyview.backbones.formats import Format, plain, recognize
from manyview.errors import UserError
from manyview.runs.folder import WEIGHTS_FILE

OWN_FORMAT = Format("manyview", "")


@dataclass(frozen=True)
class Checkpoint:
    """The encoder's weights of a file, and what was left out.

    Attributes:
        path: the file.
        format: its layout, recognized by the names in it.
        tensors: the encoder's weights on the CPU, by the names that the network's library gives them.
        dropped: what else the file holds, by its own names, under what it belongs to.
        file_names: for each of ``tensors``, its name in the file.
        metadata: what the header says where the file is manyview's, such as ``name``.
        architecture: the network that the training program noted, if any.
    """

    path: Path
    format: Format
    tensors: Mapping[str, Tensor]
    dropped: Mapping[str, tuple[str, ...]]
    file_names: Mapping[str, str]
    metadata: Mapping[str, str]
    architecture: str | None

    def file_name(self, own: str) -> str:
        """What the file calls the network's weight ``own``, or would call it if it had it."""
        return self.file_names.get(own, self.format.file_name(own))


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a run folder or a checkpoint; nothing in it is executed.

    Known layouts: manyview's, SimSiam's, MoCo v2's, DenseCL's (raw and extracted), SlotCon's, torchvision's and timm's
    (also out of DataParallel), Detectron2's; as safetensors, PyTorch's file or, of arrays, a pickle.

    Args:
        path: a run folder, its ``backbone.safetensors``, or any file of these. The final ``fc`` of a network is left
            out; a classifier of another name stays, as only the network itself tells it from the rest.

    Raises:
        UserError: no such file, damaged, not a checkpoint, or one that could execute code.
    """
    file = find_weights(Path(os.fspath(path)))
    return sort_out(file, read_tensors(file))


def sort_out(path: Path, stored: StoredTensors, own: Collection[str] = (), heads: Collection[str] = ()) -> Checkpoint:
    """Tell the encoder's weights from the rest.

    Args:
        path: where they are from.
        stored: the file's content.
        own: names in the ``state_dict`` of the network they are for, if it is known. A file that has most of them is
            taken as it is, whatever it looks like.
        heads: names of that network's classifier, which go out beside ``fc``.
    """
    tensors, metadata = stored.tensors, stored.metadata
    as_they_are = 2 * sum(name in tensors for name in own) > len(own)
    form = OWN_FORMAT if metadata else plain() if as_they_are else recognize(tensors.keys(), stored.container)
    # In manyview's own files there is no classifier, and an ``fc`` belongs to somebody's own module.
    starts = tuple(f"{head}." for head in (heads if metadata else {"fc", *heads}))
    kept: dict[str, Tensor] = {}
    file_names: dict[str, str] = {}
    dropped: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        inner = form.own_name(name)
        if inner is None:
            dropped.setdefault(form.reason(name), []).append(name)
        elif inner.startswith(starts) and inner not in own:
            dropped.setdefault(form.head, []).append(name)
        else:
            kept[inner], file_names[inner] = tensor, name
    left_out = {what: tuple(names) for what, names in dropped.items()}
    return Checkpoint(path, form, kept, left_out, file_names, metadata, stored.architecture)


def find_weights(path: Path) -> Path:
    """The weights' file in a run folder, or the file itself."""
    if not path.is_dir():
        return path
    if (path / WEIGHTS_FILE).is_file():
        return path / WEIGHTS_FILE
    if (path / "config.json").is_file():
        raise UserError(f"the run in {path} has no weights yet; they are written at the end of each epoch")
    raise UserError(f"{path} is not a run folder: it holds no {WEIGHTS_FILE}")
