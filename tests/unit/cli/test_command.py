"""The command: what it prints, and what it does about each mistake of a user's."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import manyview
from manyview.cli.main import main
from manyview.cli.parts.app import app
from manyview.cli.parts.verbs import MODULES, summary_of
from tests.helpers.commands import complaint
from tests.helpers.tiny import SETTINGS, write_images

SETS = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
SMALL = ["--backbone", "timm/test_resnet", "--epochs", "1", "--batch-size", "8", "--view-size", "32", *SETS]
VERBS = list(MODULES)


class Shell:
    """Calls the command in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        self.monkeypatch.setattr(sys, "argv", ["manyview", *map(str, words)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), *self.capsys.readouterr()

    def mistake(self, *words: object) -> str:
        """The one line that a mistake leads to."""
        return complaint(self(*words))


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def test_missing_folder(shell: Shell, tmp_path: Path) -> None:
    line = shell.mistake("pretrain", tmp_path / "nix", "--out", tmp_path / "run", *SMALL)

    assert line == f"the folder of images {tmp_path / 'nix'} does not exist: check its path"


def test_empty_folder(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()

    line = shell.mistake("pretrain", tmp_path / "photos", "--out", tmp_path / "run", *SMALL)

    assert line.startswith(f"no images in {tmp_path / 'photos'}: nothing below it ends in ")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--backbone", "resnet81"], "unknown backbone 'resnet81'; did you mean resnet"),
        (["--set", "training.epoch=3"], "unknown key training.epoch (--set); did you mean training.epochs?"),
        (["--set", "nothing"], "--set 'nothing' is not KEY=VALUE"),
        (["--view-size", "0"], "views.size (--view-size) must be greater than or equal to 8, not 0"),
        (["--set", "views.overlap=.7"], "views.overlap (--set) must be less than or equal to 0.5, not 0.7"),
        (["--recipe", "papre"], "unknown recipe 'papre'; did you mean paper?"),
        (["--epochs", "0"], "training.epochs (--epochs) must be greater than or equal to 1, not 0"),
        (["--config", "/nix.toml"], "configuration file /nix.toml cannot be read: No such file or directory"),
        (["--resume"], "holds no run to resume; leave out --resume to start one there"),
        (["--set", "training.device=cuda"], "PyTorch sees no CUDA device"),
        (["--epoch", "3"], "--epochs"),
        (["--batch-size", "many"], "'--batch-size'"),
        (["--frobnicate"], "No such option"),
        (["more"], "unexpected extra argument"),
    ],
)
def test_mistake_in_one_option(shell: Shell, photos: Path, tmp_path: Path, words: list[str], part: str) -> None:
    line = shell.mistake("pretrain", photos, "--out", tmp_path / "run", *SMALL, *words)

    assert part in line
    assert not (tmp_path / "run").exists()


def test_several_mistakes_are_still_one_line(shell: Shell, photos: Path, tmp_path: Path) -> None:
    line = shell.mistake("pretrain", photos, "--out", tmp_path / "run", "--view-size", "0", "--set", "views.overlap=.7")

    assert line.startswith("2 mistakes in the configuration: views.size (--view-size)")
    assert "; views.overlap (--set)" in line


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["pretrain"], "PHOTOS is missing: name the folder of images"),
        (["pretrain", "photos"], "--out is missing: name a new folder for the run"),
        (["pretrian"], "No such command 'pretrian'"),
        (["linear"], "Missing argument"),
        (["--nothing"], "No such option"),
    ],
)
def test_mistake_in_the_call(shell: Shell, words: list[str], part: str) -> None:
    assert part in shell.mistake(*words)


def test_usage_errors_say_where_help_is(shell: Shell) -> None:
    assert shell.mistake("pretrain", "--epoch", "3").endswith("pretrain --help")


