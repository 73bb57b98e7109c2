"""Mutated files of every format through every reader; and what the campaign says of readers that misbehave."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.campaign import Campaign, Case, load_case, make_case, read_case, seed_names
from tests.fuzz.image_seeds import image_seeds
from tests.fuzz.label_seeds import write_images
from tests.helpers.processes import in_processes

NAMES = seed_names()
UNREAD = ("tiff raw LAB", "tiff 12 bits >", "yolo of cvat above", "list of cvat")  # refused in words


def fuzz(_: int, out: Path) -> None:
    """The command, in a process that has only imported, so that those it forks begin small and without threads."""
    with patch.object(sys, "argv", ["fuzz", "--seed", "0", "--inputs", "500", "--out", str(out)]):
        with (out / "printed").open("w") as file, contextlib.redirect_stdout(file):
            status = main()
        print((out / "printed").read_text())
        assert status == 0


def test_nothing_but_pixels_labels_or_a_sentence(tmp_path: Path) -> None:
    in_processes(fuzz, tmp_path, processes=1, seconds=280)
    printed = (tmp_path / "printed").read_text()
    counts = dict(part.split()[::-1] for part in printed.splitlines()[-1].split(";")[0].split(": ")[1].split(", "))
    assert counts.keys() == {"labels", "pixels", "refused"}
    assert min(int(count.replace(",", "")) for count in counts.values()) > 25


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_sound_before_they_are_mutated(images: Path, name: str) -> None:
    case = make_case(0, NAMES.index(name), NAMES, mutated=False)
    assert read_case(case, images) == (
        "refused" if name in UNREAD else "pixels" if case.given.startswith("a.") else "labels"
    )


def test_inputs_depend_on_seed_and_number_alone() -> None:
    cases = [[make_case(seed, number, NAMES) for number in range(200)] for seed in (1, 1, 2)]
    assert cases[0] == cases[1]
    same = [mine.files == other.files for mine, other in zip(cases[0], cases[2], strict=True)]
    assert np.mean(same) < 0.1
    sound = [make_case(1, number, NAMES, mutated=False).files for number in range(200)]
    assert np.mean([case.files == files for case, files in zip(cases[0], sound, strict=True)]) < 0.1


def test_no_seed_holds_the_time_at_which_it_was_made() -> None:
    """As Pillow's color profiles do, by their signature."""
    assert not [name for name, data in image_seeds().items() if b"acsp" in data]


def case(number: int) -> Case:
    return Case("png", {"a.png": bytes([number])}, "a.png")


def hang(_: Case, __: Path) -> str:
    while True:
        pass


def grow(_: Case, __: Path) -> str:
    with mmap.mmap(-1, 2**26) as memory:  # new pages, whatever the process has kept of what it freed
        memory.write(bytes([1]) * 2**26)
    return "pixels"


def crash(_: Case, __: Path) -> str:
    os.abort()


def raise_(_: Case, __: Path) -> str:
    raise KeyError("what no user understands")


@pytest.mark.parametrize(
    ("faulty", "said"),
    [
        (hang, "hang: 0.8 s of processor time"),
        (grow, "memory: peak beyond the limit"),
        (crash, "crash: the process ended by SIGABRT"),
        (raise_, "raised: KeyError at test_mutated_files.py"),
    ],
)
def test_one_input_that_fails_is_named_and_kept(tmp_path: Path, faulty: object, said: str) -> None:
    def read(case: Case, images: Path) -> str:
        return faulty(case, images) if case.files["a.png"] == b"\2" else "refused"  # type: ignore[operator]

    campaign = Campaign(case, tmp_path, read=read, seconds=0.8, memory=2**25)
    report = campaign.run(range(5), time.monotonic() + 200)
    assert report.outcomes == {"refused": 4, "failed": 1}
    (folder,) = report.folders
    line, _, what, *_ = (folder / "what.txt").read_text().splitlines()
    assert line == f"{sys.executable} -m tests.fuzz --replay {folder}"
    assert what.startswith(said)
    assert load_case(folder) == case(2)


def test_what_was_kept_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def faulty(case: Case, images: Path) -> str:
        raise ValueError

    Campaign(case, tmp_path, read=faulty).run(range(1))
    monkeypatch.setattr(sys, "argv", ["fuzz", "--replay", str(tmp_path / "png-0"), "--out", str(tmp_path)])
    assert main() == 0
    assert capsys.readouterr().out.startswith("1 inputs: 1 refused")
