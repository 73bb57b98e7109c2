"""The verbs of the command, known by name and by one sentence each without importing them."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

ABOUT = "Pre-train a vision backbone on unlabeled images, and evaluate it."
OPTIONS = (
    ("--version", "Print the version and exit."),
    ("--install-completion", "Install completion for the current shell."),
    ("--show-completion", "Show completion for the current shell, to copy it or customize the installation."),
    ("--help, -h", "Show this message and exit."),
)
"""Options of the command itself, with what they do."""

_NAMES = (
    *("check", "pretrain", "linear", "knn", "probe", "compare", "embed", "neighbours", "check-weights", "detect"),
    *("export", "views", "report", "watch", "reproduce", "demo"),
)

MODULES = MappingProxyType(
    {
        **{name: f"manyview.cli.{name.replace('-', '_')}" for name in _NAMES},
        "settings": "manyview.cli.parts.settings",
    }
)
"""Modules by verb, in the order of the help; each has a function of the verb's name."""


def program_name() -> str:
    """How this process was called, as usage lines show it."""
    return "python -m manyview" if Path(sys.argv[0]).name == "__main__.py" else "manyview"


def function_of(verb: str) -> Callable[..., None]:
    """The function that a verb calls, whose module is imported."""
    found: Callable[..., None] = getattr(importlib.import_module(MODULES[verb]), verb.replace("-", "_"))
    return found


def summary_of(verb: str) -> str:
    """The first sentence of a verb's help, read from its source: the list of all verbs need not import them."""
    spec = find_spec(MODULES[verb])
    loader: Any = spec.loader if spec else None
    source = loader.get_source(MODULES[verb]) if hasattr(loader, "get_source") else None
    found = re.search(rf'^def {verb.replace("-", "_")}\(.*?"""(.+?)(?:"""|\n)', source or "", re.DOTALL | re.MULTILINE)
    if found:
        return found[1].strip()
    return (function_of(verb).__doc__ or "").partition("\n")[0]  # installed without sources
