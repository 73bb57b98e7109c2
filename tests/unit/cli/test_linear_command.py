"""``manyview linear``: what stopping it says; and the bars of all verbs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyview.cli.parts.progress import phases, rate_in_words
from manyview.evaluation.linear import sgd as linear_module
from tests.helpers.commands import Command, complaint

VERB = "linear"  # what the fixture ``command`` runs


@pytest.fixture
def words(weights: Path, photos: Path, tmp_path: Path) -> list[object]:
    """A call that takes a moment."""
    names = sorted(path.name for path in photos.iterdir())
    for file, part in (("train.csv", names[:8]), ("val.csv", names[8:])):
        rows = [f"{name},{('odd', 'even', 'odd|even')[n % 3]}" for n, name in enumerate(part)]
        (tmp_path / file).write_text("\n".join(["image,labels", *rows]) + "\n")
    labels = ["--train-labels", tmp_path / "train.csv", "--val-labels", tmp_path / "val.csv"]
    fast = ["--size", 32, "--workers", 0, "--device", "cpu", "--resamples", 5]
    return [weights, "--images", photos, *labels, *fast, "--recipe", "sgd", "--epochs", 2, "--cached"]


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Ctrl-C as the head's training begins, until it is called."""
    train = linear_module.train_head

    def train_head(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(linear_module, "train_head", train_head)
    return lambda: monkeypatch.setattr(linear_module, "train_head", train)


def test_what_is_kept_when_it_is_stopped_is_reported(
    command: Command, words: list[object], interrupted: Callable[[], None], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command(*words, "--out", out) == (
        130,
        "",
        f"Stopped; what is done is kept in {out / 'unfinished'}. Continue with --resume.\n",
    )

    interrupted()
    status, printed, err = command(*words, "--out", out, "--resume")
    assert (status, err) == (0, "")
    assert printed.endswith(f"Written to {out / 'metrics.json'}\n")
    assert json.loads((out / "metrics.json").read_text())["results"]["pretrained"]["epochs"] == 2


def test_nothing_is_reported_of_what_is_not_kept(
    command: Command, words: list[object], interrupted: Callable[[], None]
) -> None:
    assert command(*words) == (130, "", "")


def test_an_unknown_choice_is_reported_with_the_known(command: Command, words: list[object]) -> None:
    message = complaint(command(*words, "--average-precision", "coco"))
    assert message.startswith(
        "Invalid value for '--average-precision': 'coco' is not one of 'all_points', 'voc07'; see "
    )


def test_without_a_terminal_a_line_says_from_time_to_time_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with phases() as progress:
        for done in range(6):  # the head's training is taken up after its 40th epoch
            progress(40 + done, 100, "training")
            now[0] += 25
        progress(0, 2000, "features")
        now[0] += 70
        progress(1400, 2000, "features")
        progress(2000, 2000, "features")

    assert capsys.readouterr() == (
        "",
        "training: 43 of 100, 25.0 s each, left 23 min 45 s\nfeatures: 0 of 2,000\n"
        "features: 1,400 of 2,000, 20/s, left 30 s\n",
    )
    monkeypatch.setenv("RANK", "1")
    with phases() as progress:
        progress(0, 2, "features")
        now[0] += 70
        progress(1, 2, "features")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("speed", "words"), [(None, ""), (0.0, ""), (0.4, "2.5 s each"), (3.25, "3.2/s"), (1234.5, "1,234/s")]
)
def test_rates_in_words(speed: float | None, words: str) -> None:
    assert rate_in_words(speed) == words
