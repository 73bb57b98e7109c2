"""Safe reading of pickles of plain data and NumPy arrays, as written by Detectron2: no code is executed.

A pickle names functions, and unpickling calls them. Here each name that an array needs is replaced by a function of
this module that only checks and stores; any other name raises an error. So nothing outside this module is looked up,
imported or called, including NumPy's own reconstruction.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from io import BufferedIOBase
from typing import Any, NoReturn

import numpy as np

_DTYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


class ForbiddenNameError(pickle.UnpicklingError):
    """A pickle that contains something other than plain data and arrays.

    Attributes:
        name: the name found in it, as ``module.name``.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"the pickle names {name}")
        self.name = name


def read_pickle(file: BufferedIOBase) -> Any:
    """Read pickled dicts, lists, strings and numbers; arrays become ``StoredArray``.

    Raises:
        ForbiddenNameError: it contains anything else.
        Exception: of any type, if it is damaged.
    """
    # Detectron's oldest files come from Python 2, whose byte strings Latin-1 preserves.
    return _Unpickler(file, encoding="latin1").load()


class StoredDtype:
    """Data type of an array: boolean, integer or floating-point, of either byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: object) -> None:
        if code not in _DTYPES:
            raise ForbiddenNameError(f"numpy.dtype({code!r})")
        self.code, self.order = str(code), "="

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError("an unknown byte order")
        self.order = order


class StoredArray:
    """An array of the file; ``values`` is None until its data has been read."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array of unknown layout")
        _, shape, dtype, column_major, content = state
        # Byte strings of Python 2 arrive as text.
        content = content.encode("latin1") if isinstance(content, str) else content
        self.fill(content, dtype, shape, "F" if column_major else "C")

    def fill(self, content: object, dtype: object, shape: object, order: object) -> None:
        """Set the array's values."""
        if (
            not isinstance(content, bytes | bytearray)
            or not isinstance(dtype, StoredDtype)
            or not isinstance(shape, tuple)
            or not all(isinstance(length, int) and length >= 0 for length in shape)
            or order not in ("C", "F")
        ):
            raise pickle.UnpicklingError("an array of unknown layout")
        numpy_type = np.dtype(f"{dtype.order}{dtype.code}")
        if len(content) != math.prod(shape) * numpy_type.itemsize:
            raise pickle.UnpicklingError("an array that is shorter or longer than its shape")
        numbers = np.frombuffer(content, numpy_type).astype(numpy_type.newbyteorder("="))
        self.values = numbers.reshape(shape, order="F" if order == "F" else "C")


def _empty_array(*_: object) -> StoredArray:
    return StoredArray()


def _array_of_buffer(content: object, dtype: object, shape: object, order: object, axes: Any = None) -> StoredArray:
    array = StoredArray()
    array.fill(content, dtype, shape, "C" if order == "K" else order)
    if order == "K":  # Axes in another order, such as those of a network in channels_last.
        assert array.values is not None
        array.values = array.values.transpose(axes)
    return array


def _dtype(code: object, *_: object) -> StoredDtype:
    return StoredDtype(code)


def _ordered_dict(*items: object) -> dict[Any, Any]:
    return dict(*items)  # type: ignore[call-overload, no-any-return]


def _bytes_of_text(text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ForbiddenNameError("_codecs.encode")
    return text.encode("latin1")


def _array_type(*_: object) -> NoReturn:
    raise ForbiddenNameError("numpy.ndarray")  # Pickles name it as a type, but never call it.


class _Replacement:
    """Replacement of a named function, without attributes that a pickle could overwrite."""

    __slots__ = ("_function",)
    _function: Callable[..., object]

    def __init__(self, function: Callable[..., object]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise pickle.UnpicklingError("a name with a state")

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("a name with a state")


_REPLACEMENTS = {
    "numpy.ndarray": _Replacement(_array_type),
    "numpy.dtype": _Replacement(_dtype),
    "numpy.core.multiarray._reconstruct": _Replacement(_empty_array),
    "numpy._core.multiarray._reconstruct": _Replacement(_empty_array),
    "numpy.core.numeric._frombuffer": _Replacement(_array_of_buffer),
    "numpy._core.numeric._frombuffer": _Replacement(_array_of_buffer),
    "collections.OrderedDict": _Replacement(_ordered_dict),
    "_codecs.encode": _Replacement(_bytes_of_text),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        replacement = _REPLACEMENTS.get(f"{module}.{name}")
        if replacement is None:
            raise ForbiddenNameError(f"{module}.{name}")
        return replacement
