"""Layouts of public checkpoints: how they name a network's weights, and what their other weights belong to."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

Rename = Callable[[str], str | None]

_MOMENTUM = ("encoder_k.", "the momentum encoder")
_QUEUE = ("queue", "the queue of negatives")
# Segments of names that wrappers of modules add, at any depth: torch.compile, DataParallel, FSDP, checkpointing.
_WRAPPERS = {
    "_orig_mod",
    "module",
    "_fsdp_wrapped_module",
    "_forward_module",
    "_checkpoint_wrapped_module",
    "_fpw_module",
}

# Weights outside of an encoder by a segment of their names, the first match counts.
_PARTS = (
    (r"prototypes?\d*", "the prototypes"),
    (r"queue\w*", "the queue of negatives"),
    (r"(proj(ector|ection)?|contrastive)(_?(head|mlp|layer|net|model))?(_?[qk])?|mlp_head|ssl_head", "the projector"),
    (r"pred(ictor|iction)?(_?(head|mlp|layer|net))?(_?[qk])?", "the predictor"),
    (
        r"fc|fc_?norm|(linear_?)?classifiers?(_head)?|cls_head|logits|linear(_head)?|last_linear|online_head",
        "the classifier",
    ),
    (r"neck|heads?|\w*_head|dino_head|ibot_head|last_layer", "the head"),
    (r"decoder\w*|rpn\w*|roi_\w+|fpn\w*|aux\w*", "the decoder or detector"),
    (r"mask_token|center|logit_scale|temperature|\w*loss\w*|criterion|metric\w*", "the loss"),
)


@dataclass(frozen=True)
class Spelling:
    """How a library names the weights of a network.

    Attributes:
        title: name of the library's format, for messages; "" where it does not tell.
        to_file: the network's own name to the library's; None for a name that the library does not have.
    """

    title: str
    to_file: Rename


OWN_NAMES = Spelling("", str)
"""The network's own names."""


@dataclass(frozen=True)
class CheckpointLayout:
    """Naming scheme of the weights in one format of checkpoints.

    Attributes:
        title: name of the format, for messages.
        prefix: prefix of the network's own names.
        others: prefixes of names outside the encoder, without ``module.``, and what those weights are.
        head: what the network's ``fc`` is.
        momentum: whether the format has two encoders, of which it is known which one counts.
        spelling: names after the prefix.
    """

    title: str
    prefix: str
    others: tuple[tuple[str, str], ...] = ()
    head: str = "the classifier"
    momentum: bool = False
    spelling: Spelling = OWN_NAMES

    def file_name(self, own: str) -> str:
        """Convert the network's own name of a weight to the name in the file."""
        return self.prefix + (self.spelling.to_file(own) or own)

    def reason(self, name: str) -> str:
        """What a weight outside the encoder belongs to, in words.

        Args:
            name: without the segments of wrappers.
        """
        known = next((what for start, what in self.others if name.startswith(start)), None)
        return known or part_of(name) or "what is not the encoder"


def part_of(name: str) -> str | None:
    """The part that a weight outside an encoder belongs to, by the segments of its name; None if they do not tell."""
    for segment in name.lower().split("."):
        for pattern, what in _PARTS:
            if re.fullmatch(pattern, segment):
                return what
    return None


def unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Names without the segments that wrappers of modules add, and for each its name in the file.

    Where two names would become one, all of them stay as they are.
    """
    names = list(names)
    found = {".".join(part for part in name.split(".") if part not in _WRAPPERS): name for name in names}
    return found if len(found) == len(names) and "" not in found else {name: name for name in names}


def _simsiam() -> CheckpointLayout:
    return CheckpointLayout("SimSiam", "encoder.", (("predictor.", "the predictor"),), head="the projector")


def _moco() -> CheckpointLayout:
    return CheckpointLayout("MoCo v2", "encoder_q.", (_MOMENTUM, _QUEUE), head="the projector", momentum=True)


def _densecl(prefix: str) -> CheckpointLayout:
    heads = (("encoder_q.", "the query encoder's head and copy"), ("neck.", "the head"), ("head.", "the head"))
    return CheckpointLayout("DenseCL", prefix, (_MOMENTUM, _QUEUE, *heads), momentum=True)


def _slotcon() -> CheckpointLayout:
    heads = tuple((start, "the slots and their heads") for start in ("projector_", "predictor_", "grouping_", "center"))
    return CheckpointLayout("SlotCon", "encoder_k.", (("encoder_q.", "the online encoder"), *heads), momentum=True)


def plain(prefix: str = "") -> CheckpointLayout:
    """The network's own names, as torchvision and timm save them."""
    return CheckpointLayout("torchvision or timm", prefix)


