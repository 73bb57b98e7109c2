"""Settings, files, environment, and the commands that repeat it all."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from manyview.config.table import settings as all_settings
from manyview.report.page.markup import Cell, Content, Html, command, element, join, note, paragraph, table
from manyview.report.page.reading.run import Run, lookup
from manyview.report.page.sections.section import Material, definitions
from manyview.runs.provenance import by_dotted_key

_MOST_SKIPPED = 200
_LONGEST = 300  # characters of a value


def settings(material: Material) -> Html:
    """Settings of the runs: those that differ, then all."""
    columns = [dict(by_dotted_key(run.config)) for run in material.runs]
    keys = list(dict.fromkeys(key for column in columns for key in column))
    differing = [key for key in keys if len({_spell(column.get(key)) for column in columns}) > 1]
    meanings = {key: meaning for key, _, meaning in all_settings()}
    parts: list[Content] = []
    if not keys:
        parts.append(note("The settings are not known: config.json is missing or cannot be read."))
    if len(columns) > 1:
        parts.append(_differing(material.runs, columns, differing, meanings))
    header = ["setting", *([run.name for run in material.runs] if len(columns) > 1 else ["value"]), "meaning"]
    rows = [_row(key, columns, meanings, mark=key in differing) for key in keys]
    if rows:
        full = table("All settings", header, rows, hidden_caption=True, class_="settings", text_columns=9)
        parts.append(element("details", element("summary", f"All {len(keys)} settings"), full))
    return join(*parts)


def _differing(
    runs: Sequence[Run], columns: Sequence[Mapping[str, Any]], keys: Sequence[str], meanings: Mapping[str, str]
) -> Html:
    if not keys:
        return paragraph("All settings are the same.")
    rows = [_row(key, columns, meanings, mark=True) for key in keys]
    header = ["setting", *(run.name for run in runs), "meaning"]
    return table(f"{len(keys)} settings differ", header, rows, class_="settings", text_columns=9)


def _row(
    key: str, columns: Sequence[Mapping[str, Any]], meanings: Mapping[str, str], mark: bool
) -> list[Content | Cell]:
    mark = mark and len(columns) > 1
    first = _spell(columns[0].get(key))
    cells = []
    for number, column in enumerate(columns):
        text = _spell(column.get(key))
        other = mark and number > 0 and text != first
        cells.append(Cell(join("≠ " if other else None, element("code", text)), class_="differs" if other else None))
    return [element("code", key), *cells, element("small", meanings.get(key, ""))]


def _spell(value: Any) -> str:
    if value is None:
        return "unset"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def files(material: Material) -> Html:
    """The images, those that were skipped, and the environment, of each run."""
    parts = []
    for run in material.runs:
        parts.append(element("h3", run.name) if not material.single else None)
        parts += [_about(run), _skipped(run)]
    return join(*parts)


def _about(run: Run) -> Html:
    about = run.about
    versions = lookup(about, "versions", {})
    versions = versions if isinstance(versions, Mapping) else {}
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    threads = lookup(about, "environment.threads")
    machine = [
        lookup(about, "machine.system"),
        lookup(about, "machine.processor"),
        lookup(about, "environment.instructions"),
    ]
    work = [
        lookup(about, "device"),
        lookup(about, "precision"),
        f"{threads} threads" if threads else None,
        f"{lookup(about, 'processes')} processes" if lookup(about, "processes", 1) != 1 else None,
    ]
    return definitions(
        ("Folder of the run", element("code", str(run.path))),
        ("Images", element("code", str(run.setting("data.images") or "unknown"))),
        ("List of images", element("code", str(run.setting("data.list"))) if run.setting("data.list") else None),
        (
            "Labels to learn from",
            element("code", str(run.setting("data.labels"))) if run.setting("data.labels") else None,
        ),
        ("Fingerprint of the images", element("code", str(lookup(about, "data.fingerprint", "")))),
        (
            "Initial weights",
            element("code", str(run.setting("backbone.init"))) if run.setting("backbone.init") else None,
        ),
        ("Started", str(lookup(about, "started", ""))),
        ("Computed on", ", ".join(str(each) for each in work if each)),
        ("Machine", ", ".join(str(each) for each in machine if each)),
        ("Versions", known),
        ("Commit", str(lookup(about, "commit") or "")),
    )


def _skipped(run: Run) -> Html:
    if not run.skipped:
        return paragraph("No image was skipped: all could be read.")
    shown = list(run.skipped.items())[:_MOST_SKIPPED]
    more = "" if len(shown) == len(run.skipped) else f"; the first {len(shown)} are shown, skipped.csv has all"
    title = f"{len(run.skipped):,} images could not be read and were replaced by others{more}"
    rows = table("Skipped images", ["image", "reason"], shown, hidden_caption=True, text_columns=2)
    return element("details", element("summary", title), rows)


def commands(material: Material, own: str) -> Html:
    """The commands that trained, evaluated, and wrote this page."""
    parts: list[Content] = []
    for number, run in enumerate(material.runs):
        parts.append(element("h3", run.name) if not material.single else None)
        level = "h3" if material.single else "h4"
        parts.append(_titled(level, "Pre-training", run.about))
        parts += [
            _titled(level, _title(found.verb, str(found.folder)), _provenance(found.content))
            for found in material.results[number]
        ]
        repeat = shlex.join(["manyview", "pretrain", "--config", str(run.path / "config.json"), "--out", "runs/again"])
        parts += [element(level, "The same run again, all settings as they were"), command(repeat)]
    parts += [element("h3", "This page"), command(own)]
    return join(*parts)


def _provenance(content: Mapping[str, Any]) -> Mapping[str, Any]:
    found = content.get("provenance")
    return found if isinstance(found, Mapping) else {}


def _title(verb: str, folder: str) -> str:
    names = {
        "linear": "Linear evaluation",
        "knn": "Nearest neighbors, mAP",
        "probe": "Few labels",
        "label-free": "Check without labels",
        "detect": "Detector",
        "neighbours": "Picture of neighbors",
    }
    return f"{names[verb]}, in {folder}"


def _titled(level: str, title: str, about: Mapping[str, Any]) -> Html:
    words = about.get("command")
    if not isinstance(words, list) or len(words) < 2 or not all(isinstance(word, str) for word in words):
        return join(element(level, title), note("It was called from Python, or the command is not recorded."))
    return join(element(level, title), command(shlex.join(words)))
