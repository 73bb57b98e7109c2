"""Reading of checkpoints in any layout: the encoder's weights under the network's own names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from manyview.backbones.build import RESNET_MODULES, infer_resnet, resnet_names
from manyview.backbones.exported import suggested_file
from manyview.backbones.files import StoredTensors, read_tensors
from manyview.backbones.formats import OWN_NAMES, CheckpointLayout, part_of, plain, recognize, spellings, unwrapped
from manyview.backbones.search import Candidate, candidates, distinct, fits
from manyview.errors import UserError
from manyview.runs.folder import DETECTOR_FILE, WEIGHTS_FILE
from manyview.runs.record import CONFIG_FILE, RUN_FILE

OWN_FORMAT = CheckpointLayout("manyview", "")

# Entries that are where weights usually are.
_USUAL_ENTRIES = ("", "state_dict", "model")
# Formats that have their weights behind a prefix.
_PREFIXED = ("SimSiam", "MoCo v2", "DenseCL", "SlotCon", "Detectron2")
_HUGGING_FACE_FILES = ("model.safetensors", "pytorch_model.bin", "backbone.pt")


@dataclass(frozen=True)
class Target:
    """The network that a checkpoint's weights are sorted out for.

    Attributes:
        weights: its ``state_dict``.
        children: names of its modules, in order.
        heads: names of its classifier, which it lacks and files may contain.
    """

    weights: Mapping[str, Tensor]
    children: tuple[str, ...]
    heads: tuple[str, ...] = ()


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
        location: where in the file the weights are, in words, where that is not where its format has them.
    """

    path: Path
    format: CheckpointLayout
    tensors: Mapping[str, Tensor]
    dropped: Mapping[str, tuple[str, ...]]
    file_names: Mapping[str, str]
    metadata: Mapping[str, str]
    architecture: str | None
    location: str = ""

    def file_name(self, own: str) -> str:
        """The name in the file of the network's weight ``own``, also if the file lacks it."""
        return self.file_names.get(own, self.format.file_name(own))


def read_checkpoint(path: str | os.PathLike[str]) -> EncoderCheckpoint:
    """Read a run folder or a checkpoint; nothing in it is executed.

    The weights of a ResNet are searched in every entry of the file, behind every prefix, in the names of torchvision,
    Detectron2, transformers and a numbered ``nn.Sequential``. Of several encoders the one counts that its project
    evaluates: a teacher before its student, an average before the weights themselves.

    Args:
        path: a run folder, its ``backbone.safetensors``, or any such file. The final ``fc`` of a network is left
            out; a classifier of another name is kept, as only the network itself identifies it.

    Raises:
        UserError: no such file, damaged, not a checkpoint, or one that could execute code; or it holds several
            different encoders, and nothing says which one counts.
    """
    file = find_weights(Path(os.fspath(path)))
    return sort_out(file, read_tensors(file))


def sort_out(path: Path, stored: StoredTensors, target: Target | None = None) -> EncoderCheckpoint:
    """Separate the encoder's weights from all others.

    Args:
        path: the file.
        stored: its content.
        target: the network, if it is known; else the weights of a ResNet are looked for.

    Raises:
        UserError: the file holds several different networks of these names, and nothing says which one counts.
    """
    if stored.metadata:
        return _sorted(path, stored, _own(stored), (), OWN_FORMAT, target)
    own = resnet_names() if target is None else tuple(target.weights)
    children = RESNET_MODULES if target is None else target.children
    found = candidates(stored.entries, own, spellings(children))
    whole = _whole(stored, found, target)
    layouts = {entry: recognize(list(unwrapped(tensors)), entry) for entry, tensors in stored.entries.items()}
    if (named := _named(found, whole, layouts, own)) is not None:
        chosen = named
    elif whole:
        chosen = _choose(path, stored, whole, layouts, target)
    else:
        most = found[:1] if target and found and 2 * len(found[0].names) > len(own) else []
        chosen = most[0] if most else _everything(stored)
    others = tuple(each for each in whole if each is not chosen and not _within(each, chosen))
    return _sorted(path, stored, chosen, others, _layout(stored, chosen, layouts[chosen.container]), target)


def _named(
    found: Sequence[Candidate], whole: Sequence[Candidate], layouts: Mapping[str, CheckpointLayout], own: Sequence[str]
) -> Candidate | None:
    """The encoder that the format names where it lacks some weights: its twin, which is whole, does not stand in."""
    for each in found:
        form = layouts[each.container]
        if form.momentum and each.prefix == form.prefix and 2 * len(each.names) > len(own):
            return None if each in whole else each
    return None


