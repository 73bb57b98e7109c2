"""What the number of processes changes, in sentences; and what the processes of a run are compared by."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from manyview.images import ImageFiles
from manyview.training.processes import remarks_on_number
from manyview.training.processes.facts import module_fingerprint, sampled_contents
from manyview.training.processes.number import random_layers


def test_layers_that_draw_are_counted() -> None:
    layers = (nn.Dropout(0.1), nn.Dropout2d(0.1), nn.Dropout(0.0), DropPath(0.2), DropPath(0.0), nn.Linear(2, 2))
    assert random_layers(nn.Sequential(*layers)) == {"Dropout": 1, "Dropout2d": 1, "DropPath": 1}


@pytest.mark.parametrize(("before", "now", "drawn"), [(None, 1, False), (1, 1, False), (None, 2, True), (2, 1, True)])
def test_random_layers_are_told_of_where_there_are_several_processes(before: int | None, now: int, drawn: bool) -> None:
    found = " ".join(remarks_on_number(nn.Dropout(0.1), before, now))
    assert ("(1 Dropout) draw others on another number of processes" in found) == drawn
    assert ("started on 2 processes and goes on on 1 process" in found) == (before == 2)
    assert len(remarks_on_number(nn.ReLU(), before, now)) == (before == 2)


def test_contents_of_some_images_are_compared(tmp_path: Path) -> None:
    names = [f"{number:03d}.jpg" for number in range(130)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    files = ImageFiles(tmp_path, names)
    before = sampled_contents(files)
    (tmp_path / "001.jpg").write_bytes(b"changed")  # not among them
    assert sampled_contents(files) == before
    (tmp_path / "127.jpg").unlink()
    assert sampled_contents(files) not in (before, sampled_contents(ImageFiles(tmp_path, names[:10])))


def test_modules_are_compared_by_names_and_values() -> None:
    module = nn.BatchNorm1d(3)
    before = module_fingerprint(module)
    assert module_fingerprint(nn.BatchNorm1d(3)) == before
    assert module_fingerprint(nn.Sequential(nn.BatchNorm1d(3))) != before
    torch.nn.init.constant_(module.bias, 1e-3)
    assert module_fingerprint(module) != before
    module_fingerprint(nn.Linear(2, 2).to(memory_format=torch.preserve_format).bfloat16())
