"""Each example runs, as a user would run it, and prints losses; the plain loop's is Eq. 3."""

from __future__ import annotations

import importlib.util
import math
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from references import contrastive
from tests.helpers.tiny import write_images

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = ("--epochs", "2", "--batch-size", "3", "--view-size", "32", "--workers", "0")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), count=7)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run an example with arguments as Python runs a file, in this process, and take what it prints."""
    # lightly before 1.6 asks its maker's server for news.
    monkeypatch.setenv("LIGHTLY_DID_VERSION_CHECK", "True")

    def example(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return example


def losses(printed: str) -> list[float]:
    lines = re.findall(r"^epoch (\d+): loss (\S+)$", printed, re.MULTILINE)
    assert [int(epoch) for epoch, _ in lines] == [1, 2]
    values = [float(loss) for _, loss in lines]
    assert all(math.isfinite(value) for value in values)
    return values


def load(example: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(example.removesuffix(".py"), EXAMPLES / example)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_no_example_without_a_test() -> None:
    assert sorted(file.name for file in EXAMPLES.glob("*.py")) == ["lightly_simsiam.py", "plain_loop.py"]


def test_plain_loop(run: Callable[..., str], images: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    values = losses(run("plain_loop.py", images, *SMALL, "--grid", 1, 2, "--out", weights))
    assert all(value > -1 for value in values)  # L_sim is above -1, L_ia above 0
    state = torch.load(weights, weights_only=True)
    assert "layer4.1.conv2.weight" in state
    assert not any(name.startswith("fc.") for name in state)


@pytest.mark.skipif(importlib.util.find_spec("lightly") is None, reason="lightly is not installed")
def test_lightly_simsiam(run: Callable[..., str], images: Path) -> None:
    values = losses(run("lightly_simsiam.py", images, *SMALL))
    assert all(-1 <= value <= 1 for value in values)


def test_too_few_images(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["plain_loop.py", str(images), *SMALL, "--batch-size", "8"])
    with pytest.raises(SystemExit, match="holds 7 images, less than a batch of 8"):
        load("plain_loop.py").main()


def test_loss_of_the_plain_loop_is_eq_3() -> None:
    plain_loop = load("plain_loop.py")
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16, 6))
    predictor = torch.nn.Linear(6, 6)
    views, images = torch.randn(3, 12, 3, 4, 4), torch.tensor([7, 40, 13])
    loss = plain_loop.total_loss(encoder, predictor, views, images)

    pairs = [(image, block) for image in range(3) for block in range(6)]
    x1, x2 = (torch.stack([views[image, 2 * block + member] for image, block in pairs]) for member in (0, 1))
    z1, z2 = encoder(x1), encoder(x2)
    p1, z1, p2, z2 = (x.detach().double().numpy() for x in (predictor(z1), z1, predictor(z2), z2))
    ids = np.array([image for image, _ in pairs])
    image_aware = contrastive.image_aware([(p1, z2), (p2, z1)], ids, np.arange(len(pairs)), temperature=0.3)
    expected = contrastive.similarity(p1, z1, p2, z2) + 4 * image_aware
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert all(weight.grad is not None for weight in (*encoder.parameters(), *predictor.parameters()))
