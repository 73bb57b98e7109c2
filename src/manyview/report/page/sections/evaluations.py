"""What the weights are worth on labels: figures beside baselines, classes, few labels, confusions, detection."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from manyview.backbones.beside import PRETRAINED, in_words
from manyview.report.page.curves import Chart, Series
from manyview.report.page.markup import (
    Cell,
    Content,
    Html,
    Row,
    command,
    element,
    join,
    note,
    paragraph,
    percent,
    table,
)
from manyview.report.page.reading.evaluations import LABELED, Detector, FewLabels, Labeled, Network
from manyview.report.page.reading.run import lookup
from manyview.report.page.sections.bars import Bar, bars, key
from manyview.report.page.sections.overview import named, swatch
from manyview.report.page.sections.section import Material
from manyview.report.page.svg import draw
from manyview.runs.figures import MULTI_LABEL, MULTI_LABEL_LEGEND

_TITLES = {
    "linear": "Linear evaluation on frozen features",
    "knn": "Nearest neighbors on frozen features",
    "probe": "Classifiers on few labels",
}
_OF = {"last": "", "best": "best weights", "others": "weights of another time"}
_PROTOCOL = (
    "recipe",
    "layer",
    "pool",
    "size",
    "crop",
    "neighbours",
    "temperature",
    "classifier",
    "cached",
    "epochs",
    "threshold",
)
_COMPARED = (*_PROTOCOL, "average_precision", "compatibility")
_MOST_CLASSES = 30  # of a table of all pairs
_MOST_PAIRS = 12
Numbered = tuple[int, Labeled]


def evaluations(material: Material) -> Html:
    """Figures on labels, with those of the baselines."""
    parts: list[Content] = []
    by_verb = {verb: [each for each in material.labeled if each[1].found.verb == verb] for verb in LABELED}
    for verb, found in by_verb.items():
        if found:
            parts += _of_verb(material, verb, found)
    if not parts:
        run = str(material.runs[0].path)
        words = ["manyview", "linear", run, "--images", "DIR", "--train-labels", "FILE", "--val-labels", "FILE"]
        parts = [
            note("No evaluation of these weights was found beside the run. This one says what they are worth:"),
            command(shlex.join([*words, "--out", f"{run}-linear"])),
        ]
    else:
        parts.append(paragraph(MULTI_LABEL_LEGEND, class_="pale"))
    return join(*parts)


def _of_verb(material: Material, verb: str, found: Sequence[Numbered]) -> list[Content]:
    rows = [row for number, each in found for row in _rows(material, number, each)]
    run_column = [] if material.single else ["run"]
    header = ["backbone", *run_column, *([] if verb == "probe" else ["95 % interval of mAP"]), *MULTI_LABEL]
    order = ["backbone", *run_column, "mAP", *([] if verb == "probe" else ["95 % interval of mAP"]), *MULTI_LABEL[1:]]
    at = [header.index(name) for name in order]
    shown = [[row[index] for index in at] for row in rows]
    parts: list[Content] = [
        element("h3", _TITLES[verb]),
        table(_caption(found), order, shown, sortable=True, text_columns=1 + len(run_column)),
    ]
    parts += [paragraph(sentence) for number, each in found for sentence in _differences(material, number, each)]
    if changed := _changed(found):
        parts.append(
            element("p", f"These protocols differ in {', '.join(changed)}: compare with care.", class_="fault")
        )
    if verb == "probe":
        parts.append(_few_labels(material, found))
    return parts


def _rows(material: Material, number: int, evaluation: Labeled) -> list[Row]:
    rows: list[Row] = []
    share = evaluation.curves[evaluation.networks[0].name][-1].fraction if evaluation.curves else None
    for network in evaluation.networks:
        what = _OF[evaluation.found.of] if network.name == PRETRAINED else ""
        name = join(in_words(network.name), element("small", f" {what}") if what else None)
        low, high = network.intervals.get("mAP", (None, None))
        ends = f"{percent(low)} – {percent(high)}" if low is not None and high is not None else "–"
        run = [] if material.single else [named(number, material.runs[number].name)]
        interval = [] if share is not None else [Cell(ends, low)]
        cells = [Cell(percent(network.figures[figure]), network.figures[figure]) for figure in MULTI_LABEL]
        rows.append([name, *run, *interval, *cells])
    return rows


def _caption(found: Sequence[Numbered]) -> str:
    protocol = found[0][1].found.content["protocol"]
    words = [f"{key} {value}" for key in _PROTOCOL if (value := protocol.get(key)) not in (None, False, "warp")]
    evaluation = found[0][1]
    part = ""
    if evaluation.curves:
        last = evaluation.curves[evaluation.networks[0].name][-1]
        part = f", with {last.images:,} labeled images ({100 * last.fraction:g} %)"
    on = f"{evaluation.val_images:,} validation images, {len(evaluation.classes)} classes"
    return f"In %, on {on}{part}: {', '.join(words)}"


def _changed(found: Sequence[Numbered]) -> list[str]:
    """Entries of the protocols that differ."""
    protocols = [each.found.content["protocol"] for _, each in found]
    changed = [key for key in _COMPARED if len({str(protocol.get(key)) for protocol in protocols}) > 1]
    for part in ("train", "val"):
        # Of the labels themselves: a file may have changed since, or the same one lie elsewhere.
        labels = [lookup(protocol, f"{part}.labels_sha256") for protocol in protocols]
        if None in labels:  # of earlier versions
            labels = [lookup(protocol, f"{part}.labels") for protocol in protocols]
        if len(set(map(str, labels))) > 1:
            changed.append(f"{part} labels")
    return changed


def _differences(material: Material, number: int, evaluation: Labeled) -> list[str]:
    whose = "" if material.single else f"{material.runs[number].name}: "
    sentences = []
    for name, (value, (low, high)) in evaluation.differences.items():
        ends = ""
        if low is not None and high is not None:
            unsure = "; these images cannot tell which is better" if low <= 0 <= high else ""
            ends = f" (95 % interval {100 * low:.1f} to {100 * high:.1f}{unsure})"
        relation = "over" if value >= 0 else "against"
        sentences.append(f"{whose}{100 * value:+.1f} mAP {relation} {in_words(name)}{ends}.")
    return sentences


def _few_labels(material: Material, found: Sequence[Numbered]) -> Html:
    """The mAP against the number of labeled images, as a chart and a table."""
    series: list[Series] = []
    names: list[str] = []
    rows: list[Row] = []
    for number, each in found:
        for network, points in each.curves.items():
            shown = [(point, point.mean) for point in points if point.mean is not None]
            if not shown:
                continue
            name = in_words(network) if material.single else f"{material.runs[number].name}, {in_words(network)}"
            images, means = tuple(point.images for point, _ in shown), tuple(mean for _, mean in shown)
            series.append(Series(len(series), name, int(network != PRETRAINED), images, means, marks=True))
            names.append(name)
            rows += [_amount(name, point) for point, _ in shown]
    if not series:
        return join()
    chart = Chart("few-labels", "mAP by labeled images, %", "", tuple(series), percent=True)
    figure = element(
        "figure",
        element("h4", chart.title),
        element("figcaption", "Mean over the draws of the labeled images."),
        element("div", draw(chart, names, along="labeled images"), class_="plot"),
        element("ul", [element("li", swatch(number), name) for number, name in enumerate(names)], class_="key"),
        class_="chart",
    )
    title, header = "The same as a table", ["backbone", "images", "share", "mAP, %", "over draws"]
    values = element("details", element("summary", title), table(title, header, rows, hidden_caption=True))
    return join(element("div", figure, class_="charts"), values)


def _amount(name: str, point: FewLabels) -> Row:
    std = f"± {percent(point.std)}" if point.std is not None else ""
    return [name, f"{point.images:,}", f"{100 * point.fraction:g} %", Cell(percent(point.mean), point.mean), std]


def classes(material: Material) -> Html | None:
    """Average precision of each class; None without an evaluation on labels."""
    found = _for_classes(material)
    if not found:
        return None
    names = found[0][1].classes
    same = [(number, each) for number, each in found if each.classes == names]
    left = [material.runs[number].name for number, each in found if each.classes != names]
    verb = same[0][1].found.verb
    heads = [material.runs[number].name for number, _ in same] if not material.single else ["AP, %"]
    base = _baseline(same[0][1])
    header = [
        "class",
        "train",
        "val",
        "average precision, with 95 % interval",
        *heads,
        *([in_words(base.name)] if base else []),
    ]
    rows = [_class_row(index, name, same, base) for index, name in enumerate(names)]
    parts: list[Content] = [
        key(
            [material.runs[number].name if not material.single else in_words(PRETRAINED) for number, _ in same],
            [n for n, _ in same],
            in_words(base.name) if base else None,
            any(each.networks[0].class_intervals for _, each in same),
        ),
        table(f"By {_TITLES[verb].lower()}", header, rows, sortable=True),
    ]
    if left:
        parts.append(note(f"Left out, as their classes are others: {', '.join(left)}."))
    parts.append(_all_confusions(material, same))
    return join(*parts)


def _for_classes(material: Material) -> list[Numbered]:
    """The evaluation of each run that classes are shown of: of the same command for all of them."""
    for verb in LABELED:
        chosen: dict[int, Labeled] = {}
        for number, each in material.labeled:
            if each.found.verb == verb:
                chosen.setdefault(number, each)
        if chosen:
            return sorted(chosen.items())
    return []


def _baseline(evaluation: Labeled) -> Network | None:
    return evaluation.networks[1] if len(evaluation.networks) > 1 else None


def _class_row(index: int, name: str, found: Sequence[Numbered], base: Network | None) -> Row:
    shown = []
    for number, each in found:
        network = each.networks[0]
        interval = network.class_intervals[index] if network.class_intervals else (None, None)
        shown.append(Bar(number, network.by_class[index], interval, base.by_class[index] if base else None))
    values = [Cell(percent(bar.value), bar.value) for bar in shown]
    others = [Cell(percent(base.by_class[index]), base.by_class[index])] if base else []
    first = found[0][1]
    bar = Cell(bars(shown, name), shown[0].value, class_="bar")
    return [name, f"{first.train[index]:,}", f"{first.val[index]:,}", bar, *values, *others]


def _all_confusions(material: Material, found: Sequence[Numbered]) -> Html:
    """Absent classes that are predicted beside others, by each run's classifiers."""
    text = (
        "Of the images that show one class but not another, the share in which the other is predicted all the same, "
        "beside the share over all images without it. Classes that keep company are taken for each other's sign."
    )
    tables = [_confusions(material, number, each) for number, each in found]
    return join(element("h3", "Absent classes that are predicted beside others"), paragraph(text), tables)


