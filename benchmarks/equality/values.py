"""What a command left in its folder, as ``{"file:dotted.key": number or hash}``.

Of JSON and CSV all numbers, truth values and nulls are taken. Of words only names of images and fingerprints of data
are: sentences may be written in another way. Pictures of matplotlib and curves of TensorBoard are left out.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.equality.tensors import READERS

Value = int | float | bool | str | None
Values = dict[str, Value]

# Where and when it ran and how long it took; and what was asked for, which is no result.
LEFT_OUT = frozenset(
    {"provenance", "versions", "command", "commit", "started", "machine", "asked"}
    | {"elapsed", "seconds", "seconds_per_iteration", "views_per_second", "waiting", "environment", "crc32"}
)
FINGERPRINTS = ("fingerprint",)
_IMAGE_NAME = re.compile(r"[^/].*\.(jpg|png|npy)")
_EMBEDDED_JPEG = re.compile(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)")
CHECKPOINTS = "checkpoints"


def read_folder(folder: Path) -> Values:
    """The values of all files below a folder, sorted."""
    found: Values = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if CHECKPOINTS in path.relative_to(folder).parts:
            # A resumed run needs all that is in them, whatever it is called: the keys are the contents.
            if path.suffix == ".safetensors":
                found |= {f"{CHECKPOINTS}:{digest}": True for digest in READERS[path.suffix](path).values()}
        elif not _is_config(path):
            found |= {f"{path.relative_to(folder).as_posix()}:{key}": value for key, value in read_file(path)}
    return found


def _is_config(path: Path) -> bool:
    """Whether it is a run's configuration: what was asked for, in a form that may change."""
    return path.name == "config.json" and path.with_name("run.json").is_file()


def read_file(path: Path) -> Iterator[tuple[str, Value]]:
    """Keys and values of one file; nothing of one that holds neither numbers nor tensors."""
    if path.suffix in READERS:
        yield from READERS[path.suffix](path).items()
    elif path.suffix == ".json":
        yield from flatten(json.loads(path.read_text()))
    elif path.suffix == ".jsonl":
        yield from flatten([json.loads(line) for line in path.read_text().splitlines()])
    elif path.suffix == ".csv":
        with path.open(newline="") as lines:
            yield from flatten([{key: _number(cell) for key, cell in row.items()} for row in csv.DictReader(lines)])
    elif path.suffix == ".html":
        for index, jpeg in enumerate(_EMBEDDED_JPEG.findall(path.read_text())):
            yield f"image.{index}", hashlib.sha256(base64.b64decode(jpeg)).hexdigest()


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, Value]]:
    """The numbers of nested JSON under dotted keys."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in LEFT_OUT:
                yield from flatten(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from flatten(item, f"{key}.{index}" if key else str(index))
    elif not isinstance(value, str) or _IMAGE_NAME.fullmatch(value) or key.split(".")[-1] in FINGERPRINTS:
        yield key, value


def _number(cell: str | None) -> Any:
    try:
        return float(cell or "")
    except ValueError:
        return cell or ""
