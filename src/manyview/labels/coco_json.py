"""What the readers of COCO's instances files say alike of a file that cannot be used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from manyview.errors import UserError
from manyview.images.files import read_text

MALFORMED = (AttributeError, KeyError, TypeError, ValueError, OverflowError)
"""What taking values out of entries of any other layout raises."""


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(read_text(file, "labels"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{file} is not a JSON file: {error}") from error


def fault(error: Exception) -> str:
    """What an entry of another layout lacks or is, in words."""
    return f"lacks {error}" if isinstance(error, KeyError) else f"is malformed ({error})"


def check_unique(values: Iterable[object], what: str) -> None:
    """Refuse a value that stands there twice.

    Raises:
        UserError: with ``what``, such as "labels.json has the category", before the value.
    """
    twice = next((value for value, count in Counter(values).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{what} {twice} more than once: each may be there only once")