def _confusions(material: Material, number: int, evaluation: Labeled) -> Html:
    """Absent classes that are predicted beside others, the most telling pairs first."""
    false = evaluation.networks[0].false_predictions
    whose = "" if material.single else f", {material.runs[number].name}"
    title = join() if material.single else element("h4", material.runs[number].name)
    if false is None:
        return join(
            title, note("This evaluation does not record them; made again with this version, linear and knn do.")
        )
    names, overall = evaluation.classes, false["overall"]
    pairs = [
        (share - (overall[j] or 0), names[i], names[j], share, overall[j])
        for i, row in enumerate(false["beside"])
        for j, share in enumerate(row)
        if share is not None and evaluation.val[i] >= 5
    ]
    pairs.sort(key=lambda pair: -pair[0])
    rows: list[Row] = [
        [shown, absent, Cell(percent(share), share), Cell(percent(usual), usual), Cell(f"{100 * more:+.1f}", more)]
        for more, shown, absent, share, usual in pairs[:_MOST_PAIRS]
        if more > 0
    ]
    if not rows:
        return join(title, paragraph("No class is predicted more often beside another than without it."))
    header = ["image shows", "predicted, but absent", "share, %", "over all, %", "difference"]
    parts = [title, table(f"By the rule {false['rule']}{whose}", header, rows, sortable=True, text_columns=2)]
    if len(names) <= _MOST_CLASSES:
        parts.append(
            element(
                "details",
                element("summary", "All pairs of classes"),
                _heat(names, false["beside"], f"All pairs of classes{whose}"),
            )
        )
    return join(*parts)


