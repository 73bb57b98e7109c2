"""Methods: one paper a file, each a module from a batch of views to its loss. Every file of the folder is found."""

from __future__ import annotations

import importlib
import pkgutil

from manyview.backbones import Backbone
from manyview.config import PretrainConfig
from manyview.methods.base import Method, MethodBatch

__all__ = ["METHODS", "Method", "MethodBatch", "build_method"]


def _find() -> dict[str, type[Method]]:
    """The methods of this folder's modules, by the default name of their section."""
    found: dict[str, type[Method]] = {}
    for file in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{file.name}")
        for thing in vars(module).values():
            is_method = isinstance(thing, type) and issubclass(thing, Method) and thing is not Method
            if is_method and thing.__module__ == module.__name__:
                found[str(thing.section.model_fields["name"].default)] = thing
    return found


METHODS = _find()
"""By the value of ``method.name``."""


def build_method(backbone: Backbone, config: PretrainConfig) -> Method:
    """The method that ``method.name`` chooses, around a backbone; see ``Method.build``."""
    return METHODS[config.method.name].build(backbone, config)