def test_list_that_names_nothing(shell: Shell, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\nb.jpg\n")
    call = ["pretrain", photos, "--out", tmp_path / "run", *SMALL, "--list"]

    assert "names 2 of 2 images (a.jpg, b.jpg) not found in" in shell.mistake(*call, tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("")
    assert shell.mistake(*call, tmp_path / "list.txt").endswith("list.txt names no images")
    assert "does not exist" in shell.mistake(*call, tmp_path / "nix.txt")


def test_run_is_never_overwritten(shell: Shell, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "already holds a run" in shell.mistake("pretrain", photos, "--out", tmp_path, *SMALL)
    (tmp_path / "config.json").rename(tmp_path / "other")
    assert "is not empty; choose a new folder" in shell.mistake("pretrain", photos, "--out", tmp_path, *SMALL)


def test_output_is_not_writable(shell: Shell, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    call = ["pretrain", photos, *SMALL, "--out"]
    assert "cannot write" in shell.mistake(*call, tmp_path / "file" / "run")
    assert "is a file; choose a new folder" in shell.mistake(*call, tmp_path / "file")

    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        line = shell.mistake(*call, tmp_path / "run")
    assert line == f"cannot write {tmp_path / 'run'}: no permission to write there; choose another folder"


def test_disk_is_full_amid_the_run(shell: Shell, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, calls = os.fsync, [0]

    def refuse(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        line = shell.mistake("pretrain", photos, "--out", tmp_path / "run", *SMALL, "--quiet")
    assert line.startswith(f"cannot write {tmp_path / 'run'}")
    assert "the disk is full; free some space" in line
    assert "--resume" in line

    status, _, err = shell("pretrain", "--out", tmp_path / "run", "--resume", "--quiet")
    assert (status, err) == (0, "")


def test_refusal_of_the_system_without_a_name(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(manyview.recipes, "pretrain", refuse)

    assert shell.mistake("pretrain", "photos", "--out", "run") == "No space left on device"


def test_other_errors_are_ours_and_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(manyview.recipes, "pretrain", fail)
    monkeypatch.setattr(sys, "argv", ["manyview", "pretrain", "photos", "--out", "run"])

    with pytest.raises(RuntimeError, match="a fault of ours"):
        main()


def test_sentence_of_several_lines_becomes_one(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise manyview.errors.UserError("first\n  second")

    monkeypatch.setattr(manyview.recipes, "pretrain", fail)

    assert shell.mistake("pretrain", "photos", "--out", "run") == "first second"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_with_the_shells_status(
    shell: Shell,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    status: int,
) -> None:
    import manyview.training.data as data

    normalize = data.normalize

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(number)
        return normalize(*arguments)

    monkeypatch.setattr(data, "normalize", interrupted)

    ended, _, err = shell("pretrain", photos, "--out", tmp_path / "run", *SMALL)

    assert ended == status
    assert err.rstrip().endswith("Stopped and saved after step 1; continue with --resume.")
    assert "Traceback" not in err


def test_ctrl_c_before_anything_has_begun(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("manyview.cli.parts.app.app", interrupted)
    assert shell("--nothing") == (130, "", "")


def test_command_and_call_give_the_same_weights(shell: Shell, photos: Path, tmp_path: Path) -> None:
    status, _, _ = shell("pretrain", photos, "--out", tmp_path / "a", *SMALL, "--seed", "3")
    run = manyview.pretrain(
        images=photos,
        out=tmp_path / "b",
        backbone="timm/test_resnet",
        epochs=1,
        batch_size=8,
        view_size=32,
        seed=3,
        set=SETTINGS,
        quiet=True,
    )

    assert status == 0
    for name in ("backbone.safetensors", "config.json", "checkpoints/step-000000002.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (run.path / name).read_bytes(), name
    stored = run.read_json("run.json")
    other = manyview.runs.RunFolder(tmp_path / "a").read_json("run.json")
    assert other["command"][:2] == ["manyview", "pretrain"]
    assert stored["asked"] == other["asked"]
    assert stored["data"] == other["data"]


def test_names_of_any_script_are_fine(shell: Shell, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "Fotos [größer]", 8)
    (folder / "00.jpg").rename(folder / "日本 & co.jpg")

    status, _, err = shell("pretrain", folder, "--out", tmp_path / "läuft", *SMALL)

    assert status == 0
    assert f"manyview.load_backbone({str(tmp_path / 'läuft')!r})" in err


def test_version(shell: Shell) -> None:
    assert shell("--version") == (0, manyview.__version__ + "\n", "")


def test_nothing_asked_for_shows_the_help(shell: Shell) -> None:
    status, out, err = shell()

    assert (status, err) == (2, "")
    assert out == shell("--help")[1]


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb_has_an_example(shell: Shell, verb: str) -> None:
    status, out, _ = shell(verb, "--help")

    assert status == 0
    assert f"Example: manyview {verb}" in " ".join(out.split())


def test_the_overview_is_what_the_command_and_its_verbs_say_of_themselves(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made without importing any of them; of the whole command typer asks for the same."""
    monkeypatch.setenv("COLUMNS", "200")
    whole: Any = get_command(app)
    status, out, err = shell("--help")
    rows = dict(re.split(" {2,}", line.strip("│ ")) for line in out.splitlines() if line.startswith("│"))
    flags = {flag for name in rows if name.startswith("-") for flag in name.split(", ")}

    assert (status, err) == (0, "")
    assert CliRunner().invoke(app, ["--help"]).output.rstrip() == out.rstrip()
    assert flags == {flag for each in whole.get_params(whole.make_context("manyview", ["views"])) for flag in each.opts}
    assert {verb: rows[verb] for verb in rows if verb[0] != "-"} == {
        verb: command.help.partition("\n")[0] for verb, command in whole.commands.items()
    }


def test_without_sources_the_overview_asks_the_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SourceFileLoader, "get_source", lambda *_: None)

    assert summary_of("compare").startswith("Compare evaluations: ")


def test_settings_lists_every_key(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from manyview.config.resolve import valid_keys

    monkeypatch.setenv("COLUMNS", "300")
    status, out, _ = shell("settings")

    assert status == 0
    assert [key for key in valid_keys() if key not in out] == []


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_the_overview_imports_next_to_nothing(words: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['manyview', *{words}]\n"
        "from manyview.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stderr.split()

    assert {name for name in loaded if name.startswith("manyview.cli.") and name.count(".") == 2} == {
        "manyview.cli.main",
        "manyview.cli.parts",
    }
    heavy = (
        "torch",
        "numpy",
        "typer",
        "click",
        "pydantic",
        "logging",
        "asyncio",
        "manyview.runtime",
        "manyview.options",
    )
    assert [name for name in (*heavy, "rich.markdown", "rich.syntax", "rich.traceback") if name in loaded] == []


def test_a_mistake_in_a_setting_is_reported_before_anything_heavy_is_imported(photos: Path, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.argv = ['manyview', 'pretrain', {str(photos)!r}, '--out', {str(tmp_path / 'run')!r},"
        " '--set', 'views.overlap=.7']\n"
        "from manyview.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    print(end.code, *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, *loaded = done.stdout.split()

    assert status == "2"
    assert "views.overlap" in done.stderr
    assert [name for name in ("torch", "numpy", "cv2", "PIL", "rich.markdown") if name in loaded] == []


def test_help_imports_nothing_heavy() -> None:
    """One process for all: ``python -m manyview`` works, and no verb's help loads a heavy package."""
    code = (
        "import runpy, sys\n"
        f"for verb in {VERBS}:\n"
        "    sys.argv = ['manyview', verb, '--help']\n"
        "    try:\n"
        "        runpy.run_module('manyview', run_name='__main__', alter_sys=True)\n"
        "    except SystemExit as end:\n"
        "        heavy = {'torch', 'torchvision', 'timm', 'cv2', 'sklearn', 'scipy', 'matplotlib', 'numpy', 'PIL'}\n"
        "        heavy |= {'pyarrow', 'onnx', 'transformers'}\n"
        "        heavy |= {f'manyview.{part}' for part in ('config', 'runs', 'backbones', 'evaluation', 'export')}\n"
        "        print(verb, end.code, sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr.splitlines() == [f"{verb} 0 []" for verb in VERBS]
    assert done.stdout.count("Usage") == len(VERBS)


@pytest.mark.parametrize(
    ("option", "value"), [("--images", 1), ("--view-size", 7), ("--batch-size", 1), ("--epochs", 0), ("--seed", -1)]
)
def test_a_size_of_the_demonstration_is_refused_before_scenes_are_rendered(
    shell: Shell, tmp_path: Path, option: str, value: int
) -> None:
    line = shell.mistake("demo", "--out", tmp_path / "demo", option, value)

    assert line.startswith(f"Invalid value for '{option}': Input should be greater than or equal to {value + 1}")
    assert not (tmp_path / "demo").exists()
