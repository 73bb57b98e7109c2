"""The folder for a machine with a GPU: what is in it, and the line to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import pack
from benchmarks.gpu.options import parse
from manyview.scenes import write_scenes


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    write_scenes(tmp_path / "scenes", 4, size=(32, 32), val_share=0.5)
    scenes = tmp_path / "scenes"
    return [
        *("--photos", str(scenes / "images")),
        *("--train-labels", str(scenes / "train.csv"), "--val-labels", str(scenes / "val.csv")),
    ]


@pytest.fixture(autouse=True)
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Without network: a wheel of ten bytes for each call of pip; all other commands run."""
    calls, real = list[list[str]](), subprocess.run

    def run(command: list[str], **options: object) -> object:
        if command[:4] != [sys.executable, "-m", "pip", "download"]:
            return real(command, **options)
        calls.append(command)
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir(exist_ok=True)
        (folder / f"{command[-1]}-1-py3-none-any.whl").write_bytes(b"0123456789")
        return None

    monkeypatch.setattr(pack.subprocess, "run", run)
    return calls


def test_the_folder_holds_all_that_the_printed_line_names(
    tmp_path: Path, photos: list[str], pip: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pack"
    assert pack.main(["--out", str(out), *photos]) == 0
    printed = capsys.readouterr().out.splitlines()[-1]
    assert printed.startswith("cd pack/code && python3 -m benchmarks.gpu --minutes 12 --out ../results --wheels")
    options = parse(printed.split(" benchmarks.gpu ")[1].split())
    for file in (options.wheels, options.photos, options.train_labels, options.val_labels):
        assert (out / "code" / file).exists(), file
    assert dict(options.minutes) == {None: 12}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=pack.ROOT, capture_output=True, check=True, text=True)
    assert options.commit == head.stdout.strip()
    assert (out / "code/src/manyview/__init__.py").is_file()
    assert (out / "code/benchmarks/gpu/__main__.py").is_file()
    there = {path.relative_to(pack.ROOT) for path in pack.ROOT.glob("src/**/_kernel.abi3.so")}
    assert {path.relative_to(out / "code") for path in (out / "code").glob("src/**/*.so")} == there
    assert sorted(command[-1] for command in pip) == ["pycocotools", "pydantic"]
    assert all("3.12" in command for command in pip)


def test_the_packed_sources_run_from_there(tmp_path: Path) -> None:
    assert pack.main(["--out", str(tmp_path / "pack")]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--help"], cwd=tmp_path / "pack/code", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--minutes" in done.stdout


def test_too_much_is_refused(tmp_path: Path, photos: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert pack.main(["--out", str(tmp_path / "pack"), *photos, "--limit", "0.01"]) == 2
    assert "more than the 0.01 of --limit: give a folder of fewer or smaller images" in capsys.readouterr().err


def test_other_files_are_not_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SystemExit) as end:
        pack.main(["--out", str(tmp_path)])
    assert end.value.code == 2
    assert "holds other files; name a new folder" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").exists()


def test_an_earlier_pack_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "pack"
    assert pack.main(["--out", str(out)]) == 0
    (out / "code/old.py").touch()
    assert pack.main(["--out", str(out)]) == 0
    assert not (out / "code/old.py").exists()
