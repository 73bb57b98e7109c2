"""Pickles and archives that would exhaust memory, time or the stack are refused before they are read."""

from __future__ import annotations

import collections
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from manyview.backbones.files import read_tensors
from manyview.backbones.pickles.pickle_scan import HostilePickleError, check_pickle
from manyview.errors import UserError
from tests.helpers.memory import extra_memory, reads_peak_memory

START = b"\x80\x02"
TEXT = b"X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\0"
ENCODE = b"c_codecs\nencode\nq\1X\6\0\0\0latin1q\2"
NUMBERS = b"}q\0(" + b"".join(b"J" + struct.pack("<i", number) + b"K\1" for number in range(5000)) + b"u"
COPY_OF_DICT = b"ccollections\nOrderedDict\nq\1](" + b"h\1h\0\x85R" * 2000 + b"e."
HOSTILE = {
    "memo index": START + b"Nr\xff\xff\xff\x0f.",
    "memo index in digits": START + b"Np268435455\n.",
    "memo index of later objects": START + b"N" + b"q\1" * 5 + b"r\0\0\0\x0f.",
    "nested tuples": START + b"}(" + b")" + b"\x85" * 300000 + b"K\1u.",
    "doubling tuples": START + b"}(" + b")" + b"2\x86" * 60 + b"K\1u.",
    "doubling tuples from the memo": START
    + b"}("
    + b")"
    + b"".join(b"q%ch%c\x86" % (k, k) for k in range(60))
    + b"K\1u.",
    "copies of a text": START + TEXT + ENCODE + b"](" + b"h\1h\0h\2\x86R" * 500 + b"e.",
    "copies of a dictionary": START + NUMBERS + b"0" + COPY_OF_DICT,
    "copies of a dictionary filled later": START + b"}q\0" + COPY_OF_DICT[:-1] + b"0h\0(" + NUMBERS[4:] + COPY_OF_DICT,
}
FAULTS = ("a memo index beyond", "tuples nested too deeply", "objects that are copied again and again")


def archive(pickled: bytes, *, members: dict[str, bytes] | None = None, method: int = zipfile.ZIP_STORED) -> bytes:
    """A file of ``torch.save`` with this description."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method, compresslevel=1) as file:
        for name, content in {"data.pkl": pickled, "version": b"3\n", **(members or {})}.items():
            file.writestr(f"archive/{name}", content)
    return stream.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_exhaust_is_refused(name: str) -> None:
    with pytest.raises(HostilePickleError) as caught:
        check_pickle(io.BytesIO(HOSTILE[name]))
    assert str(caught.value).startswith(FAULTS)


@pytest.mark.parametrize("protocol", range(6))
def test_sound_pickles_pass(protocol: int) -> None:
    text = "a" * 2**20
    shared = {"weights": np.ones((64, 1000), np.float32)}
    content = {
        "model": {f"layer{k}.weight": np.zeros((8, 8), ">f8") for k in range(200)},
        "same": [shared] * 500,
        "texts": [text] * 500,  # as references
        "options": (
            1,
            (2, (3, "four")),
            None,
            True,
            5.0,
            b"six",
            7**80,
            frozenset({8}),
            {9},
            collections.OrderedDict(a=1),
        ),
    }
    stream = io.BytesIO(b"before" + pickle.dumps(content, protocol) + b"behind")
    stream.seek(len(b"before"))
    check_pickle(stream)
    assert stream.read() == b"behind"


def test_files_of_torch_pass(tmp_path: Path) -> None:
    state = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).state_dict()
    for legacy in (False, True):
        torch.save({"state_dict": state, "same": state}, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
        found = read_tensors(tmp_path / "a.pth")
        assert list(found.entries) == ["state_dict", "same"]
        torch.testing.assert_close(dict(found.tensors), dict(state))


_READ = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_tensors(path)
        raise AssertionError(path.name)
    except UserError as error:
        assert str(path) in str(error) and len(str(error).splitlines()) == 1, error
    grown = peak() - before
    assert grown < 64 * 2**20, f"{path.name}: {grown:,} bytes"
"""


@reads_peak_memory
def test_no_small_checkpoint_takes_much_memory_or_crashes(tmp_path: Path) -> None:
    for number, content in enumerate(HOSTILE.values()):
        (tmp_path / f"{number}.pkl").write_bytes(content)
        (tmp_path / f"{number}.pth").write_bytes(archive(content))
    sound = pickle.dumps({"a": 1}, 2)
    deflated = archive(sound, members={"data/0": bytes(300 * 2**20)}, method=zipfile.ZIP_DEFLATED)
    (tmp_path / "deflated.pth").write_bytes(deflated)
    # The same dictionary at 100**6 places.
    shared = {"a": 1}
    for _ in range(6):
        shared = {f"k{k}": shared for k in range(100)}
    (tmp_path / "shared.pkl").write_bytes(pickle.dumps(shared, 2))
    (tmp_path / "header.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    nested = b'{"a":' + b"[" * 10**6
    (tmp_path / "nested.safetensors").write_bytes(struct.pack("<Q", len(nested)) + nested)
    entry = json.dumps({"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "shape.safetensors").write_bytes(struct.pack("<Q", len(entry)) + entry + bytes(4))
    prepare = (
        "from pathlib import Path\nimport safetensors\n"
        "from manyview.errors import UserError\nfrom manyview.backbones.files import read_tensors"
    )
    extra_memory(prepare, _READ, tmp_path)


def test_only_dense_tensors_that_are_stored_count(tmp_path: Path) -> None:
    weight = torch.ones(4, 3, 3, 3)
    odd = {
        "sparse": weight.to_sparse(),
        "nowhere": weight.to("meta"),
        "expanded": torch.zeros(1).expand(2**40),
    }
    for name, value in odd.items():
        torch.save({"conv.weight": value}, tmp_path / "a.pth")
        with pytest.raises(UserError, match="does not hold a network's weights"):
            read_tensors(tmp_path / "a.pth")
        torch.save({"conv.weight": weight, "bn.weight": torch.ones(1).expand(4), name: value}, tmp_path / "a.pth")
        assert list(read_tensors(tmp_path / "a.pth").tensors) == ["conv.weight", "bn.weight"]
