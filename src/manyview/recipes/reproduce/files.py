"""Reading of a table's or a scale's TOML file: by name from the package, or by path."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from manyview.config.resolve import nearest_name
from manyview.config.section import Section
from manyview.errors import UserError
from manyview.parsing import parse_toml

Content = TypeVar("Content", bound=Section)


def shipped(folder: str) -> dict[str, Path]:
    """The package's TOML files of a folder of ``manyview.recipes`` by their names without ending."""
    root = Path(str(resources.files("manyview.recipes") / folder))
    return {file.stem: file for file in sorted(root.glob("*.toml"))}


def find(asked: str, folder: str, what: str) -> Path:
    """The file of a name of the package's, or the user's own.

    Args:
        asked: a name, or the path of a ``.toml``.
        folder: of ``manyview.recipes``, "tables" or "scales".
        what: "table" or "scale", for the message.

    Raises:
        UserError: it is neither.
    """
    names = shipped(folder)
    if asked in names:
        return names[asked]
    if asked.endswith(".toml"):
        return Path(asked)
    raise UserError(f"unknown {what} {asked!r}{nearest_name(asked, list(names))}; one of your own ends in .toml")


def read(file: Path, schema: type[Content], what: str) -> Content:
    """Read and check a TOML file.

    Args:
        file: the file.
        schema: its content.
        what: "table" or "scale", for messages.

    Raises:
        UserError: it cannot be read, is not TOML, or does not fit the schema; the first misfit is named.
    """
    try:
        content = parse_toml(file.read_text())
    except OSError as error:
        raise UserError(f"the {what} {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"the {what} {file} is not valid TOML: {error}") from error
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise UserError(f"the {what} {file}: {_sentence(error.errors()[0], schema)}") from None


def _sentence(detail: Any, schema: type[Section]) -> str:
    """The first misfit in words, with the nearest key for an unknown one."""
    location = detail["loc"]
    where = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if detail["type"] == "extra_forbidden":
        return f"unknown key {where}{nearest_name(str(location[-1]), _keys_at(schema, location[:-1]))}"
    if detail["type"] == "missing":
        return f"{where} is missing"
    message = str(detail["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{where}: {message}" if where else message


def _keys_at(schema: type[Section], location: tuple[str | int, ...]) -> list[str]:
    """Keys of the section at a location."""
    section: type[BaseModel] = schema
    for part in location:
        if isinstance(part, str) and part in section.model_fields:
            inner = _section_in(section.model_fields[part].annotation)
            section = inner or section
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that an annotation holds, as in ``tuple[Row, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_section_in(part) for part in getattr(annotation, "__args__", ()))
    return next((found for found in inner if found is not None), None)
