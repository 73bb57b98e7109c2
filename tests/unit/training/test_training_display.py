"""What pre-training shows: a bar that fits its terminal, and lines where there is none."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from manyview.runs.progress import StepClock
from manyview.training.display import TrainingDisplay
from tests.helpers.terminal import bars


def midway(console: Console) -> TrainingDisplay:
    clock = StepClock()
    clock.add(0.5, 0.05)
    display = TrainingDisplay(18_000, 200, console=console).__enter__()
    display.update(1_200, 13, -0.5, 512, clock)
    return display


@pytest.mark.parametrize("width", [80, 100])
def test_on_a_narrow_terminal_the_status_is_cut_and_nothing_else(width: int) -> None:
    [line] = bars(width, midway)
    assert line.startswith("epoch 14/200 ")
    assert "1,200/18,000 steps left 2 h 20 min" in line
    assert line.endswith("…")
    assert len(line) <= width


def test_on_a_wide_terminal_all_is_there() -> None:
    [line] = bars(160, midway)
    assert line.endswith("loss -0.5000  1,024 views/s  waiting for data 10%")


def test_in_a_file_there_is_a_line_for_each_epoch_and_one_a_minute_within(monkeypatch: pytest.MonkeyPatch) -> None:
    target, now = io.StringIO(), [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = StepClock()
    clock.add(20.0, 2.0)
    with TrainingDisplay(20, 2, console=Console(file=target, width=40, soft_wrap=True)) as display:
        for step in range(1, 11):
            now[0] += 20
            display.update(step, 0, -0.5, 512, clock)
            if step == 5:
                display.epoch_done(0, -0.25, 0.9, 31.5, 300.0)
    lines = [line.split("  ", 1)[1] for line in target.getvalue().splitlines()]
    rest = "epoch 1/2  loss -0.5000  26 views/s  waiting for data 10%  left"
    assert lines == [
        f"step 3/20  {rest} 5 min 40 s",
        "epoch 1/2  loss -0.2500  std 0.90  rank 31.5  left 5 min 00 s",
        f"step 8/20  {rest} 4 min 00 s",
    ]
