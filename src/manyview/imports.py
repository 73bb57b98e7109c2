"""Imports of libraries without the packages that they import for one name of them.

torchvision, timm and Lightning Fabric import PyTorch's compiler for two functions and a class, which takes two thirds
as long as the import of PyTorch itself; Fabric imports torchmetrics, which takes longer still, for its version. Every
process that is started would wait for that.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from types import FunctionType, ModuleType
from typing import Any

_METRICS, _COMPILER, _OF_COMPILER = "torchmetrics", "torch._dynamo", "torch._dynamo.utils"


class _Compiled(type):
    """The type of a class that has the instances of another one, once that one's module is imported."""

    def __instancecheck__(cls, instance: Any) -> bool:
        compiler = sys.modules.get(_COMPILER)
        return compiler is not None and isinstance(instance, compiler.OptimizedModule)


class OptimizedModule(metaclass=_Compiled):
    """What ``torch.compile`` makes of a module: the compiler's class of this name, which is not imported for it."""


def is_compile_supported(device_type: Any) -> Any:
    """The compiler's function of this name, which is imported when it is called."""
    return importlib.import_module(_OF_COMPILER).is_compile_supported(device_type)


def disable(function: Any = None, *options: Any, **named: Any) -> Any:
    """The compiler's function of this name, which leaves a function out of what is compiled.

    The compiler is imported as soon as anything is compiled that calls the function.
    """
    if not isinstance(function, FunctionType):
        return importlib.import_module(_COMPILER).disable(function, *options, **named)

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        from torch.compiler import is_compiling

        if not is_compiling():
            return function(*args, **keywords)
        return importlib.import_module(_COMPILER).disable(function, *options, **named)(*args, **keywords)

    return call


class _StandIn(ModuleType):
    """A module that has a few names of another one; any other name that is asked for brings the other one."""

    def __init__(self, name: str, names: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__dict__.update(names)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what is asked of all modules, as by inspect
            raise AttributeError(name)
        _remove_all()
        return getattr(importlib.import_module(self.__name__), name)


def _remove_all() -> None:
    for name in (_METRICS, _COMPILER, _OF_COMPILER):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


@contextmanager
def _standing_in() -> Iterator[None]:
    """Context manager in which modules that are not imported yet have little more than the names that are read."""
    names: dict[str, dict[str, Any]] = {
        _METRICS: {"__version__": metadata.version(_METRICS)},
        _COMPILER: {"OptimizedModule": OptimizedModule, "disable": disable},
        _OF_COMPILER: {"is_compile_supported": is_compile_supported},
    }
    sys.modules.update({name: _StandIn(name, names[name]) for name in names if name not in sys.modules})
    try:
        yield
    finally:
        _remove_all()


def import_lightly(*modules: str) -> None:
    """Import modules without what they do not use of heavy packages; a version that uses more of them gets them."""
    if all(module in sys.modules for module in modules):
        return
    try:
        with _standing_in():
            for module in modules:
                importlib.import_module(module)
    except ImportError:
        for module in modules:
            importlib.import_module(module)
