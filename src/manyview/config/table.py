"""Table of all settings, generated from the schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from manyview.config.choices import CHOICES, Choice
from manyview.config.schema import PretrainConfig


def settings() -> list[tuple[str, str, str]]:
    """Dotted key, default and description of every setting, in the schema's order."""
    return list(_fields(PretrainConfig, ""))


def markdown() -> str:
    """The settings as a Markdown table."""
    rows = [f"| `{key}` | {default} | {meaning} |" for key, default, meaning in settings()]
    return "\n".join(["| key | default | meaning |", "| --- | --- | --- |", *rows])


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        if prefix + name in CHOICES:
            yield from _fields_of_choice(CHOICES[prefix + name])
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, _default(field), str(field.description or "")


def _fields_of_choice(choice: Choice) -> Iterator[tuple[str, str, str]]:
    """The settings of all options, each once, with the options that have it if not all do, and differing defaults."""
    names = dict.fromkeys(name for section in choice.options.values() for name in section.model_fields)
    for name in names:
        having = choice.having(name)
        fields = {option: choice.options[option].model_fields[name] for option in having}
        first, *others = having
        default = _default(fields[first])
        differing = [
            f"{option}: {_default(fields[option])}" for option in others if _default(fields[option]) != default
        ]
        if differing and name != choice.tag:
            default += f" ({', '.join(differing)})"
        only = f" ({choice.key}={' or '.join(having)} only)" if len(having) < len(choice.options) else ""
        yield f"{choice.section}.{name}", default, str(fields[first].description or "") + only


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return _spell(field.default)


def _spell(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_spell(item) for item in value) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
