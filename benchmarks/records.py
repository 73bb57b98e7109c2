"""Results of benchmarks: JSON with provenance, and tables in the documents."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from manyview.runs import atomic_write, provenance

_PACKAGES = ("opencv-python-headless", "simplejpeg", "lightly", "kornia", "pytorch-metric-learning")


def origin(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Provenance of a result: time, command, versions, machine."""
    about = provenance()
    about["command"] = shlex.join(["python", "-m", f"benchmarks.{module}", *arguments])
    about["versions"] |= {package: _version(package) for package in _PACKAGES}
    about["machine"] |= {"processor": _processor(), "cores": cores()}
    if torch.cuda.is_available():
        about["machine"]["accelerator"] = torch.cuda.get_device_name()
        about["versions"]["cuda"] = torch.version.cuda
    return about


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a result atomically; its folder is created if necessary."""
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(file, json.dumps(content, indent=1) + "\n")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest of the rounds of a measurement."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A Markdown table; columns after the first are figures and right-aligned."""
    rules = ["---"] * text_columns + ["---:"] * (len(head) - text_columns)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rules, *rows))


def put_between_markers(page: Path, name: str, text: str) -> None:
    """Replace the text between ``<!-- name -->`` and ``<!-- end of name -->`` in a document.

    Raises:
        ValueError: the document does not hold each marker once.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    content = page.read_text()
    if content.count(begin) != 1 or content.count(end) != 1:
        raise ValueError(f"{page} must hold the lines '{begin.strip()}' and '{end}' once each")
    before, rest = content.split(begin)
    atomic_write(page, before + begin + text.rstrip() + "\n" + end + rest.split(end)[1])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
