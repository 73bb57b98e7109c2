"""The result of a look at images, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from manyview.recipes.check.findings import in_words
from manyview.runs.progress import spell
from manyview.text import printable

_CLASSES = 30  # of a table, at most; the commonest
_BAR = 30  # characters of the longest bar
_STYLES = {"stops": "red", "spoils": "yellow", "note": "default"}
_MARKS = {"stops": "Stops:", "spoils": "Spoils:", "note": "Note:"}
_VERDICTS = {
    "fine": "Nothing is in the way of a run.",
    "spoils": "Results would be misleading: see what spoils them above.",
    "stops": "A run or an evaluation would stop, or be refused: see what stops it above.",
}


def format_check(result: Mapping[str, Any]) -> Group:
    """Format a result of ``check_images`` for ``rich.console.Console.print``."""
    results = result["results"]
    parts: list[RenderableType] = [_first(result), *_formats(results), *_sizes(results), *_labels(results)]
    parts += [*_expected(result), *_findings(results)]
    verdict = results["verdict"]
    parts.append(Text(_VERDICTS[verdict], style=f"bold {_STYLES.get(verdict, 'green')}"))
    return Group(*parts)


def _first(result: Mapping[str, Any]) -> Text:
    results = result["results"]
    images, looked = results["images"], results["looked_at"]
    part = "" if looked == images else f"; {looked:,} of them, drawn at random, were decoded and compared"
    return Text(f"{images:,} images in {result['protocol']['images']}, {in_words(results['bytes'])}{part}.")


def _formats(results: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = _table("format", "channels", ">bits", ">images")
    for row in results["formats"]:
        table.add_row(row["format"], row["channels"], str(row["bits"]), f"{row['images']:,}")
    if results["unreadable"]:
        table.add_row("cannot be read", "", "", f"{len(results['unreadable']):,}")
    yield table


def _sizes(results: Mapping[str, Any]) -> Iterator[RenderableType]:
    sizes = dict(results["sizes"])
    bars = sizes.pop("shorter sides", [])
    if not sizes:
        return
    table = _table("pixels", ">lowest", ">median", ">highest")
    for name, each in sizes.items():
        table.add_row(name, *(f"{each[key]:,.0f}" for key in ("lowest", "median", "highest")))
    yield table
    if sum(bar["images"] > 0 for bar in bars) > 1:
        table = _table("shorter side", ">images", "")
        most = max(bar["images"] for bar in bars)
        for bar in (each for each in bars if each["images"]):
            length = -(-_BAR * bar["images"] // most)
            table.add_row(f"{bar['from']:,} to {bar['below'] - 1:,}", f"{bar['images']:,}", "█" * length)
        yield table


def _labels(results: Mapping[str, Any]) -> Iterator[RenderableType]:
    files = results["labels"]
    if not files:
        return
    table = _table("labels", ">images", ">without label", ">objects", ">classes")
    for each in files:
        objects = "" if each["objects"] is None else f"{each['objects']:,}"
        counts = (f"{each[key]:,}" for key in ("images", "unlabeled"))
        table.add_row(_name(each["file"]), *counts, objects, f"{len(each['classes']):,}")
    yield table
    totals: dict[str, int] = {}
    for each in files:
        for name, count in each["classes"].items():
            totals[name] = totals.get(name, 0) + count
    table = _table("class", *(f">{_name(each['file'])}" for each in files))
    for name in sorted(totals, key=lambda name: -totals[name])[:_CLASSES]:
        table.add_row(printable(name), *(f"{each['classes'].get(name, 0):,}" for each in files))
    if len(totals) > _CLASSES:
        table.add_row(f"... {len(totals) - _CLASSES:,} more classes", *("" for _ in files))
    yield table


def _name(file: str) -> str:
    return printable(file.rstrip("/").rpartition("/")[2])


def _expected(result: Mapping[str, Any]) -> Iterator[RenderableType]:
    protocol, results = result["protocol"], result["results"]
    here, expected = results["machine"], results["expected"]
    memory = "" if here["memory"] is None else f", {in_words(here['memory'])} of memory"
    shared = here["shared_memory_free"]
    free = "" if shared is None else f", {in_words(shared)} of /dev/shm"
    cores = "1 core" if here["cores"] == 1 else f"{here['cores']} cores"
    yield Text(
        f"This machine: {here['device']}, {cores}, {here['workers']} loader processes{memory}{free}, "
        f"{in_words(here['disk_free'])} of disk."
    )
    if expected is None:
        return
    run = f"Recipe {protocol['recipe']}, {protocol['backbone']}, views of {protocol['view_size']} pixels"
    needs = [
        f"{in_words(expected[key])} of {what}"
        for key, what in (("memory", "memory"), ("shared_memory", "/dev/shm"), ("disk", "disk"))
        if expected[key]
    ]
    yield Text(
        f"{run}: {expected['plan']}; at {expected['seconds_per_step']:.3g} s a step, measured, about "
        f"{spell(3600 * expected['hours'])}; about {', '.join(needs)}."
    )
    yield from (Text(remark) for remark in expected["remarks"])


def _findings(results: Mapping[str, Any]) -> Iterator[RenderableType]:
    yield Text()
    for each in results["findings"]:
        text = Text(f"{_MARKS[each['weight']]} ", style=_STYLES[each["weight"]])
        yield text.append(each["sentence"], style="default")


def _table(*titles: str) -> Table:
    table = Table(pad_edge=False)
    for title in titles:
        table.add_column(title.removeprefix(">"), justify="right" if title.startswith(">") else "left")
    return table
