"""A backbone's weights to a file and back, with every tensor accounted for."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from manyview.backbones.networks import Backbone, build_backbone
from manyview.errors import UserError
from manyview.runs import RunFolder, atomic_write

FORMAT = "manyview-backbone"
_NAMED = 6


def save_backbone(backbone: Backbone, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a backbone's weights as safetensors, atomically, under the parameter names of its own library.

    Args:
        backbone: the network.
        path: the file.
        metadata: what else the file's header should say.

    Raises:
        UserError: the file cannot be written.
    """
    from safetensors.torch import save_file

    tensors = {key: value.detach().cpu().contiguous() for key, value in backbone.bare().state_dict().items()}
    header = {**metadata, "format": FORMAT, "name": backbone.name}
    atomic_write(path, lambda temporary: save_file(tensors, str(temporary), metadata=header))


def load_backbone(weights: str | os.PathLike[str], name: str | None = None) -> Backbone:
    """A backbone with its weights, in eval mode: images (B, 3, H, W) to a feature map (B, D, h, w).

    Args:
        weights: a run's folder, its ``backbone.safetensors``, or a safetensors or PyTorch file of bare torchvision or
            timm names; a classifier in it (``fc``, ``classifier``, ``head``) is left out.
        name: the architecture, needed where the file does not say it.

    Raises:
        UserError: there is no such file, it is damaged, it would execute code, or it does not match the architecture
            tensor by tensor.
    """
    path = _weights_file(Path(weights))
    tensors, metadata = _read(path)
    stored = metadata.get("name") if metadata.get("format") == FORMAT else None
    if stored is not None and stored.startswith("own:"):
        raise UserError(f"{path} holds the weights of {stored[4:]}, a module of your own: load them into it yourself")
    if stored and name and stored.removeprefix("timm/") != name.removeprefix("timm/"):
        raise UserError(f"{path} holds a {stored}, not a {name}; leave the name out")
    architecture = stored or name
    if architecture is None:
        raise UserError(f"{path} does not say which architecture it holds; name it, as in name='resnet50'")
    backbone = build_backbone(architecture)
    _fill(backbone, tensors, path)
    return backbone.eval()


def _weights_file(path: Path) -> Path:
    if path.is_dir():
        folder = RunFolder(path)
        if folder.weights.is_file():
            return folder.weights
        if folder.holds_a_run:
            raise UserError(f"{path} is a run that has not finished its first epoch: it holds no weights yet")
        raise UserError(f"{path} holds neither a run nor weights; give a run's folder or a checkpoint file")
    if not path.is_file():
        raise UserError(f"there is no weights file or run folder {path}")
    return path


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is damaged or no safetensors file: {error}") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is no plain weights file: reading it could execute code, so it is refused; where you trust it, "
            "convert it once with torch.save(torch.load(path, weights_only=False)['state_dict'], 'weights.pth')"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged or no PyTorch file: {str(error).splitlines()[0]}") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} does not hold tensors by name")
    return dict(content), {}


def _fill(backbone: Backbone, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy the tensors in; each of the network's must be there with its shape, and nothing but a classifier be left."""
    expected = backbone.bare().state_dict()
    # Files from before PyTorch 0.4.1 lack the counters of batch normalisation, which evaluation does not read.
    missing = [key for key in expected if key not in tensors and not key.endswith("num_batches_tracked")]
    reshaped = [
        f"{key} is {tuple(tensors[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    unknown = [key for key in tensors if key not in expected and not key.startswith(("fc.", "classifier.", "head."))]
    problems = [
        f"{word} {len(keys)}: {', '.join(keys[:_NAMED])}{', ...' if len(keys) > _NAMED else ''}"
        for word, keys in (("missing", missing), ("of another shape", reshaped), ("unknown", unknown))
        if keys
    ]
    if problems:
        matched = len(expected) - len(missing) - len(reshaped)
        raise UserError(
            f"{path} does not fit a {backbone.name}, {matched} of {len(expected)} tensors match; {'; '.join(problems)}"
        )
    backbone.bare().load_state_dict({key: value for key, value in tensors.items() if key in expected}, strict=False)
