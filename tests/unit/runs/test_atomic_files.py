from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from manyview.errors import UserError
from manyview.runs import atomic_write, write_tensors


def test_content_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content, expected in (("é", "é".encode()), (b"\x00", b"\x00"), (lambda p: p.write_text("3") and None, b"3")):
        atomic_write(path, content)
        assert path.read_bytes() == expected
        assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("operation", ["fsync", "replace", "write"])
@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "the disk is full; free some space, then try again"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EACCES, "no permission to write there; choose another folder"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_failed_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, number: int, advice: str
) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    owner: Any = {"fsync": os, "replace": Path, "write": Path}[operation]
    monkeypatch.setattr(owner, "write_bytes" if operation == "write" else operation, refuse)

    with pytest.raises(UserError, match=advice) as caught:
        atomic_write(path, "new")

    assert str(caught.value).startswith(f"cannot write {path}: ")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("parent", ["missing", "file"])
def test_impossible_place(tmp_path: Path, parent: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match=r"^cannot write "):
        atomic_write(tmp_path / parent / "a", "x")


def test_tensors_with_metadata(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {"b": torch.arange(5), "a": torch.rand(3, 2), "c": torch.tensor(1.5, dtype=torch.bfloat16)}
    metadata = {f"key {number}": f"välue\n{number}" for number in range(20)}

    write_tensors(path, tensors, metadata)

    with safe_open(str(path), framework="pt") as file:
        assert {key: value for key, value in file.metadata().items() if key in metadata} == metadata
        assert file.metadata().keys() - metadata == {"checksum", "sha256"}
        assert set(file.keys()) == set(tensors)
        for name, value in tensors.items():
            assert torch.equal(file.get_tensor(name), value)
            assert file.get_tensor(name).dtype == value.dtype


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(5), "a": torch.ones(3)}
    metadata = {str(number): "x" for number in range(20)}

    write_tensors(tmp_path / "1", tensors, metadata)
    write_tensors(tmp_path / "2", dict(reversed(tensors.items())), dict(reversed(metadata.items())))

    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_tensors_on_a_full_disk(tmp_path: Path) -> None:
    """A real refusal by the system: the process may write no file of more than 4096 bytes."""
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": torch.zeros(1)})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(UserError, match=r"cannot write .*a\.safetensors: File too large"):
            write_tensors(path, {"a": torch.zeros(5000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_provenance_names_command_and_versions() -> None:
    from manyview.runs.provenance import _commit, provenance

    _commit.cache_clear()
    found = provenance()

    assert found["command"][1:] == sys.argv[1:]
    assert found["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    inside = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    if inside.returncode == 0 and found["commit"] is not None:
        assert found["commit"].removesuffix("+changes") == inside.stdout.strip()
