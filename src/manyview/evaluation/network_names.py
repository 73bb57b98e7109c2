"""Names of an evaluation's networks on tables and figures, and sentences that compare them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from manyview.backbones.beside import INITIAL, PRETRAINED, RANDOM_INIT, in_words
from manyview.text import common_beginning, shortened

# At most twelve characters: tables fit a terminal of 80 columns.
_NAMES = {PRETRAINED: "pre-trained", RANDOM_INIT: "random init", INITIAL: "initial"}
_LONGEST = 12  # characters of a name in a table


def table_name(network: str) -> str:
    """The name for a row or a column of a table, at most twelve characters."""
    return _NAMES.get(network, shortened(network, _LONGEST))


def table_names(networks: Iterable[str]) -> dict[str, str]:
    """The name of each network for a table, where names whose ends are alike show what they differ in."""
    names = {network: table_name(network) for network in networks}
    for shown in [name for name, count in Counter(names.values()).items() if count > 1]:
        alike = [network for network, name in names.items() if name == shown]
        start = max(len(common_beginning(alike)) - 2, 0)
        own = [f"…{network[start : start + _LONGEST - 2]}…" for network in alike]
        if len(set(own)) < len(own):
            own = [f"{network[: _LONGEST - 4]}… {number}" for number, network in enumerate(alike, start=1)]
        names.update(zip(alike, own, strict=True))
    return names


def baseline_lines(protocol: Mapping[str, Any]) -> list[str]:
    """A sentence on each baseline: what it is, and why it is shown; none for results without that record."""
    return [_baseline(name, about) for name, about in protocol.get("beside", {}).items()]


def difference_sentences(result: Mapping[str, Any], of: str = "") -> list[str]:
    """The differences of mAP to the baselines in words, with their intervals.

    Args:
        result: of an evaluation, or read from metrics.json; without differences there are no sentences.
        of: what the figures are of, such as a share of the labels.
    """
    differences = result.get("differences") or {}
    return [_difference(name, found, of) for name, found in differences.items() if found["mAP"] is not None]


def _baseline(name: str, about: Mapping[str, Any]) -> str:
    what = in_words(name)
    if name != RANDOM_INIT:
        loading = about["loading"]["summary"].replace("\n", "; ") if about["loading"] else about["backbone"]
        return f"Beside: {what}, {about['why']}: {about['weights']} ({loading})."
    initialization = about["weights"].removeprefix("random: ")
    return f"Beside: {what}, {about['why']}: seed {about['seed']}, {initialization}{_norms(about)}."


def _norms(about: Mapping[str, Any]) -> str:
    if about["norm_statistics"] == "measured":
        return f"; norm statistics measured on {about['norm_images']:,} training images"
    if about["norm_statistics"] == "zero-one":
        return "; norm statistics 0 and 1, which squeeze its features"
    return ""


def _difference(name: str, found: Mapping[str, Any], of: str) -> str:
    """Such as "+8.7 mAP over random init (95 % interval 7.5 to 9.9)."."""
    points = 100 * found["mAP"]
    relation = "over" if points >= 0 else "against"
    sentence = f"{points:+.1f} mAP {relation} {in_words(name)}{of}"
    if found["interval"] is None or None in found["interval"]:
        return f"{sentence}."
    low, high = (100 * end for end in found["interval"])
    unsure = ": these images cannot tell which is better" if low <= 0 <= high else ""
    return f"{sentence} (95 % interval {low:.1f} to {high:.1f}{unsure})."
