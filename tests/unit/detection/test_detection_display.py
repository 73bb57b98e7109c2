"""Progress of fine-tuning: a bar that fits its terminal, and lines where there is none."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from manyview.detection.display import DetectionDisplay
from manyview.runs.progress import StepClock
from tests.helpers.terminal import bars

LOSSES = {
    **{"loss": 4.25, "loss_classifier": 2.5, "loss_box_reg": 0.5, "loss_mask": 0.7, "loss_objectness": 0.5},
    "loss_rpn_box_reg": 0.05,
}


def clock() -> StepClock:
    clock = StepClock()
    clock.add(0.5, 0.05)
    return clock


def shown(width: int) -> list[str]:
    """The lines of the bars in the midst of measuring."""

    def measuring(console: Console) -> DetectionDisplay:
        display = DetectionDisplay(24_000, console=console).__enter__()
        display.update(1_200, LOSSES, clock())
        display.measuring(0, 750, "measuring")
        display.measuring(30, 750, "measuring")
        return display

    return bars(width, measuring)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_on_a_narrow_terminal_the_losses_are_cut_and_nothing_else(width: int) -> None:
    training, measuring = shown(width)
    assert training.split()[0] == "training"
    assert "1,200/24,000 left 3 h 10 min" in training
    assert training.endswith("…")
    assert len(training) <= width
    assert measuring.startswith("measuring")
    assert " 30/750 " in measuring
    assert "left " in measuring


def test_on_a_wide_terminal_all_is_there() -> None:
    training, _ = shown(160)
    parts = "class 2.50, box 0.50, mask 0.70, proposal 0.50, proposal box 0.05"
    assert training.endswith(f"loss 4.250 ({parts})  waiting for data 10%")


@pytest.mark.parametrize("width", [40, 200])
def test_in_a_file_lines_come_now_and_then_and_are_whole(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    target, now = io.StringIO(), 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with DetectionDisplay(100, console=Console(file=target, width=width, soft_wrap=True)) as display:
        for iteration in range(1, 51):
            now += 1
            display.update(iteration, LOSSES, clock())
        for done in range(76):
            display.measuring(done, 75, "measuring")
            now += 2
        display.update(100, LOSSES, clock())
    lines = [line.split("  ", 1)[1] for line in target.getvalue().splitlines()]
    assert [line.split("  ")[:2] for line in lines] == [
        ["iteration 1/100", "left 50 s"],
        ["iteration 31/100", "left 34 s"],
        ["measuring 6/75", "left 2 min 18 s"],
        ["measuring 21/75", "left 1 min 48 s"],
        ["measuring 36/75", "left 1 min 18 s"],
        ["measuring 51/75", "left 48 s"],
        ["measuring 66/75", "left 18 s"],
        ["iteration 100/100", "left 0 s"],
    ]