def _whole(stored: StoredTensors, found: Sequence[Candidate], target: Target | None) -> list[Candidate]:
    """The candidates that hold the network wholly, in its shapes if any of them does."""
    if target is None:
        return [each for each in found if len(each.names) > 2 and _resnet(stored, each) is not None]
    complete = [each for each in found if each.complete]
    return [each for each in complete if fits(each, stored.entries[each.container], target.weights)] or complete


def _resnet(stored: StoredTensors, candidate: Candidate) -> str | None:
    tensors = stored.entries[candidate.container]
    return infer_resnet({own: tensors[name] for own, name in candidate.names.items()})


def _choose(
    path: Path,
    stored: StoredTensors,
    whole: Sequence[Candidate],
    layouts: Mapping[str, CheckpointLayout],
    target: Target | None,
) -> Candidate:
    """The candidate that counts: the one that its format names, or else the best of those that differ."""

    def rank(each: Candidate) -> tuple[int, bool]:
        form = layouts[each.container]
        named = form.momentum and each.prefix == form.prefix and each.rank != 0
        return (-1 if named else each.rank, each.prefix != form.prefix)

    best = distinct(sorted(whole, key=rank), stored.entries)
    equal = [each for each in best if rank(each)[0] == rank(best[0])[0]]
    shapes_differ = target is not None and not fits(best[0], stored.entries[best[0].container], target.weights)
    if len(equal) == 1 or shapes_differ:
        return best[0]
    places = [each.location or "at its top level" for each in equal]
    networks = sorted({_resnet(stored, each) or "" for each in equal} - {""}) if target is None else []
    of = f" ({' and '.join(networks)})" if networks else ""
    raise UserError(
        f"{path} holds {len(equal)} different networks of the same layout{of}, and nothing says which one is meant: "
        f"{'; '.join(places)}; save the weights of one alone, as in: {_extract(path, equal[0])}"
    )


def _extract(path: Path, candidate: Candidate) -> str:
    """A command that writes the weights of one candidate to a file of their own."""
    own, some = next(iter(candidate.names.items()))
    prefix = some.removesuffix(candidate.spelling.to_file(own) or own)
    if path.suffix == ".safetensors":
        load = f"from safetensors.torch import load_file; c = load_file({str(path)!r})"
    else:
        load = f"c = torch.load({str(path)!r}, weights_only=True)"
    inner = "c" + "".join(f"[{entry!r}]" for entry in candidate.container.split("/") if entry)
    chosen = f"{{k[{len(prefix)}:]: v for k, v in {inner}.items() if k.startswith({prefix!r})}}"
    return f'python -c "import torch; {load}; torch.save({chosen}, {suggested_file(path)!r})"'


def _within(one: Candidate, other: Candidate) -> bool:
    """Whether a candidate is the very weights of another, found by another spelling."""
    return one.container == other.container and set(one.names.values()) == set(other.names.values())


def _own(stored: StoredTensors) -> Candidate:
    """The weights of manyview's own files, which have the network's names."""
    [(entry, tensors)] = stored.entries.items()
    return Candidate(entry, "", OWN_NAMES, {name: name for name in tensors}, True)


def _everything(stored: StoredTensors) -> Candidate:
    """The weights of the first entry as they are, where the network is not found."""
    return Candidate(stored.container, "", OWN_NAMES, {}, False)


def _layout(stored: StoredTensors, chosen: Candidate, recognized: CheckpointLayout) -> CheckpointLayout:
    """The layout of the chosen weights, with the prefix as the file has it."""
    prefix = _prefix_in_file(chosen)
    known = recognized.prefix and recognized.prefix == chosen.prefix
    form = recognized if known else plain()
    title = chosen.spelling.title or form.title
    return replace(form, title=title, prefix=prefix, spelling=chosen.spelling)


def _prefix_in_file(chosen: Candidate) -> str:
    """The prefix with the segments of wrappers in front of it, as most of the names have it."""
    seen = [
        name.removesuffix(spelled)
        for own, name in chosen.names.items()
        if (spelled := chosen.spelling.to_file(own)) and name.endswith(spelled)
    ]
    return max(seen, key=seen.count) if seen else chosen.prefix


