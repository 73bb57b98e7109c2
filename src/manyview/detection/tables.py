"""Tables of detectors: fine-tuned from several starts, and class by class; and whether their training was too short."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from manyview.backbones.beside import PRETRAINED, in_words
from manyview.detection.schedule import enough_iterations
from manyview.labels import DetectionLabels
from manyview.runs.figures import DETECTION

BY_CLASS = "by_class"
"""Entry of a result with the figures of each class."""

_COMPARED = ("AP", "AP50")
_OF_CLASS = {title: where for title, where in DETECTION.items() if title in ("box AP", "AP50", "mask AP")}
_BEST, _WORST = 15, 10  # classes in a table, of those that are more
_NAME = 28  # columns of a class's name on a terminal, at most
_FEW_NAMES = 5
_POOR = 0.05  # AP below which a detector is reported as not trained


def figures_by_class(labels: DetectionLabels, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Average precision of each class with the objects that it was measured on, in the order of the classes.

    Args:
        labels: those that the results were measured on.
        results: of ``measure``.

    Returns:
        Of each class "class", "objects" (but crowds), "images" with such objects, "box_AP", "box_AP50" and "voc_AP50",
        with masks "mask_AP" and "mask_AP50": fractions of 1, None where there is no object.
    """
    own = [np.bincount(each.labels[~each.crowd], minlength=len(labels.classes) + 1)[1:] for each in labels.objects]
    counts = np.stack(own) if own else np.zeros((0, len(labels.classes)), dtype=np.int64)
    figures = {
        f"{protocol}_{key}": results[protocol][f"{key}_by_class"]
        for protocol in ("box", "mask", "voc")
        for key in _COMPARED
        if f"{key}_by_class" in results.get(protocol, {})
    }
    return [
        {"class": name, "objects": int(counts[:, index].sum()), "images": int((counts[:, index] > 0).sum())}
        | {title: values[index] for title, values in figures.items()}
        for index, name in enumerate(labels.classes)
    ]


def format_classes(result: dict[str, Any]) -> Group:
    """Format the average precision of each class, the best first, for ``rich.console.Console.print``.

    Of more than 25 classes the 15 best and the 10 worst are shown; metrics.json has all.

    Args:
        result: of ``fine_tune``, or read from metrics.json.
    """
    classes, val = result[BY_CLASS], result["protocol"]["val"]
    measured = sorted((each for each in classes if each["box_AP"] is not None), key=lambda each: -each["box_AP"])
    shown = {
        title: f"{protocol}_{key}" for title, (protocol, key) in _OF_CLASS.items() if protocol in result["results"]
    }
    others = {f"AP {in_words(name)}": _by_name(each) for name, each in result.get("beside", {}).items()}
    table = Table(pad_edge=False)
    table.add_column("class", no_wrap=True, overflow="ellipsis", max_width=_NAME)
    for title in ("objects", "images", *shown):
        table.add_column(title, justify="right", no_wrap=True)
    for title in others:
        table.add_column(title, justify="right")
    many = len(measured) > _BEST + _WORST
    for rank, each in enumerate(measured):
        if many and rank == _BEST:
            table.add_row(f"... {len(measured) - _BEST - _WORST:,} more", *[""] * (len(table.columns) - 1))
        if not many or not _BEST <= rank < len(measured) - _WORST:
            own = (percent(each[key]) for key in shown.values())
            beside = (percent(other.get(each["class"])) for other in others.values())
            table.add_row(Text(each["class"]), f"{each['objects']:,}", f"{each['images']:,}", *own, *beside)
    title = f"AP by class (%): {val['objects']:,} objects in {val['photographs']:,} validation images"
    return Group(Text(title, style="bold"), table, *map(Text, _remarks_on_classes(classes, many)))


def _by_name(result: Mapping[str, Any]) -> dict[str, float | None]:
    return {each["class"]: each["box_AP"] for each in result.get(BY_CLASS, ())}


def _remarks_on_classes(classes: Sequence[Mapping[str, Any]], many: bool) -> Iterator[str]:
    if many:
        yield f"The best and the worst of {len(classes):,} classes; metrics.json has all."
    absent = [each["class"] for each in classes if each["box_AP"] is None]
    if absent:
        more = f" and {len(absent) - _FEW_NAMES:,} more" if len(absent) > _FEW_NAMES else ""
        yield f"Without an object in the validation images: {', '.join(absent[:_FEW_NAMES])}{more}."


def remark_on_length(protocol: Mapping[str, Any], results: Mapping[str, Any]) -> str | None:
    """A sentence where the detector finds next to nothing: that it was trained too shortly, or that it was not.

    Box AP under 5 % counts as next to nothing. Too short is what ``enough_iterations`` says.

    Args:
        protocol: of the result.
        results: of ``measure``.
    """
    precision = results["box"]["AP"]
    if precision is None or precision >= _POOR:
        return None
    images, batch, done = protocol["train"]["photographs_with_objects"], protocol["batch_size"], protocol["iterations"]
    enough = enough_iterations(images, batch)
    after = f"AP {percent(precision)} after {done * batch / images:,.1f} passes over {images:,} images: "
    if done < enough:
        return f"{after}train longer, about {enough:,} iterations (--iterations {enough})."
    return (
        f"{after}not for lack of training; compare labels and detections with --draw 8, and try another "
        "--learning-rate and a larger --short-side."
    )


def format_starts(result: dict[str, Any]) -> Group:
    """Format a fine-tuning and its baselines for ``rich.console.Console.print``: average precisions in percent.

    Args:
        result: of ``fine_tune`` with baselines, or read from metrics.json.
    """
    protocol, measured = result["protocol"], result["results"]
    columns = {title: where for title, where in DETECTION.items() if where[0] in measured}
    table = Table(pad_edge=False)
    table.add_column("start")
    for title in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for name, each in {PRETRAINED: result, **result["beside"]}.items():
        table.add_row(Text(in_words(name)), *(percent(_figure(each, *where)) for where in columns.values()))
    title = (
        f"Detector {protocol['architecture']} on {protocol['backbone']} (%): {protocol['iterations']:,} iterations of "
        f"{protocol['batch_size']} images, seed {protocol['seed']}"
    )
    return Group(Text(title, style="bold"), table, *map(Text, _differences(result)))


def _differences(result: dict[str, Any]) -> Iterator[str]:
    """Such as "+2.1 AP and +3.0 AP50 against random init, with one seed."."""
    for name, each in result["beside"].items():
        parts = []
        for key in _COMPARED:
            own, other = _figure(result, "box", key), _figure(each, "box", key)
            if own is not None and other is not None:
                parts.append(f"{100 * (own - other):+.1f} {key}")
        if parts:
            yield f"{' and '.join(parts)} against {in_words(name)}, with one seed."


def _figure(result: dict[str, Any], protocol: str, key: str) -> float | None:
    figure: float | None = result["results"][protocol][key]
    return figure


def percent(fraction: float | None) -> str:
    """A fraction of 1 in percent, with one digit behind the point; a dash if undefined."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"
