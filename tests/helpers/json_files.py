"""JSON files with something wrong in them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any


def changed(content: dict[str, Any], path: Sequence[str | int], value: Any) -> dict[str, Any]:
    """A file's content with one value changed, appended (at "+" of a list), or removed where the new one is None."""
    content = copy.deepcopy(content)
    *way, last = path
    node: Any = content
    for step in way:
        node = node[step]
    if value is None:
        del node[last]
    elif last == "+":
        node.append(value)
    else:
        node[last] = value
    return content
