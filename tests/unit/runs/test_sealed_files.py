"""The checksum in the header of a safetensors file: every cut and every flipped bit is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from manyview.backbones import build_backbone, load_backbone, save_backbone
from manyview.errors import UserError
from manyview.runs import write_tensors
from manyview.runs.sealed import read_sealed, written_step

TENSORS = {"a": torch.arange(3, dtype=torch.float32), "b": torch.ones(2, 2, dtype=torch.int8)}


def test_every_flip_and_every_cut_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    write_tensors(file, TENSORS, {"format": "x"})
    before = file.read_bytes()
    header = 8 + int.from_bytes(before[:8], "little")
    spaces = before[:header].rstrip(b" ")
    unnoticed = 0
    for bit in range(0, 8 * len(before), 3):
        data = bytearray(before)
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        try:
            tensors, _ = read_sealed(file)
        except UserError:
            continue
        unnoticed += 1
        assert len(spaces) <= bit // 8 < header, "only in the padding of the header"
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert unnoticed < 10
    for length in range(0, len(before), 5):
        file.write_bytes(before[:length])
        with pytest.raises(UserError):
            read_sealed(file)


def test_files_without_a_checksum_are_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors", {"format": "pt"})
    write_tensors(tmp_path / "b.safetensors", TENSORS, sealed=False)
    for name in ("a", "b"):
        assert read_sealed(tmp_path / f"{name}.safetensors")[0].keys() == TENSORS.keys()


def test_other_programs_read_a_sealed_file(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", TENSORS, {"note": "välue"})
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert {name: file.get_tensor(name).tolist() for name in TENSORS} == {
            name: value.tolist() for name, value in TENSORS.items()
        }
        assert file.metadata()["note"] == "välue"
    raw = (tmp_path / "a.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert list(header["__metadata__"]) == ["checksum", "sha256", "note"]


def test_a_flipped_weight_of_a_backbone_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "backbone.safetensors"
    save_backbone(build_backbone("timm/test_resnet"), file, {})
    data = bytearray(file.read_bytes())
    data[-100] ^= 64
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"is damaged: its content does not match the SHA-256 in its header") as caught:
        load_backbone(file)
    assert "manyview pretrain --resume --out RUN" in str(caught.value)


def test_the_step_of_weights_that_are_missing_damaged_or_others_is_0(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    assert written_step(file) == 0
    write_tensors(file, TENSORS, {"step": "12"})
    assert written_step(file) == 12
    file.write_bytes(b"{}" + file.read_bytes()[2:])
    assert written_step(file) == 0
    for metadata in (None, {"step": "twelve"}):
        write_tensors(file, TENSORS, metadata)
        assert written_step(file) == 0
