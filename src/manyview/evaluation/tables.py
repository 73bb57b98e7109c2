"""The results of evaluations as tables for a terminal, in percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

METRICS = ("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1")
CLASSIFIERS = {"logistic": "logistic regression", "svm": "linear SVM"}
"""What the classifiers of ``low_label_evaluation`` are called in titles."""

# The first in tables, which are to fit a terminal of 80 columns.
_SHORT = {"pretrained": "trained", "random_init": "random"}
_LONG = {"pretrained": "pre-trained", "random_init": "random init"}

_TOLD = 3  # of what was left out; metrics.json has more
_AVERAGE_PRECISIONS = {"voc07": "AP is that of VOC 2007: the mean of the best precision at 11 points of recall."}
_COMPATIBILITIES = {
    "ml-gcn": "OP is that of ML-GCN's code: each class never predicted adds 1 to what it is divided by."
}

# Of each measure its name, its format, and its best value; RankMe's is the number of images or of dimensions.
_MEASURES = {
    "dim": ("dimensions", "{}", ""),
    "rankme": ("RankMe", "{:.1f}", ""),
    "rankme_share": ("RankMe, of the most possible", "{:.1%}", "100 %"),
    "alpha_req": ("alpha-ReQ", "{:.2f}", "near 1"),
    "std": ("deviation, of 1/sqrt(d)", "{:.2f}", "1"),
    "uniformity": ("uniformity", "{:.2f}", "about -4"),
    "alignment": ("alignment", "{:.2f}", "0"),
}
_VECTORS = {
    ("pretrained", "features"): "features",
    ("pretrained", "projections"): "projections",
    ("random_init", "features"): "untrained",
}

Shares = Sequence[float | None]


def format_table(result: dict[str, Any]) -> Group:
    """What ``linear_evaluation`` returns (or metrics.json holds), in percent.

    Args:
        result: with "protocol" and "results".

    Returns:
        For ``rich.console.Console.print``: how the weights were loaded, the figures of each backbone under each rule,
        and the average precision of each class beside the numbers of images that show it.
    """
    protocol, results = result["protocol"], result["results"]
    features = "augmented images"
    if protocol["cached"]:
        features = "features extracted once" + (", mirrored too" if protocol["flips"] else "")
    title = f"Multi-label linear evaluation (%): {_inputs(protocol)}, {features}, {protocol['epochs']} epochs"
    notes = [*_intervals(results), _epoch(result), *_flattering(protocol)]
    return _sheet(
        title,
        protocol,
        _by_rule(results),
        notes,
        _by_class(protocol, _precisions(results)),
    )


def format_knn(result: dict[str, Any]) -> Group:
    """What ``knn_evaluation`` returns (or metrics.json holds), in percent.

    Args:
        result: with "protocol" and "results".

    Returns:
        For ``rich.console.Console.print``: the same as of ``format_table``.
    """
    protocol, results = result["protocol"], result["results"]
    votes = f"{protocol['neighbours']} neighbours, temperature {protocol['temperature']:g}"
    notes = _intervals(results)
    if protocol["images_in_both"]:
        notes.append(f"{protocol['images_in_both']} images are in both label files: none votes for itself.")
    title = f"Multi-label kNN (%): {_inputs(protocol)}, {votes}"
    return _sheet(
        title,
        protocol,
        _by_rule(results),
        notes,
        _by_class(protocol, _precisions(results)),
    )


def format_low_label(result: dict[str, Any]) -> Group:
    """What ``low_label_evaluation`` returns (or metrics.json holds), in percent.

    Args:
        result: with "protocol" and "results".

    Returns:
        For ``rich.console.Console.print``: how the weights were loaded, the means over seeds for each backbone and
        fraction, with the standard deviation of mAP, and the average precision of each class with the largest fraction.
    """
    protocol, results = result["protocol"], result["results"]
    costs = " or ".join(f"{cost:g}" for cost in protocol["costs"])
    classifier = CLASSIFIERS[protocol["classifier"]]
    title = f"One-vs-rest {classifier} (%): {_inputs(protocol)}, {protocol['scaling']}, C {costs}"
    table = _figures_table("backbone", "labelled", *METRICS)
    for name, entries in results.items():
        for entry in entries:
            labelled = f"{entry['images']:,} ({100 * entry['fraction']:g} %)"
            summary = entry["summary"]
            numbers = (_percent(summary[metric]["mean"]) for metric in METRICS if metric != "mAP")
            table.add_row(_SHORT[name], labelled, _mean_and_std(summary["mAP"]), *numbers)
        table.add_section()
    seeds = len(protocol["seeds"])
    notes = [f"±: standard deviation over {seeds} draws."] if seeds > 1 else []
    notes += [*_unconverged(results), *_flattering(protocol)]
    aps = {name: entries[-1]["summary"]["AP"]["mean"] for name, entries in results.items()}
    last = f", {100 * protocol['fractions'][-1]:g} % of the labels"
    return _sheet(title, protocol, table, notes, _by_class(protocol, aps, last))


def format_check(result: dict[str, Any]) -> Group:
    """What ``check_weights`` returns (or metrics.json holds).

    Args:
        result: with "protocol", "results" and "diagnosis".

    Returns:
        For ``rich.console.Console.print``: how the weights were loaded, a table with a column for each kind of vectors,
        and the diagnosis.
    """
    protocol, results = result["protocol"], result["results"]
    columns = {title: results.get(name, {}).get(kind) for (name, kind), title in _VECTORS.items()}
    shown = {title: measures for title, measures in columns.items() if measures is not None}
    table = Table()
    table.add_column("measure", no_wrap=True)
    for title in shown:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("best", justify="right", no_wrap=True)
    for key, (name, form, best) in _MEASURES.items():
        table.add_row(name, *(_cell(form, measures[key]) for measures in shown.values()), best)
    on = f"on {protocol['photographs']:,} images at {protocol['size']} px"
    title = f"Label-free measures of {protocol['backbone']} {on}"
    lines: list[Text | Table] = [*_weights_line(protocol), Text(title, style="bold"), table]
    if protocol["unreadable"]:
        lines.append(Text(f"{len(protocol['unreadable'])} images could not be read and are left out."))
    return Group(*lines, Text(result["diagnosis"]["sentence"]))


def _by_rule(results: dict[str, Any]) -> Table:
    """A row for each backbone and rule, that of the user's threshold first."""
    table = _figures_table("backbone", "rule", *METRICS)
    for name, report in results.items():
        for rule, figures in report["rules"].items():
            numbers = (_percent(figures[metric]) for metric in METRICS if metric != "mAP")
            table.add_row(_SHORT[name], rule, _percent(report["mAP"]), *numbers)
        table.add_section()
    return table


