"""What pre-training shows: a bar that fits its terminal."""

from __future__ import annotations

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
