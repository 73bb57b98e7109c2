"""Provenance of results (command, versions, commit, machine), and a check of the settings when one is resumed."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manyview.errors import UserError
from manyview.runs.environment import environment

_PACKAGES = (
    *("manyview", "torch", "torchvision", "timm", "pytorch-lightning", "numpy", "pillow", "safetensors"),
    *("opencv-python-headless", "simplejpeg", "scikit-learn"),
)
_LONGEST = 40  # characters of a value in a message


def provenance() -> dict[str, Any]:
    """Start time, command, package versions, commit, machine and environment, as plain data for a run or a result."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name.replace("__main__.py", "manyview"), *sys.argv[1:]],
        "versions": _versions(),
        "commit": _commit(),
        "machine": {"system": platform.platform(), "processor": platform.machine()},
        "environment": environment(),
    }


@functools.cache  # of what is imported, which stays
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache  # of the code that runs, whatever the checkout holds later
def _commit() -> str | None:
    """Commit of the package's checkout, with ``+changes`` if it is modified; None for an installed package."""
    folder = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if git("ls-files", "--error-unmatch", str(Path(__file__).resolve())):
            changed = git("status", "--porcelain", "--untracked-files=no", str(folder))
            return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        pass
    return None


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any], what: str, folder: Path) -> None:
    """Check that work is resumed with the settings that it was started with.

    Args:
        before: the settings at the start, from a JSON file.
        now: the current settings, as plain data.
        what: what is resumed, for the message.
        folder: its folder.

    Raises:
        UserError: entries differ; all of them are listed.
    """
    changed = differences(before, now)
    if changed:
        raise UserError(
            f"the {what} in {folder} was started with other settings: {'; '.join(changed)}; resume it with "
            "the same, or choose another folder"
        )


def by_dotted_key(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested entries by dotted key, such as "train.objects"; an empty mapping gives none."""
    for key, value in entries.items():
        if isinstance(value, Mapping):
            yield from by_dotted_key(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Each entry that differs, as "train.objects was 12, now 13"; null where it is missing.

    Args:
        before: plain data from a JSON file, nested by name.
        now: plain data.
    """
    then, here = (
        dict(by_dotted_key(before)),
        dict(by_dotted_key(json.loads(json.dumps(now)))),
    )  # turns tuples into lists
    return [
        f"{key} was {_short(then.get(key))}, now {_short(here.get(key))}"
        for key in {**then, **here}
        if then.get(key) != here.get(key)
    ]


def changed_surroundings(before: Mapping[str, Any]) -> str:
    """What differs from the start of resumed work in software and hardware, as a sentence; "" if nothing does.

    Args:
        before: ``provenance`` of the start. What an earlier version did not record does not differ.
    """
    now: dict[str, Any] = {"versions": _versions(), "environment": environment()}
    then = {key: before[key] for key in now if isinstance(before.get(key), Mapping)}
    now = {key: now[key] for key in then}
    found = [entry.partition(".")[2] for entry in differences(then, now)]
    if not found:
        return ""
    return f"Since the start {'; '.join(found)}: the last bits of the results may differ from an undisturbed run's."


def _versions() -> dict[str, str | None]:
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
