"""Differences between the protocols of evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import PurePath
from typing import Any

SEEDS = frozenset({"seed", "seeds"})
"""Keys that differ between repetitions of an evaluation, besides the weights."""

# Entries that follow from the weights and their baselines; ``Evaluation`` says what of them matters.
_WEIGHTS = frozenset({"weights", "weights_sha256", "loading", "beside", "untrained_backbone"})

# Where an evaluation ran, and with which versions: differences give a warning, but the protocol is the same.
_CIRCUMSTANCES = frozenset({"device", "scikit_learn", "resamples", "intervals", "train.images", "val.images"})
# Keys that follow from other entries, or repeat them in words.
_DERIVED = frozenset(
    {"evaluation", "feature_dim", "range", "learning_rate", "train_transform", "val_transform"}
    | {"classifier_is", "scaling_is", "pooling_is", "cost_chosen", "scores", "train_scores"}
    | {f"{part}.{key}" for part in ("train", "val") for key in ("labels", "positives", "ignored")}
)
_LONGEST = 32  # characters of a value in a message
_SHA = 8  # of a checksum


def flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as dotted keys and values; lists as tuples, normalized paths."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            nested = any(isinstance(item, list | dict) for item in value)
            yield prefix + key, tuple(map(str, value)) if nested else tuple(value)
        else:
            yield prefix + key, str(PurePath(value)) if key == "images" and isinstance(value, str) else value


def compared(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that groups of evaluations should share: all but weights, seed, classes and derived ones."""
    left_out = _WEIGHTS | _DERIVED | {"seed", "classes"}
    kept = {key: value for key, value in protocol.items() if key not in left_out}
    return {key: value for key, value in flatten(kept) if key not in left_out}


def material(protocol: Mapping[str, Any], *, circumstances: bool = False) -> dict[str, Any]:
    """The entries that repetitions share: ``compared`` without seeds and, unless asked for, device and versions."""
    left_out = SEEDS if circumstances else SEEDS | _CIRCUMSTANCES
    return {
        key: value
        for key, value in compared(protocol).items()
        if key not in left_out and (circumstances or not key.startswith("versions."))
    }


def differing(protocols: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, list[Any]]]:
    """The keys whose values differ.

    Args:
        protocols: of the members of each group, by its name.

    Returns:
        for each key, the values in each group; None where an evaluation has no such entry.
    """
    flat = {name: [compared(protocol) for protocol in members] for name, members in protocols.items()}
    keys = dict.fromkeys(key for members in flat.values() for member in members for key in member)
    found = {}
    for key in keys:
        values = {name: list(dict.fromkeys(member.get(key) for member in members)) for name, members in flat.items()}
        # Seeds may differ within a group.
        distinct = (
            [frozenset(own) for own in values.values()] if key in SEEDS else list(chain.from_iterable(values.values()))
        )
        if len(set(distinct)) > 1:
            found[key] = values
    return found


def sentences(different: Mapping[str, Mapping[str, Sequence[Any]]]) -> list[str]:
    """The differences of ``differing``, a line each.

    Evaluations of different recipes have settings of their own, which are named in one line with the recipes.
    """
    if "recipe" not in different:
        return [sentence(*item) for item in different.items()]
    own = [key for key, values in different.items() if any(None in each for each in values.values())]
    settings = f" (settings of one alone: {', '.join(own)})" if own else ""
    recipes = f"{sentence('recipe', different['recipe'])}: their figures do not measure the same{settings}"
    others = {key: values for key, values in different.items() if key != "recipe" and key not in own}
    return [recipes, *(sentence(*item) for item in others.items())]


def sentence(key: str, values: Mapping[str, Sequence[Any]]) -> str:
    """A difference in one line; groups with the same values are listed together."""
    by_value: dict[str, list[str]] = {}
    for name, own in values.items():
        by_value.setdefault(" or ".join(short(key, value) for value in own), []).append(name)
    return f"{key} is " + ", ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items())


def short(key: str, value: Any) -> str:
    """A setting's value, abbreviated."""
    if value is None or value in ((), []):
        return "unset"
    if key.endswith("sha256"):
        return f"{value!s:.{_SHA}}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        text = ", ".join(short(key, item) for item in value)
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
