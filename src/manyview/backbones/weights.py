"""Saving and loading of a backbone's weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from manyview.backbones.base import Backbone, WrappedBackbone
from manyview.backbones.blank import BlankWeights
from manyview.backbones.build import build_backbone, check_name, infer_resnet
from manyview.backbones.checkpoint import EncoderCheckpoint, Target, find_weights, sort_out
from manyview.backbones.files import FORMAT, StoredTensors, read_tensors
from manyview.backbones.record import Record, settle_images
from manyview.backbones.record import recorded as read_record
from manyview.backbones.report import LoadingReport, count_layers
from manyview.backbones.search import COUNTER
from manyview.backbones.values import check_values
from manyview.errors import UserError, first_few
from manyview.options.channels import Numbers
from manyview.runs import write_tensors


class OtherChannelsError(UserError):
    """Weights for images with another number of channels than the network's.

    Attributes:
        found: number of channels that the weights are for.
    """

    def __init__(self, path: Path, found: int, first: str, backbone: Backbone) -> None:
        self.found = found
        super().__init__(
            f"{path} holds weights for images of {found} channels ({first}), but {backbone.name} was built for "
            f"{backbone.in_channels}; call load_backbone(weights, name, in_channels={found})"
        )


class OtherNetworkError(UserError):
    """Weights of another network than the requested one.

    Attributes:
        found: name of the network that the weights belong to.
    """

    def __init__(self, path: Path, found: str, name: str) -> None:
        self.found = found
        super().__init__(f"{path} holds the weights of {found}, not of {name}; leave the name out")


def save_backbone(backbone: Backbone, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the weights as safetensors, atomically, under the names of the network's own library.

    Args:
        backbone: on any device; it is not modified.
        path: the file to create or replace.
        metadata: entries to store in addition to the backbone's name, channels and normalization.

    Raises:
        UserError: the disk is full or ``path`` not writable; ``path`` is then unchanged.
    """
    about = {"mean": _join(backbone.mean), "std": _join(backbone.std)}
    about["in_channels"] = str(backbone.in_channels)
    about |= {key: str(getattr(backbone, key)).lower() for key in ("rgb", "zero_init_residual")}
    about |= {} if backbone.bit_depth is None else {"bit_depth": str(backbone.bit_depth)}
    write_tensors(path, own_weights(backbone), {**metadata, **about, "format": FORMAT, "name": backbone.name})


def own_weights(network: nn.Module, rename: Callable[[str], str] = str) -> dict[str, Tensor]:
    """The weights of a network on the CPU, under other names if given; the network is not modified."""
    # Cloned, because safetensors refuses tensors that share memory, such as tied weights.
    return {
        rename(name): tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }


