"""Tables of evaluations for a terminal, in percent.

Each takes the result of the Python function, or one read from metrics.json, and is for ``rich.console.Console.print``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from manyview.evaluation.linear.sentences import (
    classifiers_in_words,
    edge_notes,
    head_notes,
    logistic_notes,
    unconverged,
)
from manyview.evaluation.metrics.multilabel import METRICS
from manyview.evaluation.network_names import baseline_lines, difference_sentences, table_name, table_names
from manyview.images.sources.copies import flattering
from manyview.runs.figures import MULTI_LABEL_LEGEND
from manyview.text import printable

CLASSIFIERS = {"logistic": "logistic regression", "svm": "linear SVM"}
"""Names of the classifiers of ``low_label_evaluation`` in titles."""

_NO_VOTE = "none votes for itself"  # consequence in a kNN evaluation
_NAMED = 3  # skipped entries that are named; metrics.json has more
_AVERAGE_PRECISIONS = {"voc07": "AP is that of VOC 2007: the mean of the best precision at 11 points of recall."}
_COMPATIBILITIES = {
    "ml-gcn": "OP is that of ML-GCN's code: each class never predicted adds 1 to what it is divided by."
}

# Name, format and best value of each measure; RankMe's best is the number of images or of dimensions.
_MEASURES = {
    "dim": ("dimensions", "{}", ""),
    "rankme": ("RankMe", "{:.1f}", ""),
    "rankme_share": ("RankMe, of the most possible", "{:.1%}", "100 %"),
    "alpha_req": ("alpha-ReQ", "{:.2f}", "near 1"),
    "std": ("std, of 1/sqrt(d)", "{:.2f}", "1"),
    "uniformity": ("uniformity", "{:.2f}", "about -4"),
    "alignment": ("alignment", "{:.2f}", "0"),
}
_VECTORS = {
    ("pretrained", "features"): table_name("pretrained"),
    ("pretrained", "projections"): "projections",
    ("random_init", "features"): table_name("random_init"),
    ("initial", "features"): table_name("initial"),
}

Shares = Sequence[float | None]


def format_table(result: dict[str, Any]) -> Group:
    """Format a linear evaluation: loading of the weights, metrics by backbone and rule, average precision by class."""
    protocol = result["protocol"]
    notes = [*_size_note(result), *(logistic_notes if protocol.get("recipe") == "logistic" else head_notes)(result)]
    title = f"Multi-label linear evaluation (%): {_inputs(protocol)}, {classifiers_in_words(protocol)}"
    return _rules_sheet(title, result, [*notes, *flattering(protocol, protocol["val"]["count"])])


def format_knn(result: dict[str, Any]) -> Group:
    """Format a kNN evaluation, in the layout of ``format_table``."""
    protocol = result["protocol"]
    votes = f"{protocol['neighbours']} neighbors, temperature {protocol['temperature']:g}"
    title = f"Multi-label kNN (%): {_inputs(protocol)}, {votes}"
    notes = [*_size_note(result), *flattering(protocol, protocol["val"]["count"], _NO_VOTE)]
    return _rules_sheet(title, result, notes)


def format_low_label(result: dict[str, Any]) -> Group:
    """Format a low-label evaluation: loading of the weights, means over seeds by backbone and fraction, AP by class.

    mAP is shown with its standard deviation; the AP of classes is that of the largest fraction.
    """
    protocol, results = result["protocol"], result["results"]
    costs = " or ".join(f"{cost:g}" for cost in protocol["costs"])
    given = f"C {costs}" if costs else "C chosen by cross-validation" if protocol["classifier"] == "logistic" else "C 1"
    classifier = CLASSIFIERS[protocol["classifier"]]
    title = f"One-vs-rest {classifier} (%): {_inputs(protocol)}, {protocol['scaling']}, {given}"
    table, names = _figures_table("backbone", "labeled", *METRICS), table_names(results)
    for name, entries in results.items():
        for entry in entries:
            labeled = f"{entry['images']:,} ({100 * entry['fraction']:g} %)"
            summary = entry["summary"]
            numbers = (_percent(summary[metric]["mean"]) for metric in METRICS if metric != "mAP")
            table.add_row(names[name], labeled, _mean_and_std(summary["mAP"]), *numbers)
        table.add_section()
    draws = most_draws(results)
    notes = [f"±: standard deviation over {draws} draws."] if draws > 1 else []
    notes += [*_size_note(result), *_unconverged(results), *flattering(protocol, protocol["val"]["count"])]
    aps = {name: entries[-1]["summary"]["AP"]["mean"] for name, entries in results.items()}
    share = f"{100 * protocol['fractions'][-1]:g} % of the labels"
    classes = _by_class(protocol, aps, f", {share}")
    return _sheet(title, protocol, table, notes, [*classes, *_verdict(result, f" with {share}")])


def most_draws(results: Mapping[str, Any]) -> int:
    """Draws of the images in a low-label evaluation: as many as seeds, but one of a fraction that is all images."""
    return max(len(entry["runs"]) for entries in results.values() for entry in entries)


def format_check(result: dict[str, Any]) -> Group:
    """Format a label-free check: loading of the weights, measures of features and projections, diagnosis."""
    protocol, results = result["protocol"], result["results"]
    columns = {title: results.get(name, {}).get(vectors) for (name, vectors), title in _VECTORS.items()}
    shown = {title: measures for title, measures in columns.items() if measures is not None}
    table = Table(padding=(0, 0, 0, 1))  # at 80 columns the measures' names wrap, and nothing else
    table.add_column("measure")
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
    lines += [Text(protocol[key]) for key in ("left_out", "range") if key in protocol]
    if result.get("normalization"):
        lines.append(Text(result["normalization"]["sentence"]))
    return Group(*lines, Text(result["diagnosis"]["sentence"]))


def _by_rule(results: dict[str, Any]) -> Table:
    """A row for each backbone and rule, the user's threshold first."""
    table, names = _figures_table("backbone", "rule", *METRICS), table_names(results)
    for name, report in results.items():
        for rule, figures in report["rules"].items():
            numbers = (_percent(figures[metric]) for metric in METRICS if metric != "mAP")
            table.add_row(names[name], rule, _percent(report["mAP"]), *numbers)
        table.add_section()
    return table


