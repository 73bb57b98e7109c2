"""Pages of the API, in Markdown, from signatures and docstrings as they are when the package is imported."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

PAGES = {
    "manyview": ("The two calls", ("manyview",), ("pretrain", "load_backbone")),
    "views": ("Views", ("manyview.views",), ()),
    "losses": ("Losses", ("manyview.losses",), ()),
    "backbones": ("Backbones and pooling", ("manyview.backbones", "manyview.pooling"), ()),
    "evaluation": ("Evaluations", ("manyview.evaluation",), ()),
    "measures": ("Label-free measures", ("manyview.measures",), ()),
    "detection": ("Detectors", ("manyview.detection.finetune", "manyview.detection.predict"), ("fine_tune", "predict")),
    "export": ("Export", ("manyview.export",), ()),
    "labels": ("Labels and images", ("manyview.labels", "manyview.images"), ()),
    "config": ("Recipes and settings", ("manyview.recipes",), ()),
    "pictures": ("Pictures and scenes", ("manyview.report", "manyview.scenes"), ()),
}
"""By page: title, modules, and the names that are shown; without names, all that the modules call public."""

_SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields", "Example")
_SECTION = re.compile(rf"^({'|'.join(_SECTIONS)}):[ \t]*$", re.MULTILINE)
_ENTRY = re.compile(r"^(\*{0,2}[\w.]+(?: \([^)]*\))?): ")


@functools.cache
def pages() -> dict[str, str]:
    """Markdown of every page, by its path in the documentation."""
    made = {f"api/{name}.md": _page(*about) for name, about in PAGES.items()}
    links = "\n".join(f"- [{title}]({name}.md)" for name, (title, *_) in PAGES.items())
    made["api/index.md"] = (
        f"# API\n\nGenerated from the docstrings; what is not here may change without notice.\n\n{links}\n"
    )
    return made


def _page(title: str, modules: tuple[str, ...], names: tuple[str, ...]) -> str:
    parts = [f"# {title}"]
    for module in map(importlib.import_module, modules):
        public = [name for name in names or public_names(module) if hasattr(module, name)]
        if not names:
            parts.append(f"`{module.__name__}`: {_first(module)}")
        parts += [_entry(module.__name__, name, getattr(module, name)) for name in public]
    return "\n\n".join(parts) + "\n"


def public_names(module: Any) -> list[str]:
    """The names of ``__all__``, or those that the module itself defines without an underscore."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__, key=str.lower)
    own = (name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__)
    return sorted((name for name in own if not name.startswith("_")), key=str.lower)


def _first(module: Any) -> str:
    return _prose(" ".join((module.__doc__ or "").split("\n\n")[0].split()))


def _entry(module: str, name: str, value: Any) -> str:
    """Heading, signature and docstring of a name; of a value that is neither function nor class, the value."""
    lines = [f"## {name}"]
    if not callable(value):
        shown = repr(value)
        lines.append(f"```python\n{name} = {shown if len(shown) <= 400 else type(value).__name__ + '(...)'}\n```")
        return "\n\n".join(lines)
    lines.append(f"```python\n{_signature(f'{module}.{name}', value)}\n```")
    lines.append(_markdown(inspect.getdoc(value) or ""))
    if inspect.isclass(value):
        lines += _methods(value)
    return "\n\n".join(line for line in lines if line)


def _methods(value: type) -> Iterator[str]:
    for name, member in vars(value).items():
        written = getattr(member, "__doc__", None)
        if written and (name == "__call__" or not name.startswith("_")) and inspect.isfunction(member):
            yield f"### {value.__name__}.{name.replace('__call__', '(call)')}"
            yield f"```python\n{_signature(name, member)}\n```\n\n{_markdown(inspect.getdoc(member) or '')}"


def _signature(name: str, value: Any) -> str:
    """Of a function, one parameter a line where it is long; annotations stay out, as the text says the types."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return name
    words, starred = [], False
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY and not starred:
            words, starred = [*words, "*"], True
        starred = starred or each.kind is each.VAR_POSITIONAL
        prefix = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        default = "" if each.default is each.empty else f"={_plain(each.default)}"
        words.append(f"{prefix}{each.name}{default}")
    line = f"{name}({', '.join(words)})"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {word},\n" for word in words) + ")"


def _plain(default: Any) -> str:
    shown = repr(default)
    return getattr(default, "__name__", shown) if callable(default) or " at 0x" in shown else shown


def _markdown(doc: str) -> str:
    """A docstring in Google's style as Markdown: sections become lists."""
    pieces = _SECTION.split(doc)
    parts = [_prose(pieces[0])]
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        # What follows a section without an indent is prose again.
        inside, _, after = re.sub(r"\n(?=\S)", "\0", body, count=1).partition("\0")
        parts.append(f"**{title}**")
        text = inspect.cleandoc(inside)
        parts.append(f"```pycon\n{text}\n```" if title == "Example" else "\n".join(_list(text)))
        parts.append(_prose(after))
    return "\n\n".join(part for part in parts if part.strip())


def _list(text: str) -> Iterator[str]:
    """Entries of a section as items; lines that continue one are joined to it."""
    items: list[str] = []
    for line in text.splitlines():
        if items and line.startswith((" ", "\t")):
            items[-1] += f" {line.strip()}"
        elif _ENTRY.match(line) or not items:
            items.append(line.strip())
        else:
            items[-1] += f" {line.strip()}"
    for item in items:
        yield "- " + _prose(_ENTRY.sub(r"`\1`: ", item))


def _prose(text: str) -> str:
    """Text whose signs are no HTML; code between backticks stays."""
    parts = re.split(r"(`[^`]*`)", text.replace("``", "`").strip())
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)
