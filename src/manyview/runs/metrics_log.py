"""Lines of ``metrics.jsonl``: one JSON record each, with the CRC-32 of the rest, by which a damaged line is found."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from manyview.parsing import parse_json

_SUM = "crc32"


def to_line(record: Mapping[str, Any]) -> str:
    """A record as a line, with its checksum as the last entry."""
    text = json.dumps(record)
    return f'{text[:-1]}, "{_SUM}": "{_checksum(text)}"}}\n'


def read_lines(file: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """The intact records of a file, without their checksums.

    Records of earlier versions have none; after a line with one, all have.

    Args:
        file: it may be missing.

    Returns:
        the records, and the numbers, from 1, of the damaged lines; a last line without its end, as a crash leaves it,
        is none.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return [], []
    lines = content.split(b"\n")
    records: list[dict[str, Any]] = []
    damaged: list[int] = []
    summed = False
    for number, line in enumerate(lines, 1):
        record, has_sum = _record(line)
        summed = summed or has_sum
        if record is not None and has_sum == summed:
            records.append(record)
        elif line and number < len(lines):
            damaged.append(number)
    return records, damaged


def _record(line: bytes) -> tuple[dict[str, Any] | None, bool]:
    """The record of a line, None if it is damaged; and whether the line has a checksum."""
    try:
        record = parse_json(line)
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            return None, False
        expected = record.pop(_SUM, None)
        return (record if expected in (None, _checksum(json.dumps(record))) else None), expected is not None
    except ValueError:
        return None, False


def describe_damage(file: Path, damaged: Iterable[int]) -> str:
    """A sentence on damaged lines; "" if there are none."""
    numbers = list(damaged)
    if not numbers:
        return ""
    lines = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    which = f"line {lines} of {file} is" if len(numbers) == 1 else f"lines {lines} of {file} are"
    return f"{which} damaged and left out; all others are kept"


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
