"""What several backbones are worth by each instrument: mAP by logistic regression and by heads trained with SGD.

    python -m benchmarks.evaluation.instruments random runs/* build/imagenet/efficientnet-lite0.safetensors \
        --images SCENES/images --train SCENES/train.csv --val SCENES/val.csv --size 128 --out instruments

"random" is a random init of the first weights' network, with norm statistics measured on the training
images. Features are extracted once for all instruments and kept in --out, as are their figures, which are not made
again: other images or settings need another --out. Below the table stands how alike the instruments rank the backbones
(Spearman's and Kendall's correlation).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64
from scipy.stats import kendalltau, spearmanr
from torch import Tensor

from benchmarks.arguments import add_labeled_images, command_line
from benchmarks.records import origin, table, write_json
from manyview.backbones import Backbone, load_backbone
from manyview.backbones.build import untrained
from manyview.backbones.norm_statistics import set_norms
from manyview.evaluation.data import Data, Sources
from manyview.evaluation.features.extract import FeatureSettings, combine, extract
from manyview.evaluation.features.norms import measure_on_images
from manyview.evaluation.linear.head import HeadSettings, HeadTraining, new_head, train_head
from manyview.evaluation.linear.recipes import RATE_BY_CLASS, RECIPES
from manyview.evaluation.linear.sgd import cached_batches, known_targets, probabilities
from manyview.evaluation.logistic.classifiers import fit_logistic, solver_device
from manyview.evaluation.metrics.multilabel import multilabel_metrics
from manyview.runs import atomic_write
from manyview.runtime import resolve_device, single_thread

Features = Float32[Tensor, "images dim"]
Scores = Float64[Tensor, "images classes"]
RANDOM = "random"
SETTINGS = ("images", "train", "val", "size", "pool", "epochs", "seed")
"""Options that the figures depend on."""


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    options.out.mkdir(parents=True, exist_ok=True)
    refuse_other_settings(options)
    data = Sources(options.images, options.train, options.val).read()
    measured = {name_of(weights): by_instruments(weights, data, options) for weights in options.weights}
    content = {
        "provenance": origin("evaluation.instruments", given),
        "results": measured,
        "correlations": correlations(measured),
    }
    write_json(options.out / "instruments.json", content)
    text = as_tables(measured)
    atomic_write(options.out / "table.md", text + "\n")
    print(text)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("weights", nargs="+", help='run folders or checkpoints, named by their last part, or "random"')
    add_labeled_images(parser)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--pool", default="gamp")
    parser.add_argument("--epochs", type=int, default=RECIPES["paper"]["epochs"], help="of the heads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="loader processes")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    names = [name_of(weights) for weights in options.weights]
    if len(set(names)) < len(names):
        parser.error(f"weights are told apart by their last part, of which some are the same: {', '.join(names)}")
    if names == [RANDOM]:
        parser.error("random init is of the network of other weights: give some, too")
    return options


def refuse_other_settings(options: argparse.Namespace) -> None:
    """Keep the settings of the figures in --out, or refuse other ones than those kept there."""
    file = options.out / "settings.json"
    settings = {name: str(getattr(options, name)) for name in SETTINGS}
    kept = json.loads(file.read_text()) if file.is_file() else settings
    other = [name for name in SETTINGS if settings[name] != kept[name]]
    if other:
        changes = ", ".join(f"--{name} {kept[name]}" for name in other)
        raise SystemExit(f"{options.out} holds figures made with {changes}: choose another --out")
    write_json(file, settings)


def name_of(weights: str) -> str:
    return Path(weights).stem


def by_instruments(weights: str, data: Data, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one backbone by instrument, those that are missing in --out made anew."""
    file = options.out / f"{name_of(weights)}.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    for name, instrument in instruments(len(data.classes)).items():
        if name not in found:
            train, val = features(weights, data, options)
            began = time.process_time()
            scores, about = instrument(train, val, data, options)
            metrics = multilabel_metrics(scores, data.val.labels.targets, ignored=data.val.labels.ignored)
            seconds = round(time.process_time() - began, 1)
            found[name] = {**{key: metrics[key] for key in ("mAP", "CF1")}, **about, "processor_seconds": seconds}
            atomic_write(file, json.dumps(found, indent=1))
            print(f"{name_of(weights)}, {name}: {100 * metrics['mAP']:.1f} mAP", file=sys.stderr, flush=True)
    return found