def _precisions(results: dict[str, Any]) -> dict[str, Shares]:
    return {name: report["AP"] for name, report in results.items()}


def _intervals(results: dict[str, Any]) -> list[str]:
    lines = []
    for name, report in results.items():
        if "intervals" in report:
            figure, *ends = map(_percent, (report["mAP"], *report["intervals"]["mAP"]))
            lines.append(f"{_LONG[name]}: mAP {figure}, 95 % interval over images {' to '.join(ends)}.")
    return lines


def _epoch(result: dict[str, Any]) -> str:
    """Which epoch's head the figures are of."""
    if result["protocol"]["measured"] == "last":
        return f"Measured after the last epoch ({result['protocol']['epochs']})."
    epochs = (f"{_LONG[name]}: {report['measured_epoch']}" for name, report in result["results"].items())
    return f"Measured after the epoch of the best validation mAP ({', '.join(epochs)}): these figures flatter."


def _unconverged(results: dict[str, Any]) -> list[str]:
    count = sum(run["unconverged"] for entries in results.values() for entry in entries for run in entry["runs"])
    return [f"{count} classifiers have not converged: choose a smaller cost."] if count else []


def _mean_and_std(summary: dict[str, Any]) -> str:
    std = summary["std"]
    return _percent(summary["mean"]) + ("" if std is None else f" ±{_percent(std)}")


