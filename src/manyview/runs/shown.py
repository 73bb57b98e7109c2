"""A run in a few words, as ``repr`` and notebooks show it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manyview.parsing import parse_json
from manyview.runs.record import CONFIG_FILE, RUN_FILE
from manyview.runs.sealed import written_step


def facts(folder: Path, weights: Path) -> dict[str, str]:
    """What is known of a run by its files, by name and as text; {} for a folder that holds none. It never fails.

    Args:
        folder: of the run.
        weights: the file of its weights, which says their step.
    """
    config, run = _read(folder / CONFIG_FILE), _read(folder / RUN_FILE)
    found = {
        "recipe": config.get("recipe"),
        "backbone": _part(config, "backbone").get("name"),
        "images": _counted(_part(run, "plan").get("photographs")),
        "step": _progress(written_step(weights), _part(run, "plan").get("steps")),
        "began": run.get("started"),
    }
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = content.get(name)
    return part if isinstance(part, Mapping) else {}


def _read(file: Path) -> Mapping[str, Any]:
    try:
        content = parse_json(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _counted(number: Any) -> str | None:
    return f"{number:,}" if isinstance(number, int) else None


def _progress(step: int, steps: Any) -> str | None:
    return f"{step:,} of {steps:,}" if isinstance(steps, int) else None
