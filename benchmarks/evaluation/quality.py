"""Comparison of the recipes at an equal number of views: pre-training and evaluation, one JSON and one table.

    python -m benchmarks.evaluation.quality SCENES/images --train SCENES/train.csv --val SCENES/val.csv --out quality

Runs that are finished in --out are skipped; runs that were stopped are resumed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Float64
from torch import Tensor

import manyview
from benchmarks.arguments import command_line
from manyview.backbones import Backbone, load_backbone
from manyview.backbones.build import untrained
from manyview.backbones.norm_statistics import set_norms
from manyview.evaluation import linear_evaluation
from manyview.evaluation.data import Data, Sources
from manyview.evaluation.features.extract import FeatureSettings, combine, extract
from manyview.evaluation.features.norms import measure_on_images
from manyview.evaluation.logistic.classifiers import fit_logistic, solver_device
from manyview.evaluation.metrics.multilabel import multilabel_metrics
from manyview.recipes.reproduce.jobs import run_state
from manyview.runs import RunFolder, atomic_write, provenance
from manyview.runtime import resolve_device


@dataclass(frozen=True)
class Case:
    """One row of the table: a recipe and changed settings."""

    name: str
    recipe: str
    pairs: int
    settings: dict[str, Any] = field(default_factory=dict)
    pairs_per_step: int = 256


CASES = (
    Case("recommended", "recommended", 4, pairs_per_step=64),
    Case("paper", "paper", 4),
    Case("paper-17", "paper", 4, {"losses.image_aware.weight": 17.1}),
    Case("paper-68", "paper", 4, {"losses.image_aware.weight": 68}),
    Case("paper-0", "paper", 4, {"losses.image_aware.weight": 0}),
    Case("simsiam", "simsiam", 1),
    Case("simsiam-4pairs", "simsiam-4pairs", 4),
    # Keys of the last four steps: few enough that half of the images are not in the queue.
    Case("mocov2", "mocov2", 1, {"method.queue": 1024}),
    # Four times as many steps, a key encoder that keeps up with so few, and norms over 32 images as before.
    Case(
        "mocov2-64",
        "mocov2",
        1,
        {
            "method.queue": 1024,
            "method.momentum": 0.99,
            "method.shuffled_parts": 2,
            "training.base_learning_rate": 0.12,
        },
        pairs_per_step=64,
    ),
    # L_sim a thousandth of L_ia, whose own rate is .3 for 256 pairs.
    Case(
        "image-aware",
        "paper",
        4,
        {
            "losses.image_aware.weight": 1000,
            "losses.image_aware.form": "out",
            "losses.image_aware.vectors": "projections",
            "losses.image_aware.temperature": 0.15,
            "method.projection_dim": 256,
            "training.base_learning_rate": 3e-4,
            "backbone.zero_init_residual": "false",
        },
        pairs_per_step=64,
    ),
)
POOLS = ("gamp", "avg")
INSTRUMENTS = ("logistic", "linear")
"""Logistic regression, and the head of the paper's protocol on features extracted once."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = {}
    for case in chosen(options):
        rows[case.name] = row(case, options)
        write(rows, options)
    print((options.out / "table.md").read_text())


def chosen(arguments: argparse.Namespace) -> list[Case]:
    """The chosen rows, in the given order."""
    by_name = {case.name: case for case in CASES}
    return [by_name[name] for name in arguments.only or by_name]


def row(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """Pre-train and evaluate one case, or read earlier results."""
    run = pretrained(case, arguments)
    random_init = case == chosen(arguments)[0]
    instruments = {"linear": linear, "logistic": logistic_regression}
    results = {name: instruments[name](case.name, run, arguments, random_init) for name in arguments.instruments}
    return {"pretraining": story(run), **results}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("--train", type=Path, required=True, help="training labels")
    parser.add_argument("--val", type=Path, required=True, help="validation labels")
    parser.add_argument("--list", type=Path, help="images for pre-training; unset: those of --train")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--views", type=int, default=150_000, help="views that each run sees, at least")
    parser.add_argument("--view-size", type=int, default=64)
    parser.add_argument("--eval-size", type=int, default=64)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=[case.name for case in CASES], help="names of the rows to make")
    parser.add_argument("--instruments", nargs="+", choices=INSTRUMENTS, default=["logistic"], help="evaluations")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for all runs")
    return parser.parse_args(arguments)


