"""Arrays come out of pickles of every protocol; nothing is executed, and nothing else comes out."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyview.backbones import load_backbone
from manyview.backbones.pickles import safe_pickle
from manyview.backbones.pickles.safe_pickle import ForbiddenNameError, StoredArray, read_pickle
from manyview.errors import UserError


def read(content: bytes) -> Any:
    return read_pickle(io.BytesIO(content))


ARRAYS = [
    np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(0, 2, 1),
    np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    np.arange(5, dtype=">f8"),
    np.arange(5, dtype=np.float16)[::2],
    np.array(7),
    np.array([True, False]),
    np.zeros((1, 0), np.float32),
]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_come_out_as_they_went_in(array: np.ndarray, protocol: int) -> None:
    if array.size == 0 and protocol == 2:
        pytest.skip("protocol 2 calls bytes() for an empty array")
    stored = read(pickle.dumps({"a": [array], "b": collections.OrderedDict(c=1.5)}, protocol))
    assert stored["b"] == {"c": 1.5}
    (found,) = stored["a"]
    assert isinstance(found, StoredArray)
    assert found.values is not None
    assert found.values.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found.values, array)


def test_the_names_of_older_numpy_are_known() -> None:
    content = pickle.dumps(ARRAYS[0], 2)
    assert b"numpy._core.multiarray" in content
    found = read(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    np.testing.assert_array_equal(found.values, ARRAYS[0])


class Calls:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [os.mkdir, open, exec, getattr, np.fromfile, np.load, argparse.Namespace])
def test_nothing_else_is_called(function: Callable[..., object], protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    arguments: tuple[object, ...] = () if function is argparse.Namespace else (str(marker), "w")
    content = pickle.dumps({"model": {"a": np.ones(3), "b": Calls(function, *arguments)}}, protocol)
    with pytest.raises(ForbiddenNameError):
        read(content)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_malicious_pkl_is_refused_in_one_sentence(protocol: int, tmp_path: Path) -> None:
    marker, file = tmp_path / "executed", tmp_path / "w.pkl"
    file.write_bytes(pickle.dumps({"model": {"stem.conv1.weight": Calls(os.mkdir, str(marker))}}, protocol))
    with pytest.raises(UserError, match=r"holds more than weights \(posix\.mkdir\): loading it could execute code"):
        load_backbone(file, "resnet18")
    assert not marker.exists()
    pickle.loads(file.read_bytes())
    assert marker.exists()  # So it would have.


def test_objects_in_an_array_are_refused() -> None:
    with pytest.raises(ForbiddenNameError, match=r"numpy\.dtype\('O8'\)"):
        read(pickle.dumps(np.array([{}, {}], dtype=object)))


def test_another_codec_is_refused() -> None:
    import _codecs

    with pytest.raises(ForbiddenNameError, match=r"_codecs\.encode"):
        read(pickle.dumps(Calls(_codecs.encode, "a", "rot13")))


STATE = b"}(X\x01\x00\x00\x00aK\x01ub"  # {"a": 1}, given to the object before it as its state.


@pytest.mark.parametrize("name", sorted(safe_pickle._REPLACEMENTS))
def test_what_a_name_stands_for_cannot_be_changed(name: str) -> None:
    module, _, function = name.rpartition(".")
    content = b"\x80\x02c" + f"{module}\n{function}\n".encode() + STATE + b"."
    pickletools.dis(content, out=io.StringIO())  # It is a proper pickle.
    with pytest.raises(pickle.UnpicklingError, match="a name with a state"):
        read(content)


def test_an_array_called_by_its_type_is_refused() -> None:
    with pytest.raises(ForbiddenNameError, match=r"numpy\.ndarray"):
        read(pickle.dumps(Calls(np.ndarray, (2, 3))))


@pytest.mark.parametrize(
    "state",
    [
        (1, (3,), np.dtype("f4"), False, b"\0" * 11),
        (1, (10**12,), np.dtype("f4"), False, b"\0" * 12),
        (1, (-3, -1), np.dtype("f4"), False, b"\0" * 12),
        (1, [3], np.dtype("f4"), False, b"\0" * 12),
        (1, (3,), "f4", False, b"\0" * 12),
        (1, (3,), np.dtype("f4"), False, [0, 0, 0]),
        (1, (3,), np.dtype("f4"), False),
        None,
    ],
)
def test_an_array_that_contradicts_itself_is_refused(state: object) -> None:
    class Wrong:
        def __reduce__(self) -> Any:
            return (*np.ones(3).__reduce__()[:2], {"": state} if state is None else state)

    with pytest.raises(pickle.UnpicklingError, match="an array"):
        read(pickle.dumps(Wrong()))


@pytest.mark.parametrize("content", [{"a": 1}, {"model": {}}, {"model": [1]}, [1, 2], "text", 3])
def test_a_pickle_without_arrays_is_no_checkpoint(content: object, tmp_path: Path) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match="is not a checkpoint: a pickle without named arrays"):
        load_backbone(tmp_path / "w.pkl", "resnet18")


def test_arrays_among_other_things_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": {"a": np.ones(2), "b": "text"}}))
    with pytest.raises(UserError, match="does not hold a network's weights by their own names"):
        load_backbone(tmp_path / "w.pkl", "resnet18")
