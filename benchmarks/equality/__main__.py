"""Runs small commands of one checkout and keeps hashes and numbers of what they made, or holds them against another's.

    python -m benchmarks.equality --out before --source ../old-checkout
    python -m benchmarks.equality --out after --against before/equality.json
    python -m benchmarks.equality --out old-runs --inputs before --against before/equality.json

The last reads the runs, checkpoints and results in the folder "before" with the code of this checkout. On one machine,
with one environment, the files equality.json of two equal checkouts have the same content. Exit code 1 if a value
differs, a result or a case is missing, or a command failed. ``--only 'detect*'`` runs some cases, and what they need.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.equality.cases import Case, all_cases, chosen
from benchmarks.equality.commands import FAILED, Workspace, run_all
from benchmarks.equality.compare import compare, lines
from benchmarks.equality.scenes import write_data
from benchmarks.equality.values import Values

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    file = options.out / "equality.json"
    cases = chosen(options.only, needed=not options.inputs) if options.only else all_cases()
    if options.inputs:
        cases = {name: case for name, case in cases.items() if case.needs}
    if options.run:
        began = time.monotonic()
        workspace = Workspace(options.out, options.source, options.inputs)
        results = {**(_read(file) if options.only else {}), **_run(workspace, cases, options.jobs)}
        file.write_text(json.dumps(results, indent=0) + "\n")
        times = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{time.monotonic() - began:.0f} s, of which {times.ru_utime + times.ru_stime:.0f} s of computing")
    results = {name: values for name, values in _read(file).items() if name in cases}
    if not options.against:
        return int(any(FAILED in values for values in results.values()))
    reference = {name: values for name, values in _read(options.against).items() if name in cases}
    comparisons = compare(reference, results)
    print(*lines(comparisons), sep="\n")
    return int(not all(comparison.passed for comparison in comparisons.values()))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.equality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=_folder, required=True, help="gets data/, made/, logs/ and equality.json")
    parser.add_argument(
        "--source", type=_folder, default=ROOT, help="checkout whose src/manyview runs; unset: this one"
    )
    parser.add_argument("--against", type=Path, metavar="FILE", help="equality.json to compare with")
    parser.add_argument(
        "--inputs", type=_folder, metavar="DIR", help="an --out of before: what cases need is read there"
    )
    parser.add_argument("--only", action="append", metavar="CASE", help="name or pattern; may be given several times")
    parser.add_argument("--jobs", type=int, default=1, help="commands at a time; results do not depend on it")
    parser.add_argument("--no-run", dest="run", action="store_false", help="compare what --out holds already")
    return parser.parse_args(arguments)


def _folder(text: str) -> Path:
    return Path(text).resolve()


def _run(workspace: Workspace, cases: Mapping[str, Case], jobs: int) -> dict[str, Values]:
    write_data(workspace.out / "data")
    workspace.check()
    return run_all(cases, workspace, jobs, lambda line: print(line, flush=True))


def _read(file: Path) -> dict[str, Values]:
    return json.loads(file.read_text()) if file.is_file() else {}


if __name__ == "__main__":
    sys.exit(main())