def _intervals(results: dict[str, Any]) -> list[str]:
    lines, names = [], table_names(results)
    for name, report in results.items():
        if "intervals" in report:
            figure, *ends = map(_percent, (report["mAP"], *report["intervals"]["mAP"]))
            lines.append(f"{names[name]}: mAP {figure}, 95 % interval over images {' to '.join(ends)}.")
    return lines


def _unconverged(results: dict[str, Any]) -> list[str]:
    runs = [run for entries in results.values() for entry in entries for run in entry["runs"]]
    at_edge = sum(run.get("costs_at_edge", 0) for run in runs)  # not in earlier results
    return [*unconverged(sum(run["unconverged"] for run in runs)), *edge_notes(at_edge)]


def _mean_and_std(summary: dict[str, Any]) -> str:
    std = summary["std"]
    return _percent(summary["mean"]) + ("" if std is None else f" ±{_percent(std)}")


def _weights_line(protocol: dict[str, Any]) -> list[Text]:
    """Loading of the weights; nothing for weights that are not from a file."""
    loading = protocol["loading"]
    if loading is None:
        return []
    # Earlier results do not say how images are normalized.
    said = [loading["summary"], *filter(None, [loading.get("normalization")])]
    return [Text(line, style="dim") for line in said]


def _sheet(
    title: str, protocol: dict[str, Any], figures: Table, notes: Sequence[str], classes: Sequence[Text | Table]
) -> Group:
    """An evaluation's tables and notes, one below the other.

    The lines are not the tables' titles and captions, which would be wrapped to the tables' width.
    """
    below = [*notes, *baseline_lines(protocol), *_notes(protocol)]
    legend = Text(MULTI_LABEL_LEGEND, style="dim")
    return Group(*_weights_line(protocol), Text(title, style="bold"), figures, legend, *map(Text, below), *classes)


