"""How public checkpoints lay out the weights of their encoder, and by what names each is recognized."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

_MOMENTUM = ("encoder_k.", "the momentum encoder")
_QUEUE = ("queue", "the queue of negatives")


@dataclass(frozen=True)
class Format:
    """The layout of one kind of checkpoint.

    Attributes:
        title: whose layout it is.
        prefix: what comes before the network's own names.
        others: beginnings of the names beside the encoder's, without ``module.``, and what those weights are.
        head: what the weights are that the network holds as ``fc``.
        detectron2: whether the names after the prefix are Detectron2's.
    """

    title: str
    prefix: str
    others: tuple[tuple[str, str], ...] = ()
    head: str = "the classifier"
    detectron2: bool = False

    def own_name(self, name: str) -> str | None:
        """The network's own name of what the file calls ``name``; None where it is no part of the encoder.

        A name inside the encoder that fits no layout comes back as it is: the network will not know it.
        """
        if not name.startswith(self.prefix):
            return None
        inner = name.removeprefix(self.prefix)
        if not self.detectron2:
            return inner
        return (from_detectron2(inner) or name) if re.match(r"(stem|res\d+)\.", inner) else None

    def file_name(self, own: str) -> str:
        """What the file would call the network's weight ``own``."""
        return self.prefix + (to_detectron2(own) if self.detectron2 else own)

    def reason(self, name: str) -> str:
        """What a weight outside the encoder belongs to."""
        inner = name.removeprefix("module.")
        return next((what for start, what in self.others if inner.startswith(start)), "what is not the encoder")


def _simsiam(outer: str) -> Format:
    return Format("SimSiam", f"{outer}encoder.", (("predictor.", "the predictor"),), head="the projector")


def _moco(outer: str) -> Format:
    return Format("MoCo v2", f"{outer}encoder_q.", (_MOMENTUM, _QUEUE), head="the projector")


def _densecl(outer: str, prefix: str) -> Format:
    heads = (("encoder_q.", "the query encoder's head and copy"), ("neck.", "the head"), ("head.", "the head"))
    return Format("DenseCL", outer + prefix, (_MOMENTUM, _QUEUE, *heads))


def _slotcon(outer: str) -> Format:
    heads = tuple((start, "the slots and their heads") for start in ("projector_", "predictor_", "grouping_", "center"))
    return Format("SlotCon", f"{outer}encoder_k.", (("encoder_q.", "the online encoder"), *heads))


def plain(outer: str = "") -> Format:
    """The network's own names, as torchvision and timm save them."""
    return Format("torchvision or timm", outer)


def recognize(names: Collection[str], container: str = "") -> Format:
    """The layout of a file with such names of weights.

    Args:
        names: of all the weights in the file.
        container: the entry of the file that held them, such as "state_dict"; "" where they lie bare.
    """
    wrapped = sum(name.startswith("module.") for name in names)
    outer = "module." if 2 * wrapped > len(names) else ""
    inner = [name.removeprefix(outer) for name in names]

    def has(pattern: str) -> int:
        return sum(re.match(pattern, name) is not None for name in inner)

    # Most names, not any name: a single one that somebody changed must not change how the others are read.
    if 2 * has(r"(layer[1-4]|conv1|bn1)\.") > len(inner):
        return plain(outer)
    if has(r"(backbone\.)?res[2-5]\.\d") > 1:
        lead = "backbone." if 2 * has(r"backbone\.") > len(inner) else ""
        return Format("Detectron2", outer + lead, head="the classifier", detectron2=True)
    online, momentum = has(r"encoder_q\."), has(r"encoder_k\.")
    slots = has("grouping_") or (container == "model" and not has("queue"))
    candidates: tuple[tuple[bool | int, Callable[[], Format]], ...] = (
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
    """The name in torchvision of a weight of Detectron2's, or None where ``to_detectron2`` gives no such name."""
    inner = re.sub(r"\bconv(\d)\.norm\.", r"bn\1.", name)
    inner = inner.replace("shortcut.norm.", "downsample.1.").replace("shortcut.", "downsample.0.")
    inner = re.sub(r"^res([2-5])\.", lambda stage: f"layer{int(stage[1]) - 1}.", inner).removeprefix("stem.")
    return inner if to_detectron2(inner) == name else None
