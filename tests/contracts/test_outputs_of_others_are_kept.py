"""No verb replaces or deletes a file that it did not write: each refuses, in one line, and leaves all as it was."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manyview.backbones import build_backbone, save_backbone
from manyview.cli.main import main
from manyview.cli.parts.verbs import MODULES
from tests.helpers.commands import complaint
from tests.helpers.tiny import write_images

MINE = b"hours of my own work"
EVALUATED = ["weights.safetensors", "--images", "photos", "--train-labels", "labels.csv", "--val-labels", "labels.csv"]
SMALL = ["--size", "16", "--workers", "0", "--beside", "none"]
TABLE = ["--images", "photos", "--train-labels", "labels.csv", "--val-labels", "labels.csv", "--scale", "small"]
VIEWS = ["views", "photos", "--out", "out/views.png", "--photos", "1", "--view-size", "32"]
COUNTED = [*VIEWS, "--labels", "boxes.json"]
# A file of the user's, and the words of a verb that would write there.
CASES: list[tuple[str, list[str]]] = [
    ("out/notes.txt", ["pretrain", "photos", "--out", "out"]),
    ("out/checkpoints/best.pth", ["pretrain", "photos", "--out", "out"]),
    ("out/metrics.json", ["linear", *EVALUATED, "--out", "out"]),
    ("out/unfinished/notes.txt", ["linear", *EVALUATED, *SMALL, "--out", "out"]),
    ("out/unfinished/pretrained-training.safetensors", ["linear", *EVALUATED, *SMALL, "--out", "out"]),
    ("out/unfinished/protocol.json", ["linear", *EVALUATED, *SMALL, "--out", "out"]),
    ("out/metrics.json", ["knn", *EVALUATED, "--out", "out"]),
    ("out/metrics.json", ["probe", *EVALUATED, "--out", "out"]),
    ("out/curve.png", ["probe", *EVALUATED, "--out", "out"]),
    ("out/a.npz", ["embed", "weights.safetensors", "photos", "--out", "out/a.npz"]),
    ("out/a.json", ["embed", "weights.safetensors", "photos", "--out", "out/a.npz"]),
    ("out/a.png", ["neighbours", "weights.safetensors", "photos", "--out", "out/a.png"]),
    ("out/a.json", ["neighbours", "weights.safetensors", "photos", "--out", "out/a.png"]),
    ("out/notes.txt", ["detect", *EVALUATED, "--out", "out"]),
    ("out/a.json", ["detect", "--predict", "run", "--images", "photos", "--out", "out/a.json"]),
    ("out/a-images.json", ["detect", "--predict", "run", "--images", "photos", "--out", "out/a.json"]),
    ("out/a.png", ["detect", "--predict", "run", "--images", "photos", "--out", "out/a.json", "--draw", "1"]),
    ("out/a.pth", ["export", "weights.safetensors", "--to", "torchvision", "--out", "out/a.pth"]),
    ("out/a.pth.json", ["export", "weights.safetensors", "--to", "torchvision", "--out", "out/a.pth"]),
    ("out/a/notes.txt", ["export", "weights.safetensors", "--to", "huggingface", "--out", "out/a"]),
    ("out/views.png", VIEWS),
    ("out/views.html", [*VIEWS[:3], "out/views.html", *VIEWS[4:]]),
    ("out/metrics.json", COUNTED),
    ("out/views-common-objects.png", COUNTED),
    *((f"out/{name}", ["compare", "one", "two", "--out", "out"]) for name in ("metrics.json", "comparison.md")),
    *((f"out/table1.{end}", ["reproduce", "table1", *TABLE, "--out", "out"]) for end in ("md", "csv", "json", "png")),
    ("out/synthetic/notes.txt", ["demo", "--out", "out"]),
    ("out/synthetic/views.png", ["demo", "--out", "out"]),
    ("out/found.json", ["check", "photos", "--out", "out/found.json"]),
    ("out/report.html", ["report", "run", "--out", "out/report.html"]),
    ("out/metrics.json", ["check-weights", "weights.safetensors", "--images", "photos", "--out", "out"]),
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, photos and labels."""
    folder = tmp_path_factory.mktemp("workplace")
    names = sorted(path.name for path in write_images(folder / "photos", 6).iterdir())
    rows = [f"{name},any{'|even' * (index % 2)}" for index, name in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["image,labels", *rows]) + "\n")
    save_backbone(build_backbone("timm/test_resnet"), folder / "weights.safetensors", {})
    return folder


@pytest.fixture
def out(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of results, empty, in the working folder."""
    monkeypatch.chdir(workplace)
    yield workplace / "out"
    shutil.rmtree(workplace / "out")


def test_every_verb_is_tried() -> None:
    assert {words[0] for _, words in CASES} == set(MODULES) - {"settings", "watch"}  # which write nothing


@pytest.mark.parametrize(("file", "words"), CASES, ids=[f"{words[0]}-{file}" for file, words in CASES])
def test_refuses(
    file: str, words: list[str], out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = out.parent / file
    mine.parent.mkdir(parents=True)
    mine.write_bytes(MINE)
    monkeypatch.setattr(sys, "argv", ["manyview", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    message = complaint((int(caught.value.code or 0), *capsys.readouterr()))
    assert mine.name in message or "out" in message.replace("--out", ""), message
    assert mine.read_bytes() == MINE
    others = [path for path in out.rglob("*") if path.is_file() and path != mine and path.name != ".lock"]
    assert not others, "nothing is written beside it"
