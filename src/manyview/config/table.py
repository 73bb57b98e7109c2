"""Every setting in a table, from the schema itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from manyview.config.schema import BlockViewsConfig, PretrainConfig, WholeViewsConfig


def settings() -> list[tuple[str, str, str]]:
    """Dotted key, default and meaning of every setting, in the schema's order."""
    return [(key, _default(field), str(field.description or "")) for key, field in _fields(PretrainConfig, "")]


def markdown() -> str:
    """The settings as a Markdown table."""
    rows = [f"| `{key}` | {default} | {meaning} |" for key, default, meaning in settings()]
    return "\n".join(["| key | default | meaning |", "| --- | --- | --- |", *rows])


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if prefix + name == "views":
            views = {**WholeViewsConfig.model_fields, **BlockViewsConfig.model_fields}
            yield from ((f"views.{key}", value) for key, value in views.items())
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


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
