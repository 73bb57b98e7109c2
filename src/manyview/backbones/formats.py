"""Layouts of public checkpoints: the names of the encoder's weights, and recognition by them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

_MOMENTUM = ("encoder_k.", "the momentum encoder")
_QUEUE = ("queue", "the queue of negatives")


@dataclass(frozen=True)
class CheckpointLayout:
    """Naming scheme of the weights in one format of checkpoints.

    Attributes:
        title: name of the format, for messages.
        prefix: prefix of the network's own names.
        others: prefixes of names outside the encoder, without ``module.``, and what those weights are.
        head: what the network's ``fc`` is.
        detectron2: whether the names after the prefix are Detectron2's.
    """

    title: str
    prefix: str
    others: tuple[tuple[str, str], ...] = ()
    head: str = "the classifier"
    detectron2: bool = False

    def own_name(self, name: str) -> str | None:
        """Convert a name in the file to the network's own name; None if it is outside the encoder.

        A name inside the encoder that does not follow the layout is returned unchanged; the network will not know it.
        """
        if not name.startswith(self.prefix):
            return None
        inner = name.removeprefix(self.prefix)
        if not self.detectron2:
            return inner
        return (from_detectron2(inner) or name) if re.match(r"(stem|res\d+)\.", inner) else None

    def file_name(self, own: str) -> str:
        """Convert the network's own name of a weight to the name in the file."""
        return self.prefix + (to_detectron2(own) if self.detectron2 else own)

    def reason(self, name: str) -> str:
        """What a weight outside the encoder belongs to, in words."""
        inner = name.removeprefix("module.")
        return next((what for start, what in self.others if inner.startswith(start)), "what is not the encoder")


def _simsiam(outer: str) -> CheckpointLayout:
    return CheckpointLayout("SimSiam", f"{outer}encoder.", (("predictor.", "the predictor"),), head="the projector")


def _moco(outer: str) -> CheckpointLayout:
    return CheckpointLayout("MoCo v2", f"{outer}encoder_q.", (_MOMENTUM, _QUEUE), head="the projector")


def _densecl(outer: str, prefix: str) -> CheckpointLayout:
    heads = (("encoder_q.", "the query encoder's head and copy"), ("neck.", "the head"), ("head.", "the head"))
    return CheckpointLayout("DenseCL", outer + prefix, (_MOMENTUM, _QUEUE, *heads))


def _slotcon(outer: str) -> CheckpointLayout:
    heads = tuple((start, "the slots and their heads") for start in ("projector_", "predictor_", "grouping_", "center"))
    return CheckpointLayout("SlotCon", f"{outer}encoder_k.", (("encoder_q.", "the online encoder"), *heads))


def plain(outer: str = "") -> CheckpointLayout:
    """The network's own names, as torchvision and timm save them."""
    return CheckpointLayout("torchvision or timm", outer)


def recognize(names: Collection[str], container: str = "") -> CheckpointLayout:
    """Recognize the layout of a file by the names of its weights.

    Args:
        names: of all weights in the file.
        container: the entry of the file that contains them, such as "state_dict"; "" if they are at its top level.
    """
    wrapped = sum(name.startswith("module.") for name in names)
    outer = "module." if 2 * wrapped > len(names) else ""
    inner = [name.removeprefix(outer) for name in names]

    def has(pattern: str) -> int:
        return sum(re.match(pattern, name) is not None for name in inner)

    # A majority, not any name: a single changed name must not change how the others are read.
    if 2 * has(r"(layer[1-4]|conv1|bn1)\.") > len(inner):
        return plain(outer)
    if has(r"(backbone\.)?res[2-5]\.\d") > 1:
        lead = "backbone." if 2 * has(r"backbone\.") > len(inner) else ""
        return CheckpointLayout("Detectron2", outer + lead, head="the classifier", detectron2=True)
    online, momentum = has(r"encoder_q\."), has(r"encoder_k\.")
    slots = has("grouping_") or (container == "model" and not has("queue"))
    candidates: tuple[tuple[bool | int, Callable[[], CheckpointLayout]], ...] = (
        (has(r"backbone\.") > 1, lambda: _densecl(outer, "backbone.")),
        (has(r"encoder_q\.0\.") > 1, lambda: _densecl(outer, "encoder_q.0.")),
        (momentum > 1 and (slots or not online), lambda: _slotcon(outer)),
        (online > 1, lambda: _moco(outer)),
        (has(r"encoder\.") > 1, lambda: _simsiam(outer)),
    )
    return next((make() for found, make in candidates if found), plain(outer))


def to_detectron2(name: str) -> str:
    """Detectron2's name of a torchvision ResNet's weight: ``layer1.0.bn2.bias`` is ``res2.0.conv2.norm.bias``."""
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    name = name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
    stage = re.match(r"layer([1-4])\.", name)
    return f"res{int(stage[1]) + 1}.{name[stage.end() :]}" if stage else f"stem.{name}"


def from_detectron2(name: str) -> str | None:
    """Torchvision's name of a Detectron2 weight; None if ``to_detectron2`` never yields the given name."""
    inner = re.sub(r"\bconv(\d)\.norm\.", r"bn\1.", name)
    inner = inner.replace("shortcut.norm.", "downsample.1.").replace("shortcut.", "downsample.0.")
    inner = re.sub(r"^res([2-5])\.", lambda stage: f"layer{int(stage[1]) - 1}.", inner).removeprefix("stem.")
    return inner if to_detectron2(inner) == name else None