def blended(initial: Mapping[str, Tensor], trained: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Average of two networks' weights, (1 - share) initial + share trained; counters are those of ``trained``.

    Args:
        initial: weights by name.
        trained: weights of the same names and shapes.
        share: from 0 to 1.
    """
    assert initial.keys() == trained.keys()
    return {
        name: torch.lerp(initial[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in trained.items()
    }


def load_backbone(
    weights: str | os.PathLike[str],
    name: str | None = None,
    *,
    in_channels: int | None = None,
    into: Backbone | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    bit_depth: int | None = None,
) -> Backbone:
    """Load a backbone with weights from a file, in eval mode; no code in the file is executed.

    Args:
        weights: a run folder, its ``backbone.safetensors``, or a checkpoint in one of the formats that
            ``read_checkpoint`` knows. Heads, momentum encoders and classifiers are left out.
        name: the network, as for ``build_backbone``; unset: the one recorded in the file, or else the torchvision
            ResNet whose weights have these names and shapes.
        in_channels: channels of the network's images, if the file does not record them; unset: 3.
        into: load into this backbone instead of building one by name; for a custom module, see ``wrap_backbone``.
        mean: of the channels, from 0 to 1, by which images are normalized; unset: as below.
        std: standard deviation of the channels.
        bit_depth: bits that the values of 16-bit files use, 9 to 15; unset: as the file records, or else all.

    Returns:
        the backbone, with the normalization that the file, the card of its export or the ``config.json`` of a Hugging
        Face folder records, or else that of timm's own weights of the network, or ImageNet's. Its attribute ``loading``
        is the ``LoadingReport``: the format, how many convolutions and norms matched, what was left out, and where the
        normalization is from.

    Raises:
        UserError: no such file, damaged, no checkpoint, with values that are not finite, or of another network
            (``OtherNetworkError`` if the file shows which): every weight must match, and those that do not are listed.
    """
    path = find_weights(Path(os.fspath(weights)))
    stored = read_tensors(path)
    metadata = stored.metadata
    record, recorded = read_record(path, metadata), metadata.get("name")
    if name is not None and recorded is not None and recorded not in (name, f"timm/{name}"):
        raise OtherNetworkError(path, recorded, name)
    inferred = False
    if into is None:
        named = recorded or name or record.name
        name, inferred = (named, False) if named else _identify(path, stored)
        into = _build(path, name, in_channels or record.in_channels or 3)
        into.rgb = into.rgb and record.rgb
    checkpoint = sort_out(path, stored, _target(into))
    _check_fit(into, checkpoint, stored)
    remarks = check_values(path, checkpoint.tensors, into.state_dict(), checkpoint.file_name)
    into.load_state_dict({**into.state_dict(), **checkpoint.tensors})
    normalization = settle_images(into, record, mean, std, bit_depth)
    into.loading = replace(_report(into, checkpoint, inferred, normalization), remarks=remarks)
    into.zero_init_residual = metadata.get("zero_init_residual", "true") == "true"
    return into.eval()


def network_of(weights: str | os.PathLike[str]) -> str:
    """Name of the network of a file's weights, as ``load_backbone`` would build it.

    Args:
        weights: a run folder or a checkpoint; the whole file is read.

    Returns:
        the name recorded in the file, or else the torchvision ResNet whose weights have these names and shapes.

    Raises:
        UserError: no such file, damaged, no checkpoint; or its network is neither recorded nor recognized.
    """
    path = find_weights(Path(os.fspath(weights)))
    stored = read_tensors(path)
    return read_record(path, stored.metadata).name or _identify(path, stored)[0]


def record_of(weights: str | os.PathLike[str]) -> Record:
    """What is recorded of weights besides themselves, as ``load_backbone`` finds it.

    Args:
        weights: a run folder or a checkpoint.

    Raises:
        UserError: no such file, damaged, or no checkpoint.
    """
    path = find_weights(Path(os.fspath(weights)))
    return read_record(path, read_tensors(path).metadata)


def _identify(path: Path, stored: StoredTensors) -> tuple[str, bool]:
    """Name of the network recorded in a file, or else inferred from its weights; and whether it was inferred."""
    named = stored.metadata.get("name") or _known(stored.architecture)
    name = named or infer_resnet(sort_out(path, stored).tensors)
    if name is None:
        raise UserError(f"{path} does not say which network its weights are of; name it (--backbone), such as resnet50")
    return name, named is None


def _identify_or_none(path: Path, stored: StoredTensors) -> str | None:
    """The name of ``_identify``, or None."""
    try:
        return _identify(path, stored)[0]
    except UserError:
        return None


def _known(architecture: str | None) -> str | None:
    """The name recorded by a training program, if ``build_backbone`` knows it."""
    try:
        check_name(architecture or "")
    except UserError:
        return None
    return architecture


def _build(path: Path, name: str, in_channels: int) -> Backbone:
    if name.startswith("own:"):
        raise UserError(
            f"{path} holds the weights of a module of your own ({name.removeprefix('own:')}); make that module and "
            "call load_backbone(weights, into=wrap_backbone(module, image_size))"
        )
    with BlankWeights():
        return build_backbone(name, in_channels=in_channels)


def _check_fit(backbone: Backbone, checkpoint: EncoderCheckpoint, stored: StoredTensors) -> None:
    """Refuse weights of another network, or list the names in the file that do not match."""
    own, tensors, named = backbone.state_dict(), dict(checkpoint.tensors), checkpoint.file_name
    _check_channels(backbone, own, tensors, checkpoint.path)
    # Files may lack counters, which matter only to norms without momentum.
    missing = [key for key in own if key not in tensors and not key.endswith(COUNTER)]
    problems = {
        "missing": [named(key) for key in missing],
        "unknown": [named(key) for key in tensors if key not in own],
        "of another shape": [
            f"{named(key)} {tuple(value.shape)} instead of {tuple(own[key].shape)}"
            for key, value in tensors.items()
            if key in own and value.shape != own[key].shape
        ],
    }
    if any(problems.values()):
        shown = None if backbone.name.startswith("own:") else _identify_or_none(checkpoint.path, stored)
        if shown and shown.removeprefix("timm/") != backbone.name.removeprefix("timm/"):
            raise OtherNetworkError(checkpoint.path, shown, backbone.name)
        found = "; ".join(f"{len(keys)} {what} ({first_few(keys)})" for what, keys in problems.items() if keys)
        form = checkpoint.format
        layout = f", in the format of {form.title}," if form.prefix or form.spelling.title else ""
        raise UserError(
            f"{checkpoint.path}{layout} does not fit {backbone.name}, which has {len(own)} weights: {found}"
        )


def _target(backbone: Backbone) -> Target:
    network = backbone.network if isinstance(backbone, WrappedBackbone) else backbone
    children = tuple(name for name, _ in network.named_children())
    return Target(backbone.state_dict(), children, backbone.classifier)


def _report(backbone: Backbone, checkpoint: EncoderCheckpoint, inferred: bool, normalization: str) -> LoadingReport:
    network = backbone.network if isinstance(backbone, WrappedBackbone) else backbone
    convolutions, norms = count_layers(network, checkpoint.tensors)
    return LoadingReport(
        checkpoint.format.title,
        backbone.name,
        inferred,
        convolutions,
        norms,
        dict(checkpoint.dropped),
        checkpoint.location,
        normalization,
    )


def _check_channels(backbone: Backbone, own: dict[str, Tensor], tensors: dict[str, Tensor], path: Path) -> None:
    """Report a first convolution for other channels by one sentence instead of a list of shapes."""
    first = next((key for key, value in own.items() if value.ndim == 4), None)
    if first is None or first not in tensors or tensors[first].ndim != 4:
        return
    (width, wanted, *kernel), (its_width, found, *its_kernel) = own[first].shape, tensors[first].shape
    if wanted == backbone.in_channels != found and (width, kernel) == (its_width, its_kernel):
        raise OtherChannelsError(path, found, first, backbone)


def _join(numbers: tuple[float, ...]) -> str:
    return ",".join(map(str, numbers))
