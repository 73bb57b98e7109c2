"""What differs between the settings that something was begun with and those it is to be resumed with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manyview.errors import UserError

_LONGEST = 40  # characters of a value, as it is told


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any], what: str, folder: Path) -> None:
    """Refuse to go on in another way than before.

    Args:
        before: as it was begun, from a JSON file.
        now: as it is to go on, as plain data.
        what: that is resumed, as the user calls it.
        folder: where it is.

    Raises:
        UserError: an entry differs; all that do are listed.
    """
    then, here = dict(_flat(before)), dict(_flat(json.loads(json.dumps(now))))  # which makes lists of tuples
    changed = [
        f"{key} was {_short(then.get(key))}, now {_short(here.get(key))}"
        for key in {**then, **here}
        if then.get(key) != here.get(key)
    ]
    if changed:
        raise UserError(
            f"the {what} in {folder} was begun in another way: {'; '.join(changed)}; resume it as it was, or choose "
            "another folder"
        )


def _flat(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Entries by their path, such as "train.objects"."""
    for key, value in entries.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
