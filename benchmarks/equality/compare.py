"""Two results side by side: which values are equal, which differ, and which only one of them has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.equality.commands import FAILED
from benchmarks.equality.values import Value, Values

# Words of keys that one side may spell in another way. Applied to both sides, in this order.
RENAMED = (("photograph", "image"),)
# What an evaluation records of its settings may be recorded in another form: it must not differ, but may be missing.
SETTINGS = "protocol"
_SHOWN = 5


@dataclass
class Comparison:
    """One case.

    Attributes:
        equal: how many values are the same.
        different: key and both values of those that are not.
        lost: keys of results that the new side lacks.
        unrecorded: keys of settings that it lacks.
        new: keys that only it has.
        problem: why nothing could be compared.
    """

    equal: int = 0
    different: dict[str, tuple[Value, Value]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    problem: str | None = None

    @property
    def passed(self) -> bool:
        return not (self.different or self.lost or self.problem)


def compare(old: Mapping[str, Values], new: Mapping[str, Values]) -> dict[str, Comparison]:
    """Every case of either side."""
    return {name: compare_case(old.get(name), new.get(name)) for name in dict.fromkeys([*old, *new])}


def compare_case(old: Values | None, new: Values | None) -> Comparison:
    """The values of one case; None if a side has no such case."""
    for side, values in (("old", old), ("new", new)):
        if values is None:
            return Comparison(problem=f"missing on the {side} side")
        if FAILED in values:
            return Comparison(problem=f"failed on the {side} side: {values[FAILED]}")
    assert old is not None
    assert new is not None
    before, after = renamed(old), renamed(new)
    result = Comparison(new=[key for key in after if key not in before])
    for key, value in before.items():
        if key not in after:
            (result.unrecorded if _is_setting(key) else result.lost).append(key)
        elif repr(value) == repr(after[key]):  # exactly: 1 is not 1.0, and a NaN is a NaN
            result.equal += 1
        else:
            result.different[key] = (value, after[key])
    return result


def renamed(values: Values) -> Values:
    """The same under the keys of ``RENAMED``.

    Raises:
        ValueError: two values would get one key.
    """
    found: Values = {}
    for key, value in values.items():
        new = key
        for old_word, new_word in RENAMED:
            new = new.replace(old_word, new_word)
        if new in found:
            raise ValueError(f"two values are called {new} once {key} is renamed: mend the table of renamed keys")
        found[new] = value
    return found


def _is_setting(key: str) -> bool:
    return SETTINGS in key.partition(":")[2].split(".")


def lines(comparisons: Mapping[str, Comparison]) -> list[str]:
    """A table of all cases, the first few keys of each that did not pass, and the verdict."""
    width = max(map(len, comparisons), default=0)
    shown = [f"{'case':{width}}  {'equal':>6} {'differ':>6} {'lost':>6} {'unrec.':>6} {'new':>6}"]
    for name, case in comparisons.items():
        counts = (case.equal, len(case.different), len(case.lost), len(case.unrecorded), len(case.new))
        shown.append(f"{name:{width}}  " + (case.problem or " ".join(f"{count:6}" for count in counts)))
        shown += _details(case)
    wrong = [name for name, case in comparisons.items() if not case.passed]
    total = sum(case.equal for case in comparisons.values())
    verdict = f"NOT EQUAL: {', '.join(wrong)}" if wrong else f"all {len(comparisons)} cases are equal"
    return [*shown, f"{verdict}; {total} values are the same"]


def _details(case: Comparison) -> list[str]:
    different = [f"    {key}: {old!r} became {new!r}" for key, (old, new) in case.different.items()]
    return [*_first(different), *_first([f"    {key} is lost" for key in case.lost])]


def _first(rows: Sequence[str]) -> list[str]:
    rest = len(rows) - _SHOWN
    return [*rows[:_SHOWN], *([f"    and {rest} more"] if rest > 0 else [])]