def _rules_sheet(title: str, result: dict[str, Any], notes: Sequence[str]) -> Group:
    """The sheet of an evaluation with a ``multilabel_report`` for each backbone."""
    protocol, results = result["protocol"], result["results"]
    aps = {name: report["AP"] for name, report in results.items()}
    return _sheet(
        title,
        protocol,
        _by_rule(results),
        [*_intervals(results), *notes],
        [*_by_class(protocol, aps), *_verdict(result)],
    )


def _verdict(result: dict[str, Any], of: str = "") -> list[Text]:
    """The differences to the baselines, the last that a reader sees."""
    sentences = difference_sentences(result, of)
    return [Text(), *(Text(sentence, style="bold") for sentence in sentences)] if sentences else []


def _figures_table(*columns: str) -> Table:
    """An empty table of metrics, whose rows are named by the columns "backbone" and "rule"."""
    table = Table(pad_edge=False, padding=(0, 0, 0, 1))  # blanks on both sides would cut figures at 80 columns
    for column in columns:
        table.add_column(column, justify="left" if column in ("backbone", "rule") else "right", no_wrap=True)
    return table


def _by_class(protocol: dict[str, Any], aps: Mapping[str, Shares], of: str = "") -> list[Text | Table]:
    """Average precision of each class, with the numbers of images that show it; ``of`` ends the title."""
    table = Table()
    table.add_column("class")
    for column in ("train", "val", *table_names(aps).values()):
        table.add_column(column, justify="right", no_wrap=True)
    rows = zip(protocol["classes"], protocol["train"]["positives"], protocol["val"]["positives"], strict=True)
    for index, (name, train, val) in enumerate(rows):
        table.add_row(
            Text(printable(name)), str(train), str(val), *(_percent(column[index]) for column in aps.values())
        )
    return [Text(), Text(f"Average precision of each class (%){of}", style="bold"), table]


def _inputs(protocol: dict[str, Any]) -> str:
    """Layer, pooling and input size, for a title."""
    crop = ", center crop" if protocol["crop"] == "center" else ""
    layer = f"{protocol['layer']}, " if "layer" in protocol else ""
    return f"{layer}{protocol['pool']} at {protocol['size']} px{crop}"


def _size_note(result: dict[str, Any]) -> list[str]:
    """Why the inputs have their size, where the user did not say which."""
    said = result.get("provenance", {}).get("size")
    return [said] if said else []


def _percent(fraction: float | None) -> str:
    """A share in percent, at most four characters, so that tables fit 80 columns; a dash if undefined."""
    return "-" if fraction is None else f"{100 * fraction:.1f}".replace("100.0", "100")


def _notes(protocol: dict[str, Any]) -> list[str]:
    """Notes on the figures of any evaluation."""
    notes = [protocol.get("range", ""), *(_skipped(protocol[part]) for part in ("train", "val"))]
    notes += [f"Training labels: {note}." for note in protocol["train"].get("notes", ())]
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
    """Skipped entries of a label file, if any."""
    count, first = part["skipped"]["count"], part["skipped"]["first"][:_NAMED]
    if not count:
        return ""
    what = "1 label row was" if count == 1 else f"{count} label rows were"
    more = "; ..." if count > len(first) else "."
    return f"{what} left out of {Path(part['labels']).name}: {'; '.join(first)}{more}"


def _cell(form: str, value: float | int | None) -> str:
    return "-" if value is None else form.format(value).replace("%", " %")


def emphasize(sheet: RenderableType, protocol: dict[str, Any]) -> RenderableType:
    """A sheet whose notes on images in both splits and on classes without names stand out; changed in place."""
    count = protocol["val"]["count"]
    loud = {note for so in ((), (_NO_VOTE,)) for note in flattering(protocol, count, *so)}
    loud |= {f"Training labels: {note}." for note in protocol["train"].get("notes", ())}
    for line in sheet.renderables if isinstance(sheet, Group) else ():
        if isinstance(line, Text) and line.plain in loud:
            line.stylize("bold yellow")
    return sheet
