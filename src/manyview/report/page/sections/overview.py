"""What was trained on what, where it stands, and the verdict on it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from manyview.backbones.beside import in_words
from manyview.report.page.markup import Content, Html, element, join, paragraph, percent, table
from manyview.report.page.reading.evaluations import LABELED, Labeled
from manyview.report.page.reading.run import Run, is_number, lookup
from manyview.report.page.reading.status import elapsed, status_of
from manyview.report.page.sections.section import Material, faults
from manyview.runs.progress import spell

_VERDICTS = {"healthy": "good", "partly collapsed": "warn", "collapsed": "bad"}
_FEW = 3  # readings that a trend is read from


def overview(material: Material) -> Html:
    """Each run in a sentence, with its figures and verdicts."""
    parts: list[Content] = []
    if material.single:
        [run] = material.runs
        parts += [paragraph(in_a_sentence(run), class_="lead"), _cards(material, run)]
    else:
        parts.append(_runs_table(material))
    boxes: list[Html] = []
    broken: list[Html] = []
    for number, run in enumerate(material.runs):
        boxes += _verdicts(material, number, run)
        own = tuple(f"{run.name}: {fault}" if not material.single else fault for fault in run.faults)
        broken.append(faults(own))
    parts += [element("div", boxes, class_="verdicts"), *broken, faults(material.damaged)]
    return join(*parts)


def in_a_sentence(run: Run) -> str:
    """A run in a sentence."""
    network, images = run.setting("backbone.name"), run.plan("photographs")
    if not network:
        return "What ran here is not known: config.json is missing."
    recipe, method = run.setting("recipe", "unknown"), run.setting("method.name", "unknown")
    start = "weights of your own" if run.setting("backbone.init") else "random weights"
    on = f" on {images:,.0f} images" if images else ""
    learned = f"{network} by the recipe {recipe} (method {method}), from {start}{on}"
    sizes = sorted(set(_view_sizes(run)), reverse=True)
    views = f", views of {' and '.join(map(str, sizes))} pixels" if sizes else ""
    return f"{learned}{views}, batches of {run.setting('training.batch_size', 'unknown')} images."


def _view_sizes(run: Run) -> Iterator[int]:
    groups = run.setting("views.groups")
    for group in groups if isinstance(groups, list) else [{}]:
        size = lookup(group, "size", run.setting("views.size"))
        if isinstance(size, int):
            yield size


def views_seen(run: Run) -> int | None:
    """Views that a run has been trained on up to its last line."""
    a_step = run.plan("views_per_step")
    return round(run.steps_done * a_step) if a_step else None


def _epochs(run: Run) -> str:
    per_epoch = run.plan("steps_per_epoch")
    return f"{run.steps_done / per_epoch:.3g} epochs" if per_epoch else ""


def _cards(material: Material, run: Run) -> Html:
    views, seconds = views_seen(run), elapsed(run)
    rate = f"{views / seconds:,.0f} views a second with all pauses" if views and seconds else "not recorded"
    pages = [
        _card("Steps", f"{run.steps_done:,}", _epochs(run)),
        _card("Views", f"{views:,}" if views is not None else "–", rate),
        _card("Time", spell(seconds) if seconds else "–", f"on {lookup(run.about, 'device', 'an unknown device')}"),
        _card("Images", f"{run.plan('photographs') or 0:,.0f}", _skipped(run)),
    ]
    best = _first(material, 0)
    if best:
        pages.append(_card(f"mAP, {best.found.verb}", f"{percent(best.networks[0].figures['mAP'])} %", _gain(best)))
    elif run.records("quality"):
        last = run.records("quality")[-1]
        if is_number(last.get("logistic")):
            pages.append(_card("mAP as it trained", f"{percent(last['logistic'])} %", f"at step {last['step']:,}"))
    return element("div", pages, class_="cards")


def _card(title: str, figure: str, about: str) -> Html:
    return element(
        "div", element("h3", title), element("span", figure, class_="figure"), paragraph(about), class_="card"
    )


def _skipped(run: Run) -> str:
    count = len(run.skipped)
    return f"{count:,} could not be read" if count else "all could be read"


def _first(material: Material, number: int) -> Labeled | None:
    """The evaluation whose mAP stands for a run: of its last weights, linear before the others."""
    own = [each for run, each in material.labeled if run == number and each.found.of != "others"]
    return min(own, key=lambda each: (LABELED.index(each.found.verb), each.found.of != "last"), default=None)


def _gain(evaluation: Labeled) -> str:
    for name, (value, (low, high)) in evaluation.differences.items():
        ends = f" (95 % interval {100 * low:.1f} to {100 * high:.1f})" if low is not None and high is not None else ""
        return f"{100 * value:+.1f} against {in_words(name)}{ends}"
    return f"{evaluation.val_images:,} validation images"


def _runs_table(material: Material) -> Html:
    rows = []
    for number, run in enumerate(material.runs):
        best, seconds, views = _first(material, number), elapsed(run), views_seen(run)
        rows.append(
            [
                named(number, run.name),
                str(run.setting("recipe", "–")),
                str(run.setting("backbone.name", "–")),
                status_of(run).state,
                f"{run.plan('photographs') or 0:,.0f}",
                f"{run.steps_done:,}",
                f"{views:,}" if views is not None else "–",
                spell(seconds) if seconds else "–",
                percent(best.networks[0].figures["mAP"]) if best else "–",
                str(lookup(run.health or {}, "diagnosis.verdict", "–")),
            ]
        )
    header = ["run", "recipe", "backbone", "state", "images", "steps", "views", "time", "mAP, %", "weights are"]
    return table(f"{len(rows)} runs", header, rows, sortable=True, text_columns=4)


def named(number: int, name: str) -> Html:
    """A run's name behind its color and shape."""
    return element("span", swatch(number), name, class_="named")