def recognize(names: Collection[str], container: str = "") -> CheckpointLayout:
    """Recognize the published format of a file by the names of its weights; plain names if it is none of them.

    Args:
        names: of all weights, without the segments of wrappers.
        container: the entry of the file that contains them, such as "state_dict"; "" if they are at its top level.
    """

    def has(pattern: str) -> int:
        return sum(re.match(pattern, name) is not None for name in names)

    online, momentum = has(r"encoder_q\."), has(r"encoder_k\.")
    slots = has("grouping_") or (container == "model" and not has("queue"))
    pairs = has("queue2") or has(r"encoder_[qk]\.0\.") > 1
    candidates: tuple[tuple[bool | int, Callable[[], CheckpointLayout]], ...] = (
        (pairs and has(r"backbone\.") > 1, lambda: _densecl("backbone.")),
        (has(r"encoder_q\.0\.") > 1, lambda: _densecl("encoder_q.0.")),
        (momentum > 1 and (slots or not online), _slotcon),
        (online > 1, _moco),
        (has(r"encoder\.") > 1 and has(r"predictor\."), _simsiam),
    )
    return next((make() for found, make in candidates if found), plain())


def spellings(children: Iterable[str]) -> tuple[Spelling, ...]:
    """All spellings of a network's names, the network's own first.

    Args:
        children: names of the network's modules in order, by which ``nn.Sequential(*network.children())`` counts.
    """
    positions = {child: str(index) for index, child in enumerate(children)}

    def numbered(name: str) -> str | None:
        first, _, rest = name.partition(".")
        return f"{positions[first]}.{rest}" if first in positions and rest else None

    return (
        OWN_NAMES,
        Spelling("Detectron2", to_detectron2),
        Spelling("transformers", to_transformers),
        Spelling("nn.Sequential, its layers numbered", numbered),
    )


def to_detectron2(name: str) -> str:
    """Detectron2's name of a torchvision ResNet's weight: ``layer1.0.bn2.bias`` is ``res2.0.conv2.norm.bias``."""
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    name = name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
    stage = re.match(r"layer([1-4])\.", name)
    return f"res{int(stage[1]) + 1}.{name[stage.end() :]}" if stage else f"stem.{name}"


def to_transformers(name: str) -> str | None:
    """The name in transformers' ``ResNetModel`` of a torchvision ResNet's weight; None for a name of other networks.

    ``layer1.0.bn2.bias`` is ``encoder.stages.0.layers.0.layer.1.normalization.bias``.
    """
    layers = {
        "conv": "convolution",
        "bn": "normalization",
        "downsample.0": "convolution",
        "downsample.1": "normalization",
    }
    stem = re.fullmatch(r"(conv|bn)1\.(\w+)", name)
    if stem:
        return f"embedder.embedder.{layers[stem[1]]}.{stem[2]}"
    inner = re.fullmatch(r"layer(\d)\.(\d+)\.(?:(conv|bn)(\d)|(downsample\.[01]))\.(\w+)", name)
    if inner is None:
        return None
    stage, block, conv_or_norm, part, shortcut, weight = inner.groups()
    layer = f"shortcut.{layers[shortcut]}" if shortcut else f"layer.{int(part) - 1}.{layers[conv_or_norm]}"
    return f"encoder.stages.{int(stage) - 1}.layers.{block}.{layer}.{weight}"