def pretrained(case: Case, arguments: argparse.Namespace) -> RunFolder:
    listed = arguments.list or arguments.train
    images = len(listed.read_text().splitlines()) - 1
    epochs = -(-arguments.views // (images * 2 * case.pairs))
    folder = RunFolder(arguments.out / case.name)
    if run_state(folder) == "done":
        return folder
    settings = [*(f"{key}={value}" for key, value in case.settings.items()), *arguments.set]
    return manyview.pretrain(
        arguments.images,
        folder.path,
        recipe=case.recipe,
        list=listed,
        backbone=arguments.backbone,
        view_size=arguments.view_size,
        batch_size=case.pairs_per_step // case.pairs,
        epochs=epochs,
        seed=arguments.seed,
        set=settings,
        resume=folder.holds_a_run,
    )


def story(run: RunFolder) -> dict[str, Any]:
    """Command, commit, views, seconds of work and last epoch of a run."""
    about, epochs = run.read_json("run.json"), [row for row in run.read_metrics() if row["kind"] == "epoch"]
    return {
        "command": shlex.join(about["command"]),
        "commit": about["commit"],
        "views": epochs[-1]["step"] * about["plan"]["views_per_step"],
        "photographs": about["plan"]["photographs"],
        "seconds": epochs[-1].get("elapsed"),
        "last_epoch": epochs[-1],
    }


def linear(name: str, run: RunFolder, arguments: argparse.Namespace, random_init: bool) -> dict[str, Any]:
    """The paper's linear evaluation on cached features for each pooling, optionally also of a random init."""
    results = {}
    for pool in POOLS:
        out = arguments.out / f"{name}-linear-{pool}"
        if (out / "metrics.json").is_file():
            results[pool] = json.loads((out / "metrics.json").read_text())["results"]
            continue
        began = time.monotonic()
        result = linear_evaluation(
            run,
            images=arguments.images,
            train_labels=arguments.train,
            val_labels=arguments.val,
            out=out,
            pool=pool,
            size=arguments.eval_size,
            recipe="paper",
            cached=True,
            beside="random" if random_init else "none",
        )
        results[pool] = result["results"]
        print(f"{name}, {pool}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return results


def logistic_regression(name: str, run: RunFolder, arguments: argparse.Namespace, random_init: bool) -> dict[str, Any]:
    """Logistic regression on the same features, for each pooling.

    The norm statistics of a random init are measured on the training images, as those of trained weights.
    """
    file = arguments.out / f"{name}-logistic.json"
    if file.is_file():
        return dict(json.loads(file.read_text()))
    data = Sources(arguments.images, arguments.train, arguments.val).read()
    networks = {"pretrained": load_backbone(run)}
    if random_init:
        networks["random_init"] = measured(untrained(networks["pretrained"], arguments.seed), data, arguments)
    device = solver_device(resolve_device("auto"))
    results: dict[str, Any] = {pool: {} for pool in POOLS}
    for which, network in networks.items():
        parts = [
            extract(network, part.folder, part.labels.names, arguments.eval_size) for part in (data.train, data.val)
        ]
        for pool in POOLS:
            train, val = (combine(part, pool).double() for part in parts)
            found = by_logistic(train.to(device), val.to(device), data, arguments.seed)
            if found["cost_at_edge"]:
                print(f"{name}, {pool}: C = {found['cost']:g} lies at the edge of the grid", file=sys.stderr)
            results[pool][which] = found
    atomic_write(file, json.dumps(results, indent=1))
    return results


def by_logistic(
    train: Float64[Tensor, "images dim"], val: Float64[Tensor, "others dim"], data: Data, seed: int
) -> dict[str, Any]:
    """Multi-label metrics on the validation images, the chosen C, and the mAP of each C in cross-validation."""
    labels, others = data.train.labels, data.val.labels
    classifiers = fit_logistic(train, labels.targets, labels.ignored, seed=seed)
    choice = classifiers.choice
    assert choice is not None
    scores = classifiers.probabilities(val).cpu()
    return {
        **multilabel_metrics(scores, others.targets, ignored=others.ignored),
        "cost": float(choice.costs[0]),
        "cost_at_edge": bool(choice.at_edge.any()),
        "cross_validated": dict(choice.tried),
    }


def measured(network: Backbone, data: Data, arguments: argparse.Namespace) -> Backbone:
    """A network without trained statistics of its norms, with those of the training images."""
    settings = FeatureSettings("gamp", arguments.eval_size, None, "auto", "auto")
    set_norms(network, measure_on_images(network, data.train.folder, data.train.labels.names, settings, arguments.seed))
    return network


def write(rows: dict[str, Any], arguments: argparse.Namespace) -> None:
    content = {"provenance": provenance(), "arguments": {k: str(v) for k, v in vars(arguments).items()}, "rows": rows}
    atomic_write(arguments.out / "quality.json", json.dumps(content, indent=1))
    columns = [(instrument, pool) for instrument in arguments.instruments for pool in POOLS]
    lines = [
        "| run | views seen | std | rank | " + " | ".join(f"{i}, {p}: mAP | CF1" for i, p in columns) + " |",
        "| --- | ---: | ---: | ---: |" + " ---: | ---: |" * len(columns),
    ]
    for name, row in rows.items():
        if "random_init" in row[columns[0][0]][POOLS[0]]:
            lines.append("| random init | 0 | | | " + figures(row, columns, "random_init") + " |")
        last = row["pretraining"]["last_epoch"]
        head = f"| {name} | {row['pretraining']['views']:,} | {last['std']:.2f} | {last['rank']:.0f} | "
        lines.append(head + figures(row, columns, "pretrained") + " |")
    atomic_write(arguments.out / "table.md", "\n".join(lines) + "\n")


def figures(row: dict[str, Any], columns: list[tuple[str, str]], which: str) -> str:
    results = [row[instrument][pool][which] for instrument, pool in columns]
    return " | ".join(f"{100 * result['mAP']:.1f} | {100 * result['CF1']:.1f}" for result in results)


if __name__ == "__main__":
    main()
