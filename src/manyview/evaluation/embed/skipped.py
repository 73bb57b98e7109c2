"""The account of photographs that features were wanted of, and that cannot be read."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from manyview.errors import UserError
from manyview.evaluation.embed.photographs import Unread
from manyview.images import ImageFiles
from manyview.runs import atomic_write

_NAMED = 5


class Skipped:
    """Counts photographs that cannot be read, and ends the work when there are too many.

    Args:
        files: all photographs.
        limit: share of them above which the work ends, from 0 to 1.
        listing: the CSV file for their names and reasons.
    """

    def __init__(self, files: ImageFiles, limit: float | int, listing: Path) -> None:
        self.files, self.limit, self.listing = files, limit, listing
        self.reasons: dict[str, str] = {}

    def add(self, unread: Sequence[Unread]) -> None:
        """Take note of some.

        Raises:
            UserError: their share of all photographs is above the limit, or none could be read at all.
        """
        self.reasons |= {self.files[item.index]: item.reason for item in unread}
        share = len(self.reasons) / len(self.files)
        if unread and (share > self.limit or share == 1):
            self.write()
            limit = f"above the limit of {100 * self.limit:g}%" if share > self.limit else "and none is left"
            examples = [f"{name} ({reason})" for name, reason in self.reasons.items()]
            more = f" and {len(examples) - _NAMED} more" if len(examples) > _NAMED else ""
            raise UserError(
                f"{len(examples)} of {len(self.files):,} photographs cannot be read, {share:.1%}, {limit}: "
                f"{', '.join(examples[:_NAMED])}{more}; those found so far are listed in {self.listing}; "
                "remove or mend them, or raise max_bad_fraction"
            )

    def write(self) -> None:
        """Write the list, or remove an older one where nothing was skipped."""
        if not self.reasons:
            self.listing.unlink(missing_ok=True)
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", "reason"])
        writer.writerows(sorted(self.reasons.items()))
        atomic_write(self.listing, text.getvalue())
