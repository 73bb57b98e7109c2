"""``python -m tests.fuzz``: see ``--help``. Exits with 1 where something failed."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path

from tests.fuzz.campaign import ADDRESSES, MEMORY, SECONDS, Campaign, Report, load_case, make_case, seed_names


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Read mutated images and label files.")
    parser.add_argument("--minutes", type=float, help="how long; unset: --inputs")
    parser.add_argument("--inputs", type=int, default=2000, help="how many, where no time is given")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, help="of the mutations; unset: from the clock")
    parser.add_argument("--only", default="", help='formats that begin so, such as "tiff" or "csv list"')
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="folder for inputs that failed")
    parser.add_argument("--replay", type=Path, help="read one input that failed again, in a process of its own")
    options = parser.parse_args()
    if options.replay is not None:
        case = load_case(options.replay)
        report = Campaign(lambda _: case, options.out / "again").run(range(1))
        return _tell(report, time.monotonic())
    seed = int(time.time()) if options.seed is None else options.seed
    names = seed_names(options.only)
    print(
        f"seed {seed}, {len(names)} sound files; each input: {SECONDS} s of processor time, {MEMORY // 2**20} MiB of "
        f"memory beyond the start, {ADDRESSES // 2**30} GiB of addresses",
        flush=True,
    )
    start = time.monotonic()
    campaign = Campaign(lambda number: make_case(seed, number, names), options.out)
    if options.minutes is None:
        return _tell(campaign.run(range(options.first, options.first + options.inputs)), start)
    end, step = start + 60 * options.minutes, 10_000
    for first in itertools.count(options.first, step):
        report = campaign.run(range(first, first + step), end)
        print(f"{time.monotonic() - start:.0f} s: {_counts(report)}", flush=True)
        if time.monotonic() >= end:
            break
    return _tell(report, start)


def _counts(report: Report) -> str:
    parts = [f"{count:,} {outcome}" for outcome, count in sorted(report.outcomes.items())]
    return f"{report.outcomes.total():,} inputs: {', '.join(parts)}"


def _tell(report: Report, start: float) -> int:
    print(f"{_counts(report)}; {time.monotonic() - start:.0f} s")
    for what, count in report.failures.most_common():
        print(f"  {count} x {what}")
    for folder in report.folders:
        what = (folder / "what.txt").read_text().splitlines()
        print(f"  {what[2][:250]}\n    {what[0]}")
    return 1 if report.outcomes["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
