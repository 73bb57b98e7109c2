"""The account of images that cannot be read, in training and wherever features are extracted."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from manyview.errors import UserError
from manyview.images.files import ImageFiles
from manyview.runs import atomic_write

_NAMED = 5  # of them in the message


class SkippedImages:
    """Lists unreadable images in a CSV file as they are found, and ends the work when there are too many.

    Args:
        files: all images.
        limit: share of them above which the work ends, from 0 to 1.
        listing: the CSV file for their names and reasons.
        setting: what the user calls the limit.
        resume: whether those that are listed already count.
        writes: whether this process writes the list.
    """

    def __init__(
        self,
        files: ImageFiles,
        limit: float | int,
        listing: Path,
        setting: str,
        *,
        resume: bool = False,
        writes: bool = True,
    ) -> None:
        self.files, self.limit, self.listing, self.setting, self.writes = files, limit, listing, setting, writes
        self.reasons = read_skipped(listing) if resume else {}

    def add(self, found: Iterable[tuple[int, str]], complete: bool = True) -> None:
        """Take note of some.

        Args:
            found: index and reason of each.
            complete: False where too many in a row could not be read to put others in their place.

        Raises:
            UserError: their share of all images is above the limit, they are all, or not ``complete``; the message
                names the first of them.
        """
        new = {self.files[index]: reason for index, reason in found}
        if not new.keys() <= self.reasons.keys():
            self.reasons |= new
            self.write()
        share = len(self.reasons) / len(self.files)
        if share > self.limit:
            self._refuse(f"above the limit of {100 * self.limit:g}%")
        if not complete:
            self._refuse("and too many of them in a row")
        if share == 1:
            self._refuse("and none is left")

    def write(self) -> None:
        """Write the list, or remove an older one where nothing was skipped."""
        if not self.writes:
            return
        if self.reasons:
            write_skipped(self.listing, self.reasons)
        else:
            self.listing.unlink(missing_ok=True)

    def _refuse(self, why: str) -> None:
        examples = [f"{name} ({reason})" for name, reason in sorted(self.reasons.items())]
        more = f" and {len(examples) - _NAMED} more" if len(examples) > _NAMED else ""
        raise UserError(
            f"{len(examples)} of {len(self.files):,} images cannot be read, "
            f"{len(examples) / len(self.files):.1%}, {why}: {', '.join(examples[:_NAMED])}{more}; those found so far "
            f"are listed in {self.listing}; remove or mend them, or raise {self.setting}"
        )


def write_skipped(listing: Path, reasons: dict[str, str]) -> None:
    """Write names and reasons as CSV, sorted by name."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "reason"])
    writer.writerows(sorted(reasons.items()))
    atomic_write(listing, text.getvalue())


def read_skipped(listing: Path) -> dict[str, str]:
    """Names and reasons from such a file; none where it is not there."""
    if not listing.is_file():
        return {}
    with listing.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        return {row["image"]: row["reason"] for row in csv.DictReader(lines)}
