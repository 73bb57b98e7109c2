"""Groups of evaluations that repeat one another with other seeds.

Two evaluations repeat each other if their protocols are the same but for seeds and weights, and the weights are the
same, or those of two pre-training runs whose config.json is the same but for ``training.seed``. If the runs' folders
are gone, only evaluations in one folder or group count as repetitions; these may also differ in device, versions and
folder of images. The same weights with the same seed are never a repetition.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manyview.errors import UserError
from manyview.evaluation.compare.protocols import SEEDS, compared, differing, flatten, material, sentence
from manyview.evaluation.compare.read import Evaluation, find, read
from manyview.runs import run_at
from manyview.text import common_beginning

# The ending of the common prefix of names such as a-seed0 and a-seed1.
_SEED_ENDING = re.compile(r"[-_. ]*(seed|(?<=[-_. ])s)?[-_. ]*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Group:
    """Evaluations that repeat one another.

    Attributes:
        name: unique among those compared.
        members: at least one.
        warnings: reasons to doubt that they do.
    """

    name: str
    members: tuple[Evaluation, ...]
    warnings: tuple[str, ...] = ()

    @property
    def norm_statistics(self) -> str | None:
        """Statistics of the norms of random init, the same in all evaluations that show it."""
        return next((known for member in self.members if (known := member.norm_statistics)), None)


_NO_MATTER = frozenset({"training.seed", "monitor.loggers"})


@dataclass(slots=True)
class _UnnamedGroup:
    """A group before it is named; ``folder`` if it holds all evaluations of a folder."""

    members: list[Evaluation] = field(default_factory=list)
    folder: Path | None = None


def make_groups(evaluations: Iterable[Path], named: Mapping[str, Iterable[Path]]) -> list[Group]:
    """Read evaluations and group those that repeat one another.

    Args:
        evaluations: files or folders, as ``find`` takes them.
        named: the same for the user's own groups.

    Returns:
        in the order given, the user's own groups last.

    Raises:
        UserError: if one cannot be read or is given twice, a group's members differ in more than a repetition may, the
            evaluations are of different types or classes, or there are fewer than two.
    """
    singles: list[_UnnamedGroup] = []
    found: list[_UnnamedGroup] = []
    for given in evaluations:
        members = [read(file) for file in find(given)]
        if len(members) == 1 and given.resolve() in (members[0].file.resolve(), members[0].file.resolve().parent):
            new = _join(members, singles, together=False)
            singles += new
        else:
            new = _join(members, [], together=True)
            if len(new) == 1:
                new[0].folder = given
        found += new
    made = {name: tuple(read(file) for path in paths for file in find(path)) for name, paths in named.items()}
    automatic = unique_names([[group.folder] if group.folder else _paths(group.members) for group in found])
    if taken := set(automatic) & set(made):
        raise UserError(f"there are two groups called {min(taken)}: give the one of --group another name")
    groups = [Group(name, tuple(group.members)) for name, group in zip(automatic, found, strict=True)]
    groups += [_made(name, members) for name, members in made.items()]
    _check(groups)
    return groups


def _paths(members: Sequence[Evaluation]) -> list[Path]:
    return [member.path for member in members]


def _join(members: Iterable[Evaluation], groups: Sequence[_UnnamedGroup], *, together: bool) -> list[_UnnamedGroup]:
    """Add evaluations to the groups that they repeat; return new groups of those that repeat none."""
    new: list[_UnnamedGroup] = []
    for member in members:
        matching = (group for group in (*groups, *new) if _belongs(member, group.members, together))
        own = next(matching, None)
        if own is None:
            own = _UnnamedGroup()
            new.append(own)
        own.members.append(member)
    return new


def _belongs(one: Evaluation, members: Sequence[Evaluation], together: bool) -> bool:
    """Whether an evaluation repeats all of a group; ``together`` if they are in one folder."""
    first = members[0]
    if one.type is not first.type or any(_draw_of(one) == _draw_of(member) for member in members):
        return False
    if not _same_norms(one, first):
        return False
    if material(one.protocol, circumstances=not together) != material(first.protocol, circumstances=not together):
        return False
    if one.protocol["weights_sha256"] == first.protocol["weights_sha256"]:
        return True
    configs = _run_settings(one), _run_settings(first)
    if configs[0] is None or configs[1] is None:
        return together
    return configs[0] == configs[1]


def _same_norms(one: Evaluation, other: Evaluation) -> bool:
    """Whether random init, where both show it, has the same norm statistics."""
    known = {one.norm_statistics, other.norm_statistics} - {None}
    return len(known) < 2


def _draw_of(evaluation: Evaluation) -> tuple[Any, ...]:
    """Weights and seeds, which distinguish repetitions."""
    protocol = evaluation.protocol
    return protocol["weights_sha256"], *(repr(protocol.get(key)) for key in sorted(SEEDS))


def _run_settings(evaluation: Evaluation) -> dict[str, Any] | None:
    """The run's settings without its seed; None if the weights' run is not there."""
    run = run_at(Path(evaluation.protocol["weights"]))
    if run is None:
        return None
    try:
        config = run.read_json("config.json")
    except UserError:
        return None
    # Runs of earlier versions know nothing of legs and of loggers, on which nothing depends.
    return {
        key: value for key, value in flatten(config) if key not in _NO_MATTER and (key, value) != ("training.legs", ())
    }


def _made(name: str, members: tuple[Evaluation, ...]) -> Group:
    """Make one of the user's groups, or raise an error if its members do not repeat one another."""
    if not members:
        raise UserError(f"the group {name} has no evaluation: name at least one")
    for index, member in enumerate(members):
        if index and member.type is members[0].type:
            _refuse_other_protocol(name, members[0], member)
        twin = next((other for other in members[:index] if _draw_of(other) == _draw_of(member)), None)
        if twin is not None:
            raise UserError(
                f"{twin.path} and {member.path}, of the group {name}, have the same weights and the same seed: "
                "neither repeats the other"
            )
    configs = {str(member.path): [config] for member in members if (config := _run_settings(member))}
    runs = [f"{name} joins runs of different settings: {sentence(*item)}" for item in differing(configs).items()]
    return Group(name, members, tuple(runs))