def _weights_line(protocol: dict[str, Any]) -> list[Text]:
    """How the weights were loaded; nothing of weights that are not from a file."""
    loading = protocol["loading"]
    return [] if loading is None else [Text(loading["summary"], style="dim")]


def _sheet(
    title: str, protocol: dict[str, Any], figures: Table, notes: Sequence[str], classes: Sequence[Text | Table]
) -> Group:
    """An evaluation's tables, one below the other.

    The lines are not the tables' titles and captions, which would be broken to the tables' width.

    Args:
        title: above the figures.
        protocol: of the evaluation.
        figures: the table of the overall figures.
        notes: below it, with what every evaluation has to note.
        classes: the title and the table of the classes.
    """
    below = [*notes, *_notes(protocol)]
    return Group(*_weights_line(protocol), Text(title, style="bold"), figures, *map(Text, below), *classes)


def _figures_table(*columns: str) -> Table:
    """An empty table of figures, each row of which is named by the columns "backbone" and "rule"."""
    table = Table(pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in ("backbone", "rule") else "right", no_wrap=True)
    return table


def _by_class(protocol: dict[str, Any], aps: Mapping[str, Shares], of: str = "") -> list[Text | Table]:
    """The average precision of each class, beside the numbers of images that show it.

    Args:
        protocol: of the evaluation.
        aps: for each network, of each class.
        of: what the title ends with.
    """
    table = Table()
    table.add_column("class")
    for column in ("train", "val", *(_LONG[name] for name in aps)):
        table.add_column(column, justify="right", no_wrap=True)
    rows = zip(protocol["classes"], protocol["train"]["positives"], protocol["val"]["positives"], strict=True)
    for index, (name, train, val) in enumerate(rows):
        table.add_row(Text(name), str(train), str(val), *(_percent(column[index]) for column in aps.values()))
    return [Text(), Text(f"Average precision of each class (%){of}", style="bold"), table]


def _inputs(protocol: dict[str, Any]) -> str:
    """Pooling and size of the inputs, for a title."""
    crop = ", center crop" if protocol["crop"] == "center" else ""
    return f"{protocol['pool']} at {protocol['size']} px{crop}"


def _flattering(protocol: dict[str, Any]) -> list[str]:
    """A warning where images were both learned from and measured on."""
    both = protocol["images_in_both"]
    return [f"{both} images are in both label files: these figures flatter."] if both else []


def _percent(fraction: float | None) -> str:
    """A share in percent, at most four characters, so that tables fit 80 columns; a dash for what is undefined."""
    return "-" if fraction is None else f"{100 * fraction:.1f}".replace("100.0", "100")


def _notes(protocol: dict[str, Any]) -> list[str]:
    """What the reader of any evaluation's figures must know."""
    notes = [_skipped(protocol[part]) for part in ("train", "val")]
    absent = sum(count == 0 for count in protocol["val"]["positives"])
    if absent:
        notes.append(f"{absent} of {len(protocol['classes'])} classes have no validation image: not in mAP.")
    ignored = sum(protocol["val"]["ignored"])
    if ignored:
        notes.append(f"{ignored} labels of difficult objects in the validation images count neither way.")
    notes.append(_AVERAGE_PRECISIONS.get(protocol["average_precision"], ""))
    notes.append(_COMPATIBILITIES.get(protocol["compatibility"], ""))
    return [note for note in notes if note]


def _skipped(part: dict[str, Any]) -> str:
    """What was left out of a label file, if anything."""
    count, first = part["skipped"]["count"], part["skipped"]["first"][:_TOLD]
    if not count:
        return ""
    what = "1 label row was" if count == 1 else f"{count} label rows were"
    more = "; ..." if count > len(first) else "."
    return f"{what} left out of {Path(part['labels']).name}: {'; '.join(first)}{more}"


def _cell(form: str, value: float | int | None) -> str:
    return "-" if value is None else form.format(value).replace("%", " %")