def _heat(names: Sequence[str], beside: Sequence[Sequence[float | None]], label: str) -> Html:
    """A table of all pairs, in which larger shares are darker."""
    most = max((share for row in beside for share in row if share is not None), default=0) or 1
    head = element(
        "tr",
        element("th", "shown, by what is predicted", scope="col"),
        [element("th", name, scope="col") for name in names],
    )
    rows: list[Html] = []
    for name, row in zip(names, beside, strict=True):
        cells = [
            element(
                "td",
                "" if share is None else f"{100 * share:.0f}",
                class_="cell",
                style=f"--share: {(share or 0) / most:.2f}",
            )
            for share in row
        ]
        rows.append(element("tr", element("th", name, scope="row"), cells))
    caption = element(
        "caption",
        "Share of the images with the class of the row and without that of the column in which it is predicted, %",
    )
    made = element("table", caption, element("thead", head), element("tbody", rows), class_="heat")
    return element("div", made, class_="scroll", tabindex="0", role="region", aria_label=label)


def detection(material: Material, pictures: Sequence[Html]) -> Html | None:
    """Detectors, with the average precision of each class; None without any."""
    if not material.detectors:
        return None
    parts: list[Content] = []
    titles = list(dict.fromkeys(title for _, each in material.detectors for title in each.figures[PRETRAINED]))
    run_column = [] if material.single else ["run"]
    rows: list[Row] = []
    for number, each in material.detectors:
        for name, figures in each.figures.items():
            run = [] if material.single else [named(number, material.runs[number].name)]
            rows.append(
                [in_words(name), *run, *(Cell(percent(figures.get(title)), figures.get(title)) for title in titles)]
            )
    parts.append(
        table(
            "Average precision of detectors fine-tuned on the weights, %",
            ["start", *run_column, *titles],
            rows,
            sortable=True,
            text_columns=1 + len(run_column),
        )
    )
    for number, each in material.detectors:
        parts.append(_detector(material, number, each))
    parts += pictures
    return join(*parts)


def _detector(material: Material, number: int, detector: Detector) -> Html:
    protocol: Any = detector.found.content["protocol"]
    words = (
        f"{protocol.get('architecture')} on {protocol.get('backbone')}, {protocol.get('iterations'):,} iterations of "
        f"{protocol.get('batch_size')} images, from {detector.found.folder}"
        if isinstance(protocol.get("iterations"), int)
        else f"from {detector.found.folder}"
    )
    rows: list[Row] = [
        [
            name,
            Cell(bars([Bar(number, value, (None, None), None)], name), value, class_="bar"),
            Cell(percent(value), value),
        ]
        for name, value in zip(detector.classes, detector.by_class, strict=True)
    ]
    whose = "" if material.single else f" of {material.runs[number].name}"
    return join(
        element("h3", f"AP by class{whose}"),
        table(words, ["class", "average precision of boxes", "AP, %"], rows, sortable=True),
    )
