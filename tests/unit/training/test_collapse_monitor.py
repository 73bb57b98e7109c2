from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from manyview.config import MonitorConfig
from manyview.errors import UserError
from manyview.runs import RunFolder
from manyview.training.monitor import CollapsedError, CollapseMonitor
from tests.helpers.tiny import train_tiny


def spread(seed: int = 0) -> Tensor:
    """Uniformly distributed directions: standard deviation 1, rank near the dimension's."""
    return torch.randn(256, 32, generator=torch.Generator().manual_seed(seed))


def collapsed() -> Tensor:
    """Almost equal directions: standard deviation .02, rank near 1."""
    return torch.ones(256, 32) + 0.001 * spread()


def few_directions() -> Tensor:
    """Two opposite directions: the rank is low, the standard deviation is not."""
    return torch.where(torch.arange(256) % 2 == 0, 1.0, -1.0)[:, None] * torch.ones(256, 32)


def monitor(**settings: Any) -> CollapseMonitor:
    return CollapseMonitor(MonitorConfig(**settings), ["more images", "less decay"])


def test_healthy_projections_say_nothing() -> None:
    watcher = monitor()

    readings = [watcher.measure(spread(step), step) for step in range(1, 20)]

    assert all(not reading.collapsed and reading.warning is None for reading in readings)
    assert all(0.95 < reading.std < 1.05 and 25 < reading.rank <= 32 for reading in readings)
    assert watcher.healthy


def test_warning_in_plain_words_when_both_fall() -> None:
    watcher = monitor()
    watcher.measure(spread(), 1)

    reading = watcher.measure(collapsed(), 50)

    assert reading.collapsed
    assert reading.std < 0.1
    assert reading.rank < 3
    assert reading.warning is not None
    assert reading.warning.startswith(
        "at step 50 the representation is collapsing: the standard deviation of z/|z| is 0.0"
    )
    assert "effective rank is" in reading.warning
    assert "; try more images or less decay; --set" in reading.warning
    assert not watcher.healthy


def test_one_of_the_two_is_no_collapse() -> None:
    watcher = monitor()
    watcher.measure(spread(), 1)

    reading = watcher.measure(few_directions(), 2)

    assert reading.rank < 0.1 * 25
    assert reading.std > 0.5
    assert not reading.collapsed


def test_warned_once_and_again_after_recovery() -> None:
    watcher = monitor(patience=10)
    series = [spread(), collapsed(), collapsed(), spread(), collapsed()]

    warned = [watcher.measure(z, step).warning is not None for step, z in enumerate(series)]

    assert warned == [False, True, False, False, True]


def test_stops_when_it_lasts() -> None:
    watcher = monitor(patience=3)
    watcher.measure(spread(), 1)
    watcher.measure(collapsed(), 2)
    watcher.measure(collapsed(), 3)

    with pytest.raises(
        CollapsedError, match=r"3 times in a row; try more images or less decay; .*on_collapse=warn goes on"
    ):
        watcher.measure(collapsed(), 4)


def test_patience_counts_in_a_row_only() -> None:
    watcher = monitor(patience=2)
    for step, z in enumerate([spread(), collapsed(), spread(), collapsed(), spread()]):
        watcher.measure(z, step)

    assert watcher.healthy


def test_warn_goes_on() -> None:
    watcher = monitor(on_collapse="warn", patience=1)
    watcher.measure(spread(), 1)

    readings = [watcher.measure(collapsed(), step) for step in range(2, 20)]

    assert all(reading.collapsed for reading in readings)
    assert [reading.warning is not None for reading in readings] == [True] + [False] * 17


def test_measures_at_the_first_step_and_every_so_many() -> None:
    assert [step for step in range(1, 13) if monitor(every=5).is_due(step)] == [1, 5, 10]


def test_state_survives() -> None:
    first, second = monitor(patience=3), monitor(patience=3)
    first.measure(spread(), 1)
    first.measure(collapsed(), 2)
    first.measure(collapsed(), 3)
    second.restore(first.state())

    assert second.peak_rank == first.peak_rank > 25
    with pytest.raises(CollapsedError):
        second.measure(collapsed(), 4)


ALWAYS = {"monitor.min_std": 100.0, "monitor.min_rank": 2.0, "monitor.every": 1}


def test_run_stops_after_patience_with_advice(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"at step 6 the representation is collapsing.* 6 times in a row; try .* training\.base_learn"
    ):
        train_tiny(photos, tmp_path / "run", settings={**ALWAYS, "monitor.patience": 6})

    # Stopped with a checkpoint, and going on regardless is possible.
    assert RunFolder(tmp_path / "run").read_metrics()[-1]["step"] == 6
    run = train_tiny(None, tmp_path / "run", settings={"monitor.on_collapse": "warn"}, resume=True)
    assert run.read_metrics()[-1]["step"] == 8


def test_collapse_at_the_end_of_an_epoch_leaves_the_epoch_whole(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at step 4 the representation is collapsing"):
        train_tiny(photos, tmp_path / "run", settings={**ALWAYS, "monitor.patience": 4})
    stopped = RunFolder(tmp_path / "run").read_metrics()

    run = train_tiny(None, tmp_path / "run", settings={"monitor.on_collapse": "warn"}, resume=True)

    whole = train_tiny(photos, tmp_path / "whole", settings={**ALWAYS, "monitor.on_collapse": "warn"})
    assert [record["kind"] for record in stopped if record["step"] == 4] == ["step", "epoch"]
    losses = [[record["loss"] for record in each.read_metrics() if record["kind"] == "epoch"] for each in (run, whole)]
    assert losses[0] == losses[1]


def test_run_that_warns_goes_on_and_says_it_once(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_tiny(photos, tmp_path / "run", settings={**ALWAYS, "monitor.on_collapse": "warn"}, quiet=False)

    assert run.read_metrics()[-1]["step"] == 8
    assert capsys.readouterr().err.count("Warning: at step 1 the representation is collapsing") == 1
    records = [record for record in run.read_metrics() if record["kind"] == "step"]
    assert [record["step"] for record in records] == list(range(1, 9))
    assert all(
        {"std", "rank", "loss", "similarity", "image_aware", "learning_rate"} <= record.keys() for record in records
    )