def _refuse_other_protocol(name: str, one: Evaluation, other: Evaluation) -> None:
    if not _same_norms(one, other):
        raise UserError(
            f"the evaluations of the group {name} do not repeat one another: {one.path} shows random init "
            f"with norm statistics {one.norm_statistics}, {other.path} with {other.norm_statistics}; compare them as "
            "groups of their own"
        )
    settings, others = material(one.protocol), material(other.protocol)
    for key in {**settings, **others}:
        if settings.get(key) != others.get(key):
            values = {str(one.path): [settings.get(key)], str(other.path): [others.get(key)]}
            raise UserError(
                f"the evaluations of the group {name} do not repeat one another: {sentence(key, values)}; "
                "compare them as groups of their own"
            )


def _check(groups: Sequence[Group]) -> None:
    """Refuse evaluations that cannot be compared."""
    members = [member for group in groups for member in group.members]
    if len(members) < 2:
        raise UserError("there are fewer than two evaluations to compare: give the --out folders of at least two")
    first = members[0]
    seen: dict[str, Evaluation] = {}
    for member in members:
        if member.type is not first.type:
            raise UserError(
                f"{first.path} is of manyview {first.type.tag} and {member.path} of manyview {member.type.tag}: "
                "compare one type of evaluation at a time"
            )
        if member.classes != first.classes:
            raise UserError(
                f"{first.path} and {member.path} have different classes ({_classes(first, member)}): their figures "
                "cannot be compared"
            )
        twin = seen.setdefault(_identity(member), member)
        if twin.file.resolve() == member.file.resolve() and twin is not member:
            raise UserError(f"{member.path} is given twice: give each evaluation once")
        if twin is not member:
            raise UserError(
                f"{twin.path} and {member.path} are the same evaluation, of the same weights with the same seed: "
                "give one of them"
            )


def _identity(evaluation: Evaluation) -> str:
    """Protocol, seed and weights, which identify an evaluation."""
    protocol = evaluation.protocol
    own = {**compared(protocol), "seed": protocol.get("seed"), "weights_sha256": protocol["weights_sha256"]}
    own["norm_statistics"] = evaluation.norm_statistics
    return repr(sorted(own.items()))


def _classes(one: Evaluation, other: Evaluation) -> str:
    """How two lists of classes differ, in a few words."""
    missing, added = (
        [name for name in left.classes if name not in right.classes] for left, right in ((one, other), (other, one))
    )
    if not missing and not added:
        return "the same, in another order"
    parts = [
        f"{len(names)} only in the {which}, such as {names[0]}"
        for names, which in ((missing, "first"), (added, "second"))
        if names
    ]
    return "; ".join(parts)


def unique_names(paths: Sequence[Sequence[Path]]) -> list[str]:
    """The shortest distinct names of groups, from the folders of their evaluations.

    One evaluation is named after its folder, several after the common prefix of their folders' names, without "seed".
    Parent folders are added where two groups would have the same name.
    """
    parts = [_shared(group) for group in paths]
    lengths = [1] * len(parts)
    while True:
        names = ["/".join(own[-length:]) for own, length in zip(parts, lengths, strict=True)]
        counts = Counter(names)
        grown = [
            length + 1 if counts[name] > 1 and length < len(own) else length
            for own, length, name in zip(parts, lengths, names, strict=True)
        ]
        if grown == lengths:
            return _numbered(names)
        lengths = grown


def _shared(group: Sequence[Path]) -> list[str]:
    """The parts of the path that a group is named after."""
    paths = [path.resolve() for path in group]
    if len(paths) == 1:
        return list(paths[0].parts[1:]) or ["/"]
    *folders, last = [list(parts) for parts in zip(*(path.parts[1:] for path in paths), strict=False)] or [[""]]
    if len(set(last)) == 1:
        # Such as seed0/a and seed1/a: the differing parent says nothing about the group.
        return [*(level[0] for level in folders if len(set(level)) == 1), last[0]]
    name = _SEED_ENDING.sub("", common_beginning(last))
    above = [level[0] for level in folders if len(set(level)) == 1]
    return [*above, name] if name else above or [paths[0].name]


def _numbered(names: Sequence[str]) -> list[str]:
    """Names with a number after those that still occur twice."""
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return numbered
