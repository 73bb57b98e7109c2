"""Columns of progress bars that training and fine-tuning share."""

from __future__ import annotations

from rich.progress import ProgressColumn, Task
from rich.table import Column
from rich.text import Text


class StatusColumn(ProgressColumn):
    """Words in the room that the other columns leave, cut where it ends: rich would else cut all columns alike."""

    def __init__(self) -> None:
        super().__init__(Column(overflow="ellipsis"))

    def render(self, task: Task) -> Text:
        """What the task's field ``status`` says."""
        return Text(task.fields["status"], no_wrap=True)
