"""Results of evaluations as users of the library hold them: all of metrics.json, shown in a few lines."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from manyview.text import printable, shortened

# What is shown of each network, where a result has it: figures in percent, then measures as they are.
_SHARES = ("mAP", "OF1", "CF1", "AP", "AP50", "AP75")
_MEASURES = ("rankme", "std", "uniformity", "alignment")
_LONGEST = 60  # characters of a network's name


class Result(dict[str, Any]):
    """Result of an evaluation: a dictionary, as in metrics.json, whose ``repr`` is its headline.

    In a notebook it is a small table. ``dict(result)`` shows all that it holds. What pickle or ``torch.save`` wrote is
    read back as an ordered dictionary, by ``torch.load`` with ``weights_only`` and without manyview, too.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, (list(self.items()),)

    def __repr__(self) -> str:
        rows = "; ".join(f"{name}: {_in_words(figures)}" for name, figures in rows_of(self))
        return f"<{_title(self)}{': ' if rows else ''}{rows}>"

    def _repr_html_(self) -> str:
        """The headline as a table for notebooks; names are escaped."""
        rows = list(rows_of(self))
        columns = list(dict.fromkeys(key for _, figures in rows for key in figures))
        return table(
            _title(self), ["", *columns], [[name, *(each.get(key, "") for key in columns)] for name, each in rows]
        )


def rows_of(result: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each network's figures as text: of evaluations by network, of detectors by protocol, of comparisons by group."""
    results = result.get("results")
    if isinstance(results, Mapping):
        entries = [(str(name), found) for name, found in results.items()]
    else:
        entries = [(_row_name(each), each.get("summary", {})) for each in results or () if isinstance(each, Mapping)]
    for name, found in entries:
        if isinstance(found, Sequence) and found and isinstance(found[-1], Mapping):  # by share of the labels
            found = found[-1].get("summary", {})
        if isinstance(found, Mapping) and (figures := _figures(found.get("features", found))):
            yield printable(name), figures


def _row_name(row: Mapping[str, Any]) -> str:
    return ", ".join(str(row[key]) for key in ("group", "network") if key in row)


def _figures(found: Mapping[str, Any]) -> dict[str, str]:
    shown: dict[str, str] = {}
    for names, form in ((_SHARES, lambda value: f"{100 * value:.1f}"), (_MEASURES, lambda value: f"{value:.2f}")):
        for name in names:
            value = found.get(name)
            value = value.get("mean") if isinstance(value, Mapping) else value
            if isinstance(value, int | float):
                shown[name] = form(value)
    return shown


def _in_words(figures: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in figures.items())


def _title(result: Mapping[str, Any]) -> str:
    protocol = result.get("protocol")
    about = protocol if isinstance(protocol, Mapping) else {}
    what = str(result.get("evaluation", "detection" if "architecture" in about else "result"))
    backbone = about.get("backbone")
    return printable(f"{what} of {shortened(str(backbone), _LONGEST)}" if backbone else what)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """HTML of a small table, all of whose texts are escaped."""
    head = "".join(f"<th>{escape(printable(each))}</th>" for each in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(printable(str(cell)))}</td>" for cell in row) + "</tr>" for row in rows
    )
    headed = f"<thead><tr>{head}</tr></thead>" if any(columns) else ""
    return f"<table><caption>{escape(printable(title))}</caption>{headed}<tbody>{body}</tbody></table>"
