from __future__ import annotations

import sys
from pathlib import Path

import pytest

from manyview.cli.main import main
from tests.helpers.coarse import coarse_pictures
from tests.helpers.commands import Command
from tests.helpers.random_weights import save_random
from tests.helpers.tiny import photos

__all__ = ["coarse_pictures", "photos"]


@pytest.fixture
def command(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command in this process, with the module's VERB: exit status, standard output and standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["manyview", request.module.VERB, *map(str, words)])
        monkeypatch.setenv("COLUMNS", "100")
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small backbone's weights."""
    return save_random(tmp_path_factory.mktemp("weights") / "weights.safetensors", seed=1)
