"""manyview: pre-train a vision backbone on images that hold several things at once.

The public names load what they need when they are first used, so that importing the package, and the command's
``--help``, stay fast; ``__init__.pyi`` says to type checkers and editors what they are.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_HOME = {
    "load_backbone": "manyview.backbones",
    "pretrain": "manyview.recipes",
}
_MODULES = (
    *("backbones", "config", "detection", "evaluation", "export", "heads", "images", "labels", "losses", "measures"),
    *("options", "pooling", "recipes", "report", "scenes", "views"),
)

__all__ = ["__version__", "load_backbone", "pretrain", *_MODULES]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"manyview.{name}")
    raise AttributeError(f"module 'manyview' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