def swatch(number: int) -> Html:
    """The color and the shape of a run, as in the charts."""
    from manyview.report.page.svg import MARKERS, marker_path

    shape = element("path", d=marker_path(7, 7, MARKERS[number % len(MARKERS)], 4.5), class_=f"mark c{number % 8}")
    return element("svg", shape, viewBox="0 0 14 14", width=14, height=14, class_="swatch", aria_hidden="true")


def _verdicts(material: Material, number: int, run: Run) -> list[Html]:
    boxes = []
    of = "" if material.single else f" of {run.name}"
    checks = [found.content for found in material.of(number, "label-free") if found.of == "last"]
    for content in [*([run.health] if run.health else []), *checks][:1]:
        verdict, sentence = lookup(content, "diagnosis.verdict"), lookup(content, "diagnosis.sentence")
        if isinstance(sentence, str):
            boxes.append(_box(f"The weights{of}, without labels", sentence, _VERDICTS.get(str(verdict), "")))
    state, sentence = collapse_in_words(run)
    if sentence:
        boxes.append(_box(f"The training{of}", sentence, state))
    if isinstance(run.best, dict) and (sentence := _best_in_words(run.best)):
        boxes.append(_box(f"Quality{of} over time", sentence, ""))
    return boxes


def _box(title: str, sentence: str, state: str) -> Html:
    return element("div", element("h3", title), paragraph(sentence), class_=f"verdict {state}".strip())


def collapse_in_words(run: Run) -> tuple[str, str]:
    """The readings of the collapse monitor as a state ("good", "warn", "bad" or "") and a sentence; "" without any."""
    both = [record for record in run.log if is_number(record.get("std")) and is_number(record.get("rank"))]
    readings = list({record["step"]: record for record in both if record.get("kind") != "quality"}.values())
    if not readings:
        return "", ""
    peaks = list(accumulate((record["rank"] for record in readings), max))
    least_std, least_rank = run.setting("monitor.min_std", 0.8), run.setting("monitor.min_rank", 0.3)
    low = [
        record["std"] < least_std and record["rank"] < least_rank * peak  # as while it trained: the peak until then
        for record, peak in zip(readings, peaks, strict=True)
    ]
    last = readings[-1]
    figures = (
        f"At step {last['step']:,} the standard deviation of the projections is {last['std']:.2f} of 1/sqrt(d) "
        f"(healthy: near 1, low: under {least_std:g}) and their effective rank {last['rank']:.1f} (highest: "
        f"{peaks[-1]:.1f})"
    )
    if low[-1]:
        since = len(low) - next((n for n, each in enumerate(reversed(low)) if not each), len(low))
        return "bad", f"Collapsing since step {readings[since]['step']:,}. {figures}."
    if any(low):
        return "warn", f"Recovered: {sum(low)} of {len(low)} readings were low. {figures}."
    return "good", f"No sign of collapse in {len(low)} readings. {figures}."


def _best_in_words(best: dict[str, Any]) -> str:
    measure, step, value = (lookup(best, key) for key in ("measure", "best.step", "best.value"))
    last, start = lookup(best, "last.value"), best.get("start")
    if not isinstance(step, int) or not is_number(value) or not is_number(last):
        return ""
    shown = percent if measure in ("logistic", "knn") else (lambda each: f"{each:.4g}")
    began = f"; before the first step {shown(start)}" if is_number(start) else ""
    names = {"logistic": "mAP of logistic regression, %", "knn": "mAP of nearest neighbors, %"}
    return (
        f"Best at step {step:,}: {shown(value)} ({names.get(str(measure), str(measure))}), kept in best.safetensors; "
        f"last {shown(last)}{began}."
    )