def instruments(classes: int) -> dict[str, Callable[..., tuple[Scores, dict[str, Any]]]]:
    """From features and labels to validation probabilities and what else is worth knowing."""
    paper = RECIPES["paper"]["base_learning_rate"]
    assert isinstance(paper, float)
    fitting = RATE_BY_CLASS * classes

    def head(rate: float) -> Callable[..., tuple[Scores, dict[str, Any]]]:
        return lambda train, val, data, options: by_head(train, val, data, options, rate)

    return {"logistic": by_logistic, f"SGD, rate {paper:g}": head(paper), f"SGD, rate {fitting:.3g}": head(fitting)}


def by_logistic(
    train: Features, val: Features, data: Data, options: argparse.Namespace
) -> tuple[Scores, dict[str, Any]]:
    labels = data.train.labels
    device = solver_device(resolve_device("auto"))
    classifiers = fit_logistic(train.to(device).double(), labels.targets, labels.ignored, seed=options.seed)
    return classifiers.probabilities(val.to(device).double()).cpu(), {"cost": next(filter(None, classifiers.costs))}


def by_head(
    train: Features, val: Features, data: Data, options: argparse.Namespace, rate: float
) -> tuple[Scores, dict[str, Any]]:
    settings = HeadSettings(epochs=options.epochs, base_learning_rate=rate, seed=options.seed)
    training = HeadTraining(new_head(train.shape[1], len(data.classes), options.seed), settings)
    with single_thread():
        train_head(cached_batches(train, None, known_targets(data.train), settings), training, len(train))
    return probabilities(training.head, val), {"first_loss": training.losses[0], "last_loss": training.losses[-1]}


def features(weights: str, data: Data, options: argparse.Namespace) -> tuple[Features, Features]:
    """Pooled features of the training and validation images, kept in --out."""
    file = options.out / f"{name_of(weights)}-{options.pool}.npz"
    if not file.is_file():
        network = backbone(weights, data, options)
        parts = {}
        for name, part in (("train", data.train), ("val", data.val)):
            extracted = extract(network, part.folder, part.labels.names, options.size, workers=options.workers)
            parts[name] = combine(extracted, options.pool).float().numpy()
        np.savez(file, train=parts["train"], val=parts["val"])
    with np.load(file) as kept:
        return torch.from_numpy(kept["train"]), torch.from_numpy(kept["val"])


def backbone(weights: str, data: Data, options: argparse.Namespace) -> Backbone:
    if weights != RANDOM:
        return load_backbone(weights)
    network = untrained(load_backbone(next(each for each in options.weights if each != RANDOM)), options.seed)
    settings = FeatureSettings(options.pool, options.size, options.workers, "auto", "auto")
    set_norms(network, measure_on_images(network, data.train.folder, data.train.labels.names, settings, options.seed))
    return network


def correlations(measured: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Rank correlations of the backbones' mAP between every two instruments."""
    names = list(next(iter(measured.values())))
    maps = {name: [row[name]["mAP"] for row in measured.values()] for name in names}
    return {
        f"{one} and {other}": {
            "Spearman": float(spearmanr(maps[one], maps[other]).statistic),
            "Kendall": float(kendalltau(maps[one], maps[other]).statistic),
        }
        for one, other in combinations(names, 2)
    }


def as_tables(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """mAP and CF1 of each backbone, the best by the first instrument last, and the rank correlations."""
    names = list(next(iter(measured.values())))
    ordered = sorted(measured.items(), key=lambda item: item[1][names[0]]["mAP"])
    rows = [
        [
            name,
            *(f"{100 * row[each]['mAP']:.1f}" for each in names),
            *(f"{100 * row[each]['CF1']:.1f}" for each in names),
        ]
        for name, row in ordered
    ]
    figures = table(["backbone", *(f"{each}: mAP" for each in names), *(f"{each}: CF1" for each in names)], rows)
    ranks = [[pair, *(f"{value:.2f}" for value in found.values())] for pair, found in correlations(measured).items()]
    return f"{figures}\n\n{table(['ranks of the mAP', 'Spearman', 'Kendall'], ranks)}"


if __name__ == "__main__":
    main()
