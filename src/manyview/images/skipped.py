"""Record of the images that cannot be read, in training and in feature extraction."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from manyview.errors import UserError
from manyview.images.files import ImageFiles
from manyview.runs import atomic_write

_NAMED = 5  # images named in the message


class SkippedImages:
    """Writes unreadable images to a CSV file as they are found, and raises when there are too many.

    Args:
        files: all images.
        limit: share of unreadable images above which an error is raised, from 0 to 1.
        listing: the CSV file for their names and reasons.
        setting: name of the limit, for the message.
        resume: whether images already in the list count.
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
        self._shards = {shard.name: shard.reason for shard in files.bad}
        self._lost = sum(shard.lost for shard in files.bad)
        self.reasons = {**(read_skipped(listing) if resume else {}), **self._shards}
        if files.bad and self.share > limit:
            self._refuse(f"above the limit of {100 * limit:g}%")

    @property
    def count(self) -> int:
        """Number of listed images that cannot be read; the list may also name shards."""
        return len(self.reasons.keys() - self._shards.keys())

    @property
    def share(self) -> float:
        """Share of unreadable images, with those that shards lack: as estimated, since only those shards know."""
        return (self.count + self._lost) / (len(self.files) + self._lost)

    def add(self, found: Iterable[tuple[int, str]], complete: bool = True) -> None:
        """Add unreadable images.

        Args:
            found: index and reason of each.
            complete: False where too many in a row could not be read to replace them.

        Raises:
            UserError: the share of unreadable images is above the limit or 1, or not ``complete``; the message names
                the first of them.
        """
        new = {self.files[index]: reason for index, reason in found}
        if not new.keys() <= self.reasons.keys():
            self.reasons |= new
            self.write()
        if self.share > self.limit:
            self._refuse(f"above the limit of {100 * self.limit:g}%")
        if not complete:
            self._refuse("and too many of them in a row")
        if self.count == len(self.files):
            self._refuse("and none is left")

    def write(self) -> None:
        """Write the list, or remove an older one if nothing was skipped."""
        if not self.writes:
            return
        if self.reasons:
            write_skipped(self.listing, self.reasons)
        else:
            self.listing.unlink(missing_ok=True)

    def _refuse(self, why: str) -> None:
        examples = [f"{name} ({reason})" for name, reason in sorted(self.reasons.items())]
        more = f" and {len(examples) - _NAMED} more" if len(examples) > _NAMED else ""
        total = len(self.files) + self._lost
        about = "about " if self._lost else ""
        listed = f"; those found so far are listed in {self.listing}" if self.count else ""
        raise UserError(
            f"{about}{self.count + self._lost} of {total:,} images cannot be read, {self.share:.1%}, {why}: "
            f"{', '.join(examples[:_NAMED])}{more}{listed}; remove or repair them, or raise {self.setting}"
        )


def write_skipped(listing: Path, reasons: dict[str, str]) -> None:
    """Write names and reasons as CSV, sorted by name."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "reason"])
    writer.writerows(sorted(reasons.items()))
    atomic_write(listing, text.getvalue())


def read_skipped(listing: Path) -> dict[str, str]:
    """Names and reasons from a file of ``write_skipped``, as far as it is intact; empty if it does not exist."""
    found: dict[str, str] = {}
    if not listing.is_file():
        return found
    with listing.open(newline="", encoding="utf-8", errors="surrogateescape") as lines, suppress(csv.Error):
        for row in csv.DictReader(lines):
            if isinstance(row.get("image"), str) and isinstance(row.get("reason"), str):
                found[row["image"]] = row["reason"]
    return found
