"""All evaluations of several backbones and of random init: one JSON and three tables.

    python -m benchmarks.evaluation.several quality/paper quality/simsiam --images SCENES/images \
        --train SCENES/train.csv --val SCENES/val.csv --size 128 --out evaluations

Evaluations that are finished in --out are skipped; with --page, the tables in its --section are replaced.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.arguments import add_labeled_images, add_page, command_line
from benchmarks.records import origin, put_between_markers, table, write_json
from manyview.evaluation import knn_evaluation, linear_evaluation, low_label_evaluation

POOLS = {"gamp": "GAMP", "avg": "GAP", "max": "GMP", "avg_minus_max": "(GAP - GMP)/2", "cat": "GAP and GMP"}
FRACTIONS = (0.01, 0.1, 1.0)
MEASURES: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, Any]]] = {
    **{f"logistic-{pool}": (linear_evaluation, {"pool": pool}) for pool in POOLS},
    "paper-gamp": (linear_evaluation, {"recipe": "paper", "cached": True}),
    "knn": (knn_evaluation, {}),
    "probe": (low_label_evaluation, {"fractions": FRACTIONS}),
}
RANDOM = "random init"


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    results = {path.name: measured(path, options, random_init=not index) for index, path in enumerate(options.weights)}
    write_json(
        options.out / "evaluations.json", {"provenance": origin("evaluation.several", given), "results": results}
    )
    text = "\n\n".join(tables(results))
    (options.out / "tables.md").write_text(text + "\n")
    if options.page:
        put_between_markers(options.page, options.section, text)
    print(text)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("weights", type=Path, nargs="+", help="run folders or checkpoints, named by their last part")
    add_labeled_images(parser)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES), help="evaluations to make")
    parser.add_argument("--workers", type=int, help="loader processes")
    parser.add_argument("--out", type=Path, required=True)
    add_page(parser, "evaluations")
    return parser.parse_args(arguments)


def measured(weights: Path, options: argparse.Namespace, *, random_init: bool) -> dict[str, Any]:
    """Run the chosen evaluations that are not finished; the results of all finished ones."""
    for name in options.only:
        evaluate, settings = MEASURES[name]
        out = options.out / f"{weights.name}-{name}"
        if not (out / "metrics.json").is_file():
            print(f"{weights.name}: {name}", file=sys.stderr, flush=True)
            evaluate(
                weights,
                images=options.images,
                train_labels=options.train,
                val_labels=options.val,
                out=out,
                size=options.size,
                workers=options.workers,
                beside="random" if random_init else "none",
                **settings,
            )
    done = {name: options.out / f"{weights.name}-{name}" / "metrics.json" for name in MEASURES}
    return {name: json.loads(file.read_text()) for name, file in done.items() if file.is_file()}


def tables(results: dict[str, dict[str, Any]]) -> list[str]:
    """Tables of linear, nearest-neighbor and low-label evaluation, of poolings, and of run times."""
    made = [name for name in MEASURES if any(name in one for one in results.values())]
    rows = [row for row in lines(results) if {"logistic-gamp", "paper-gamp", "knn", "probe"} <= row[1].keys()]
    pooled = [row for row in lines(results) if {f"logistic-{pool}" for pool in POOLS} <= row[1].keys()]
    shares = [f"{100 * share:g} % of the labels" for share in FRACTIONS]
    overall = table(
        ["backbone", "logistic mAP", "CF1", "best CF1", "the paper's head: mAP", "kNN mAP", *shares],
        [[name, *overall_figures(one, which)] for name, one, which in rows],
    )
    pools = table(
        ["backbone", *(f"{title} {figure}" for title in POOLS.values() for figure in ("mAP", "CF1"))],
        [[name, *pool_figures(one, which)] for name, one, which in pooled],
    )
    seconds = table(
        ["backbone", *(f"{name}, s" for name in made)],
        [[name, *(seconds_of(one.get(measure)) for measure in made)] for name, one in results.items()],
    )
    return [overall, pools, seconds]


def seconds_of(evaluation: dict[str, Any] | None) -> str:
    return f"{evaluation['provenance']['seconds']:.0f}" if evaluation else ""


def lines(results: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any], str]]:
    """Name, evaluations and key in their results of each row; random init first."""
    found = [
        (RANDOM, one, "random_init")
        for one in results.values()
        if all("random_init" in evaluation["results"] for evaluation in one.values())
    ]
    return found + [(name, one, "pretrained") for name, one in results.items()]


def overall_figures(one: dict[str, Any], which: str) -> list[str]:
    logistic, paper, knn, probe = (
        one[name]["results"][which] for name in ("logistic-gamp", "paper-gamp", "knn", "probe")
    )
    shares = [entry["summary"]["mAP"] for entry in probe]
    return [
        with_interval(logistic),
        percent(logistic["CF1"]),
        percent(logistic["rules"]["best F1 on train"]["CF1"]),
        percent(paper["mAP"]),
        with_interval(knn),
        *(f"{percent(share['mean'])} ± {percent(share['std'])}" for share in shares[:-1]),
        percent(shares[-1]["mean"]),
    ]


def pool_figures(one: dict[str, Any], which: str) -> list[str]:
    reports = [one[f"logistic-{pool}"]["results"][which] for pool in POOLS]
    return [percent(report[figure]) for report in reports for figure in ("mAP", "CF1")]


def with_interval(report: dict[str, Any]) -> str:
    low, high = report["intervals"]["mAP"]
    return f"{percent(report['mAP'])} [{percent(low)}, {percent(high)}]"


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


if __name__ == "__main__":
    main()
