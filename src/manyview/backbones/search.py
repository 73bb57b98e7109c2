"""Search of a file's named tensors for those of one network, under any prefix, in any entry and spelling."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from manyview.backbones.formats import Spelling, unwrapped

Tensors = Mapping[str, Tensor]

COUNTER = "num_batches_tracked"
"""Ending of the counters of norms, which checkpoints older than PyTorch 0.4.1 lack."""

# Of two encoders the one that its project evaluates, by a word of the entry or prefix: DINO's and iBOT's teacher and
# any average of weights before all; MoCo v3's base encoder and BYOL's online network; I-JEPA's target encoder.
_RANKS = {
    **dict.fromkeys(("teacher", "ema", "averaged", "swa"), 0),
    **dict.fromkeys(("online", "query", "q", "base"), 1),
    "target": 2,
    **dict.fromkeys(("student", "momentum", "key", "k"), 4),
}
_NO_ROLE = 3
_IN_WORDS = {
    "teacher": "the teacher",
    "student": "the student",
    "online": "the online encoder",
    "target": "the target encoder",
    "momentum": "the momentum encoder",
    "ema": "the averaged weights",
}


@dataclass(frozen=True, eq=False)
class Candidate:
    """Weights of a file that have a network's names behind one prefix.

    Attributes:
        container: the entry of the file, such as "state_dict"; "" for its top level.
        prefix: of the names, without the segments of wrappers.
        spelling: of the names after the prefix.
        names: for each weight of the network that the file holds, its name in the entry.
        complete: whether that is all of them, but for counters.
    """

    container: str
    prefix: str
    spelling: Spelling
    names: Mapping[str, str]
    complete: bool

    @property
    def rank(self) -> int:
        """Which of several counts: the lowest."""
        return next((_RANKS[word] for word in self._words() if word in _RANKS), _NO_ROLE)

    @property
    def role(self) -> str:
        """What it is, for a list of what was left out."""
        return next((_IN_WORDS[word] for word in self._words() if word in _IN_WORDS), f"the network {self.location}")

    @property
    def location(self) -> str:
        """Where it is, in words: ``under "backbone." of its entry "teacher"``; "" for plain names at the top."""
        under = f'under "{self.prefix}"' if self.prefix else ""
        entry = f'its entry "{self.container}"' if self.container else ""
        return f"{under} of {entry}" if under and entry else under or (f"in {entry}" if entry else "")

    def _words(self) -> Iterator[str]:
        for segment in re.split(r"[./]", f"{self.container}/{self.prefix}".lower()):
            yield from segment.split("_")


def candidates(containers: Mapping[str, Tensors], own: Collection[str], spelled: Sequence[Spelling]) -> list[Candidate]:
    """All prefixes under which a file has names of a network, those with the most of them first.

    Args:
        containers: the file's named tensors by entry.
        own: the network's names.
        spelled: spellings to look for.
    """
    in_each = [
        (spelling, {spelled_name: name for name in own if (spelled_name := spelling.to_file(name)) is not None})
        for spelling in spelled
    ]
    found: list[Candidate] = []
    for container, tensors in containers.items():
        files = unwrapped(tensors)
        for spelling, names in in_each:
            by_prefix: dict[str, dict[str, str]] = defaultdict(dict)
            for name, in_file in files.items():
                for start in _starts(name):
                    if (known := names.get(name[start:])) is not None:
                        by_prefix[name[:start]][known] = in_file
            for prefix, matched in by_prefix.items():
                complete = all(name in matched or name.endswith(COUNTER) for name in own)
                found.append(Candidate(container, prefix, spelling, matched, complete))
    # Stable: of equally many the earlier entry, the earlier spelling.
    return sorted(found, key=lambda each: -len(each.names))


def fits(candidate: Candidate, tensors: Tensors, own: Tensors) -> bool:
    """Whether all weights have the network's shapes."""
    return all(tensors[name].shape == own[key].shape for key, name in candidate.names.items())


def distinct(found: Sequence[Candidate], containers: Mapping[str, Tensors]) -> list[Candidate]:
    """Candidates without those whose weights equal an earlier one's; files hold networks twice under two names."""
    kept: list[Candidate] = []
    for each in found:
        if not any(_equal(each, other, containers) for other in kept):
            kept.append(each)
    return kept


def _equal(one: Candidate, other: Candidate, containers: Mapping[str, Tensors]) -> bool:
    first, second = containers[one.container], containers[other.container]
    return one.names.keys() == other.names.keys() and all(
        first[one.names[key]].shape == second[other.names[key]].shape
        and torch.equal(first[one.names[key]], second[other.names[key]])
        for key in one.names
    )


def _starts(name: str) -> Iterator[int]:
    """Where the name's endings begin, each after a dot."""
    yield 0
    yield from (found.end() for found in re.finditer(r"\.", name))
