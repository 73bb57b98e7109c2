"""Pre-training methods: one file per method, a module from a batch of views to its loss. All files are registered."""

from __future__ import annotations

import importlib
import pkgutil

from manyview.backbones import Backbone
from manyview.config import PretrainConfig
from manyview.methods.base import Method, MethodBatch, Moment

__all__ = ["METHODS", "Method", "MethodBatch", "Moment", "build_method"]


def _find() -> dict[str, type[Method]]:
    """The ``Method`` subclasses in this folder's modules, by the default name of their section."""
    found: dict[str, type[Method]] = {}
    for file in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{file.name}")
        for member in vars(module).values():
            is_method = isinstance(member, type) and issubclass(member, Method) and member is not Method
            if is_method and member.__module__ == module.__name__:
                found[str(member.section.model_fields["name"].default)] = member
    return found


METHODS = _find()
"""By the value of ``method.name``."""


def build_method(backbone: Backbone, config: PretrainConfig) -> Method:
    """Build the method selected by ``method.name`` around a backbone; see ``Method.build``."""
    return METHODS[config.method.name].build(backbone, config)
