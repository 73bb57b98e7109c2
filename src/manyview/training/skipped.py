"""The account of photographs that could not be read."""

from __future__ import annotations

from collections.abc import Sequence

from manyview.errors import UserError
from manyview.images import ImageFiles
from manyview.runs import RunFolder

_NAMED = 5


class SkippedPhotographs:
    """Counts unreadable photographs, keeps ``skipped.csv`` and stops the run when there are too many."""

    def __init__(self, folder: RunFolder, files: ImageFiles, limit: float, *, writes: bool = True) -> None:
        self.folder = folder
        self.files = files
        self.limit = limit
        self.writes = writes
        self.reasons = folder.read_skipped()

    def add(self, skipped: Sequence[tuple[int, str]], complete: bool) -> None:
        """Take note of a batch's unreadable photographs.

        Args:
            skipped: index and reason of each.
            complete: False where no stand-in could be read either.

        Raises:
            UserError: their share of all photographs is above the limit; the message names the first of them.
        """
        found = {self.files[image]: reason for image, reason in skipped}
        if not found.keys() <= self.reasons.keys():
            self.reasons |= found
            if self.writes:
                self.folder.write_skipped(self.reasons)
        share = len(self.reasons) / len(self.files)
        if share > self.limit or not complete:
            examples = [f"{name} ({reason})" for name, reason in sorted(self.reasons.items())]
            limit = f"above the limit of {self.limit:.0%}" if share > self.limit else "and too many of them in a row"
            more = f" and {len(examples) - _NAMED} more" if len(examples) > _NAMED else ""
            raise UserError(
                f"{len(examples)} of {len(self.files):,} photographs cannot be read, {share:.1%}, {limit}: "
                f"{', '.join(examples[:_NAMED])}{more}; all are listed in "
                f"{self.folder.path / 'skipped.csv'}; remove or mend them, or raise data.max_bad_fraction"
            )
