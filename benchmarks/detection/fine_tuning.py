"""Fine-tuning of the same detector on several backbones and on random init: one JSON and one table.

    python -m benchmarks.detection.fine_tuning runs/a --images VOC/images --train VOC/instances_train.json \
        --val VOC/instances_val.json --iterations 1500 --out detection

Everything but the backbone's weights is the same: schedule, order, samples, initial weights of the heads. Fine-tunings
that are finished in --out are skipped; those that were stopped are resumed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from benchmarks.arguments import add_labeled_images, add_page, command_line
from manyview.cli.main import prepare

prepare()  # as the command does, before PyTorch is imported

from benchmarks.records import origin, put_between_markers, table, write_json  # noqa: E402
from manyview.backbones import network_of  # noqa: E402
from manyview.cli.parts.command import flag, parsed_type  # noqa: E402
from manyview.detection.finetune import fine_tune  # noqa: E402
from manyview.detection.tables import percent  # noqa: E402
from manyview.options.base import declared  # noqa: E402
from manyview.options.detection import FineTuneOptions  # noqa: E402
from manyview.runs import RunFolder  # noqa: E402
from manyview.runs.figures import DETECTION  # noqa: E402

RANDOM = "random-init"
# Of manyview detect's options, those that this takes too.
TAKEN = [
    declared(FineTuneOptions)[name]
    for name in (
        *("recipe", "architecture", "iterations", "batch_size", "learning_rate", "short_side", "regions"),
        *("test_proposals", "eval_every", "seed", "workers", "device", "precision"),
    )
]
FIGURES = {title: where for title, where in DETECTION.items() if where[0] != "mask"}


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    results = {}
    for name in chosen(options):
        results[name] = fine_tuned(name, options)
        about = {"provenance": origin("detection.fine_tuning", given), "results": results}
        write_json(options.out / "detection.json", about)
    text = markdown(results)
    (options.out / "table.md").write_text(text + "\n")
    if options.page:
        put_between_markers(options.page, options.section, text)
    print(text)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("weights", type=Path, nargs="+", help="run folders or checkpoints, named by their last part")
    add_labeled_images(parser, "objects")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", help=f"names of the rows to make; {RANDOM} is one")
    for each in TAKEN:
        parsed = each.option.parsed or parsed_type(each.type)
        choices = get_args(parsed) if get_origin(parsed) is Literal else None
        [plain] = {str} if choices else (set(get_args(parsed)) or {parsed}) - {type(None)}
        parser.add_argument(flag(each), type=plain, choices=choices, default=each.option.default, help=each.option.help)
    add_page(parser, "detection")
    return parser.parse_args(arguments)


def chosen(options: argparse.Namespace) -> list[str]:
    """Rows by name, random init first."""
    names = [RANDOM, *(path.name for path in options.weights)]
    return [name for name in names if not options.only or name in options.only]


def fine_tuned(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Result of one fine-tuning: run, resumed, or read if it is finished."""
    out = options.out / name
    if (out / "metrics.json").is_file():
        return dict(json.loads((out / "metrics.json").read_text()))
    by_name = {path.name: path for path in options.weights}
    print(f"{name}:", file=sys.stderr, flush=True)
    random = name == RANDOM
    return fine_tune(
        "random" if random else by_name[name],
        backbone=network_of(options.weights[0]) if random else None,
        images=options.images,
        train_labels=options.train,
        val_labels=options.val,
        out=out,
        beside="none",
        **{each.name: getattr(options, each.name) for each in TAKEN},
        resume=RunFolder(out).holds_a_run,
    )


def markdown(results: dict[str, dict[str, Any]]) -> str:
    """Table with a row for each backbone and evaluation, in percent."""
    rows = [
        [name, f"{found['iteration']:,}", *(percent(found[metric][figure]) for metric, figure in FIGURES.values())]
        for name, result in results.items()
        for found in result["by_iteration"]
    ]
    return table(["weights at the start", "iterations", *FIGURES], rows)


if __name__ == "__main__":
    main()
