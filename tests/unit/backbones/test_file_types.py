"""Files that are no checkpoint are named for what they are, with what to give instead."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from manyview.backbones import build_backbone, load_backbone, wrap_backbone
from manyview.errors import UserError


def small() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_file_is_named_and_its_command_saves_the_weights(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    torch.jit.trace(small(), torch.zeros(1, 3, 8, 8)).save(str(file))
    with pytest.raises(UserError, match="is a TorchScript program, not weights") as caught:
        load_backbone(file, "resnet18")
    command = re.search(r'python -c "([^"]+)"$', str(caught.value))
    assert command is not None
    exec(command[1], {})
    loaded = load_backbone(tmp_path / "w.weights.pth", into=wrap_backbone(small(), 16))
    assert all(torch.equal(value, small().state_dict()[key]) for key, value in loaded.state_dict().items())


@pytest.mark.filterwarnings("ignore:No complete tensor")
@pytest.mark.parametrize("strided", [False, True])
def test_an_exported_programs_weights_are_read_without_its_code(strided: bool, tmp_path: Path) -> None:
    module = small().to(memory_format=torch.channels_last if strided else torch.contiguous_format)  # type: ignore[call-overload]
    torch.export.save(torch.export.export(module, (torch.zeros(2, 3, 8, 8),)), tmp_path / "w.pt2")
    loaded = load_backbone(tmp_path / "w.pt2", into=wrap_backbone(small(), 16))
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in loaded.state_dict().items())


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    return stream.getvalue()


def arrays() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.ones(3))
    return stream.getvalue()


OTHERS = {
    "old exported program": ("w.pt2", zipped({"serialized_exported_program.json": b"{}"}), "an exported program"),
    "compiled program": ("w.pt2", zipped({"w/data/aotinductor/model/a.so": b""}), "compiled by AOTInductor"),
    "mobile": ("w.ptl", zipped({"w/bytecode.pkl": b"", "w/data.pkl": b""}), "a TorchScript program"),
    "npz": ("w.npz", arrays(), "NumPy's arrays, as JAX"),
    "zip of a checkpoint": ("w.zip", zipped({"run/w.pth": b""}), r"unpack it and give one of them, such as run/w\.pth"),
    "keras": ("w.keras", zipped({"config.json": b"{}", "model.weights.h5": b""}), "a model of Keras"),
    "hdf5": ("w.h5", b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file"),
    "git lfs": ("w.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a pointer of Git LFS"),
    "web page": ("w.safetensors", b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
    "tar": ("w.pth.tar", tarred(), "a tar archive: unpack it"),
    "gzip": ("w.pth.gz", b"\x1f\x8b\x08" + bytes(40), "compressed by gzip"),
    "onnx": ("w.onnx", b"\x08\x09\x12\x07pytorch" + bytes(40), "an ONNX graph"),
    "gguf": ("w.gguf", b"GGUF\x03" + bytes(40), "a GGUF file"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_checkpoint_is_named(what: str, tmp_path: Path) -> None:
    name, content, said = OTHERS[what]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f" is .*{said}") as caught:
        load_backbone(tmp_path / name, "resnet18")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["short", "negative", "no names", "pickle", "not json"])
def test_a_damaged_exported_program_is_one_sentence(change: str, tmp_path: Path) -> None:
    torch.export.save(torch.export.export(small(), (torch.zeros(2, 3, 8, 8),)), tmp_path / "a.pt2")
    with zipfile.ZipFile(tmp_path / "a.pt2") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    listed = next(name for name in files if name.endswith("model_weights_config.json"))
    config = json.loads(files[listed])
    first = config["config"]["0.weight"]
    if change == "short":
        first["tensor_meta"]["sizes"][0]["as_int"] = 400
    elif change == "negative":
        first["tensor_meta"]["strides"][0]["as_int"] = -27
    elif change == "pickle":
        first["use_pickle"] = True
    elif change == "no names":
        config["config"] = [first]
    files[listed] = b"{" if change == "not json" else json.dumps(config).encode()
    (tmp_path / "w.pt2").write_bytes(zipped(files))
    said = "stored in a way that could execute code" if change == "pickle" else "is damaged: its exported program's"
    with pytest.raises(UserError, match=said):
        load_backbone(tmp_path / "w.pt2", into=wrap_backbone(small(), 16))


def unsigned(entry: bytearray) -> None:
    entry[:4] = bytes(4)


def of_a_later_version(entry: bytearray) -> None:
    entry[6] = 200


def of_a_name_that_is_no_text(entry: bytearray) -> None:
    entry[9] |= 0x08  # UTF-8
    entry[46] = 0xFF


@pytest.mark.parametrize("change", [unsigned, of_a_later_version, of_a_name_that_is_no_text])
@pytest.mark.parametrize("which", [0, -1])
def test_a_damaged_table_of_an_archive_is_one_sentence(
    change: Callable[[bytearray], None], which: int, tmp_path: Path
) -> None:
    torch.save(small().state_dict(), tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    start = [found.start() for found in re.finditer(rb"PK\x01\x02", content)][which]
    entry = bytearray(content[start:])
    change(entry)
    (tmp_path / "w.pth").write_bytes(content[:start] + entry)
    with pytest.raises(UserError, match=r"is damaged; copy or download it again"):
        load_backbone(tmp_path / "w.pth", into=wrap_backbone(small(), 16))


def test_an_archive_of_several_disks_is_one_sentence(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "w.pth")
    content = bytearray((tmp_path / "w.pth").read_bytes())
    content[content.rindex(b"PK\x06\x07") + 16] = 2  # in all, of the locator of the larger table
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged; copy or download it again"):
        load_backbone(tmp_path / "w.pth", into=wrap_backbone(small(), 16))


@pytest.mark.parametrize(
    ("sharded", "said"), [(True, "in several files; save them as one"), (False, "is not a run folder")]
)
def test_a_folder_of_hugging_face_without_one_file(sharded: bool, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    if sharded:
        (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match=said):
        load_backbone(tmp_path, build_backbone("timm/test_resnet").name)