def _sorted(
    path: Path,
    stored: StoredTensors,
    chosen: Candidate,
    others: Sequence[Candidate],
    form: CheckpointLayout,
    target: Target | None,
) -> EncoderCheckpoint:
    """The chosen weights by the network's names, and the names of all others by what they belong to."""
    own_of = {name: own for own, name in chosen.names.items()}
    copies = {(each.container, name): each.role for each in others for name in each.names.values()}
    kept: dict[str, Tensor] = {}
    file_names: dict[str, str] = {}
    dropped: dict[str, list[str]] = {}
    for entry, tensors in stored.entries.items():
        for bare, name in unwrapped(tensors).items():
            listed = name if entry == chosen.container else f"{entry}: {name}"
            if entry == chosen.container and name in own_of:
                kept[own_of[name]], file_names[own_of[name]] = tensors[name], name
            elif (entry, name) in copies and form.reason(bare) == "what is not the encoder":
                dropped.setdefault(copies[entry, name], []).append(listed)
            elif entry != chosen.container:
                dropped.setdefault(part_of(bare) or f'what its entry "{entry}" holds', []).append(listed)
            elif (what := _left_out(bare, tensors[name], chosen, form, target, stored)) is not None:
                dropped.setdefault(what, []).append(name)
            else:
                inner = bare.removeprefix(chosen.prefix)
                kept[inner], file_names[inner] = tensors[name], name
    left_out = {what: tuple(names) for what, names in dropped.items()}
    usual = chosen.container in _USUAL_ENTRIES and (not chosen.prefix or form.title in _PREFIXED)
    location = "" if usual or stored.metadata else chosen.location
    return EncoderCheckpoint(path, form, kept, left_out, file_names, stored.metadata, stored.architecture, location)


def _left_out(
    name: str,
    tensor: Tensor,
    chosen: Candidate,
    form: CheckpointLayout,
    target: Target | None,
    stored: StoredTensors,
) -> str | None:
    """What a weight beside the network's belongs to; None if it may be one of a network with more layers than this.

    manyview's own files hold no classifier, so that an ``fc`` in them belongs to a custom module. A layer that no head
    has, in a module of the network's or with a spatial kernel, changes what the network computes.
    """
    heads = target.heads if target else ()
    if not name.startswith(chosen.prefix):
        return form.reason(name)
    inner = name.removeprefix(chosen.prefix)
    starts = tuple(f"{head}." for head in (heads if stored.metadata else {"fc", *heads}))
    if starts and inner.startswith(starts):
        return form.head
    if stored.metadata or not chosen.names:
        return None
    if inner.partition(".")[0] in _modules(chosen, target):
        return "the classifier" if chosen.spelling.title and part_of(inner) == "the classifier" else None
    known = form.reason(name)
    if known != "what is not the encoder":
        return known
    return known if "." in inner and (tensor.ndim < 3 or max(tensor.shape[2:]) == 1) else None


def _modules(chosen: Candidate, target: Target | None) -> set[str]:
    """First segments of the network's names as the file spells them."""
    own = list(chosen.names) if target is None else list(target.weights)
    return {(chosen.spelling.to_file(name) or name).partition(".")[0] for name in own}


def find_weights(path: Path) -> Path:
    """The weights file of a run folder or of an exported folder, or the given file itself.

    Raises:
        UserError: the folder holds no weights, or those of a detector.
    """
    if path.name == DETECTOR_FILE or (path / DETECTOR_FILE).is_file():
        run = path.parent if path.name == DETECTOR_FILE else path
        raise UserError(
            f"{path} is a fine-tuned detector, not a backbone: detect objects with it "
            f"(manyview detect --predict {run}), "
            f'or give the weights that it began with ("weights" in {run / CONFIG_FILE})'
        )
    if not path.is_dir():
        return path
    for name in (WEIGHTS_FILE, *_HUGGING_FACE_FILES):
        if (path / name).is_file():
            return path / name
    if any(path.glob("*.index.json")):
        raise UserError(
            f"the weights in {path} are in several files; save them as one: from transformers import AutoModel; "
            f"AutoModel.from_pretrained({str(path)!r}).save_pretrained(FOLDER, max_shard_size='100GB')"
        )
    if (path / CONFIG_FILE).is_file() and (path / RUN_FILE).is_file():
        raise UserError(f"the run in {path} has no weights yet; they are written at the end of each epoch")
    raise UserError(
        f"{path} is not a run folder: it holds no {WEIGHTS_FILE}, nor {' or '.join(_HUGGING_FACE_FILES)} of other "
        "programs; name the file of the weights"
    )
