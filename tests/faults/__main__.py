"""``python -m tests.faults``: see ``--help``. Exits with 1 where a fault ended badly."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import tests.helpers.what_runs_import  # noqa: F401 - once for all children
from manyview.runs import provenance
from tests.faults.campaign import Campaign, Outcome, summary, write_report

FINE = ("equal", "refused", "explained")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Disturb runs, and resume them.")
    parser.add_argument("--count", type=int, default=200, help="how many faults")
    parser.add_argument("--first", type=int, default=0, help="number of the first fault")
    parser.add_argument("--stride", type=int, default=1, help="from the number of a fault to that of the next")
    parser.add_argument("--seed", type=int, help="of all draws; unset: from the clock")
    parser.add_argument("--minutes", type=float, help="end after so long, if not before")
    parser.add_argument("--only", default="", help='workloads, joined by commas, such as "pretrain,linear"')
    parser.add_argument("--out", type=Path, default=Path("build/faults"), help="folder for what failed, and the report")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    shutil.rmtree(options.out / "work", ignore_errors=True)
    print(f"seed {seed}, {options.count} faults", flush=True)
    only = tuple(name for name in options.only.split(",") if name)
    campaign = Campaign((options.out / "work").absolute(), seed, only)
    outcomes: list[Outcome] = []
    begun = time.monotonic()
    for number in range(options.first, options.first + options.count * options.stride, options.stride):
        outcomes.append(campaign.fault(number))
        again = f"{sys.executable} -m tests.faults --seed {seed} --first {number} --count 1"
        _tell(outcomes[-1], f"{again} --only {options.only}" if only else again)
        write_report(options.out / "faults.json", seed, outcomes, {"provenance": provenance()})
        if options.minutes is not None and time.monotonic() - begun > 60 * options.minutes:
            break
    for name, ends in summary(outcomes).items():
        print(f"{name}: {', '.join(f'{count} {end}' for end, count in ends.items())}")
    return int(any(outcome.end not in FINE for outcome in outcomes))


def _tell(outcome: Outcome, again: str) -> None:
    fine = outcome.end in FINE
    shown = f"{outcome.number} {outcome.workload}, {outcome.type}: {outcome.end} ({outcome.what})"
    if outcome.end != "equal":
        shown += "".join(f"\n    {line}" for line in outcome.said)
    print(shown if fine else f"{shown}\n    again: {again}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
