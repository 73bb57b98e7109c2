"""Reading of checkpoints in any known layout: the encoder's weights under the network's own names."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from manyview.backbones.files import StoredTensors, read_tensors
from manyview.backbones.formats import CheckpointLayout, plain, recognize
from manyview.errors import UserError
from manyview.runs.folder import DETECTOR_FILE, WEIGHTS_FILE

OWN_FORMAT = CheckpointLayout("manyview", "")


@dataclass(frozen=True)
class EncoderCheckpoint:
    """The encoder's weights from a checkpoint, and the names of all other weights in it.

    Attributes:
        path: the file.
        format: its layout, recognized by the names in it.
        tensors: the encoder's weights on the CPU, by their names in the network's library.
        dropped: names of the other weights, grouped by what they belong to.
        file_names: for each of ``tensors``, its name in the file.
        metadata: the header of manyview's own files, with entries such as ``name``.
        architecture: the network recorded by the training program, if any.
    """

    path: Path
    format: CheckpointLayout
    tensors: Mapping[str, Tensor]
    dropped: Mapping[str, tuple[str, ...]]
    file_names: Mapping[str, str]
    metadata: Mapping[str, str]
    architecture: str | None

    def file_name(self, own: str) -> str:
        """The name in the file of the network's weight ``own``, also if the file lacks it."""
        return self.file_names.get(own, self.format.file_name(own))


def read_checkpoint(path: str | os.PathLike[str]) -> EncoderCheckpoint:
    """Read a run folder or a checkpoint; nothing in it is executed.

    Known layouts: manyview's, SimSiam's, MoCo v2's, DenseCL's (raw and extracted), SlotCon's, torchvision's and timm's
    (also out of DataParallel), Detectron2's; as safetensors, a PyTorch file, or a pickle of arrays.

    Args:
        path: a run folder, its ``backbone.safetensors``, or any such file. The final ``fc`` of a network is left
            out; a classifier of another name is kept, as only the network itself identifies it.

    Raises:
        UserError: no such file, damaged, not a checkpoint, or one that could execute code.
    """
    file = find_weights(Path(os.fspath(path)))
    return sort_out(file, read_tensors(file))


def sort_out(
    path: Path, stored: StoredTensors, own: Collection[str] = (), heads: Collection[str] = ()
) -> EncoderCheckpoint:
    """Separate the encoder's weights from all others.

    Args:
        path: the file.
        stored: its content.
        own: names in the ``state_dict`` of the target network, if it is known. A file that has most of them is
            taken as plain, whatever its layout seems to be.
        heads: names of that network's classifier, which are left out in addition to ``fc``.
    """
    tensors, metadata = stored.tensors, stored.metadata
    as_they_are = 2 * sum(name in tensors for name in own) > len(own)
    form = OWN_FORMAT if metadata else plain() if as_they_are else recognize(tensors.keys(), stored.container)
    # manyview's own files hold no classifier, so an ``fc`` in them belongs to a custom module.
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
    return EncoderCheckpoint(path, form, kept, left_out, file_names, metadata, stored.architecture)


def find_weights(path: Path) -> Path:
    """The weights file of a run folder, or the given file itself.

    Raises:
        UserError: the folder holds no weights, or those of a detector.
    """
    if path.name == DETECTOR_FILE or (path / DETECTOR_FILE).is_file():
        run = path.parent if path.name == DETECTOR_FILE else path
        raise UserError(
            f"{path} is a fine-tuned detector, not a backbone: detect objects with it "
            f"(manyview detect --predict {run}), "
            f'or give the weights that it began with ("weights" in {run / "config.json"})'
        )
    if not path.is_dir():
        return path
    if (path / WEIGHTS_FILE).is_file():
        return path / WEIGHTS_FILE
    if (path / "config.json").is_file():
        raise UserError(f"the run in {path} has no weights yet; they are written at the end of each epoch")
    raise UserError(f"{path} is not a run folder: it holds no {WEIGHTS_FILE}")
