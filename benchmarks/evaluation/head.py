"""mAP of the linear head compared with scikit-learn's logistic regression, equally regularized, on the same features.

    python -m benchmarks.evaluation.head WEIGHTS... --images DIR --train train.csv --val val.csv --size 64 [--page PAGE]

The head is trained as by ``manyview linear --recipe paper --cached``, for 100 epochs. scikit-learn converges to the
minimum of the same objective: weight decay d on every weight and bias, and a loss that is a mean over N images and
K classes, are for each class a logistic regression with C = 1 / (d N K) whose bias is regularized too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from sklearn.linear_model import LogisticRegression

from benchmarks.arguments import add_labeled_images, command_line, parsed
from benchmarks.records import origin, put_between_markers, table, write_json
from manyview.backbones import load_backbone
from manyview.evaluation import extract, linear_evaluation, multilabel_metrics
from manyview.evaluation.features.extract import combine
from manyview.labels import ImageLabels, read_labels

GOAL = 0.5
EPOCHS = 100

Array = Float64[np.ndarray, "images columns"]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    result = {
        **origin("evaluation.head", options.given),
        "pool": options.pool,
        "size": options.size,
        "weight_decay": options.weight_decay,
        "epochs": options.epochs,
        "goal_in_points": GOAL,
        "weights": [],
    }
    for weights in options.weights:
        result["weights"].append(compare(weights, options))
        write_json(options.out, result)
    text = markdown(result)
    if options.page:
        put_between_markers(options.page, "head", text)
    print(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("weights", type=Path, nargs="+", help="run folders or checkpoints")
    add_labeled_images(parser)
    parser.add_argument("--size", type=int, default=224, help="side of the inputs in pixels")
    parser.add_argument("--pool", default="gamp")
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/head.json"))
    parser.add_argument("--page", type=Path, help="document whose table is replaced")
    return parsed(parser, arguments)


def compare(weights: Path, options: argparse.Namespace) -> dict[str, Any]:
    """mAP of both heads on one backbone."""
    result = linear_evaluation(
        weights,
        images=options.images,
        train_labels=options.train,
        val_labels=options.val,
        pool=options.pool,
        size=options.size,
        epochs=options.epochs,
        weight_decay=options.weight_decay,
        recipe="paper",
        cached=True,
        workers=options.workers,
    )
    train = read_labels(options.train, options.images)
    val = read_labels(options.val, options.images, train.classes)
    if train.ignored is not None:
        raise SystemExit(f"{options.train} has labels that are left out, which scikit-learn's classifier cannot do")
    train_features, val_features = (features(weights, part, options) for part in (train, val))
    strength = 1 / (options.weight_decay * train.targets.size)
    began = time.perf_counter()
    scores = logistic_regression(train_features, val_features, train.targets, strength)
    seconds = time.perf_counter() - began
    theirs = multilabel_metrics(1 / (1 + np.exp(-scores)), val.targets, ignored=val.ignored)["mAP"]
    ours = result["results"]["pretrained"]["mAP"]
    return {
        "weights": str(weights),
        "backbone": result["protocol"]["backbone"],
        "train_images": len(train.names),
        "val_images": len(val.names),
        "classes": len(train.classes),
        "C": strength,
        "head_mAP": ours,
        "scikit_learn_mAP": float(theirs),
        "difference_in_points": 100 * (ours - float(theirs)),
        "scikit_learn_seconds": seconds,
    }


def features(weights: Path, labels: ImageLabels, options: argparse.Namespace) -> Array:
    """Pooled features with a last column of ones, whose coefficient is the bias."""
    backbone = load_backbone(weights)
    pooled = combine(
        extract(backbone, options.images, labels.names, options.size, workers=options.workers), options.pool
    )
    return np.hstack([pooled.double().numpy(), np.ones((len(pooled), 1))])


def logistic_regression(train: Array, val: Array, targets: np.ndarray, strength: float) -> Array:
    """Logits of the validation images by one converged classifier per class."""
    regression = LogisticRegression(C=strength, fit_intercept=False, solver="newton-cholesky", tol=1e-8, max_iter=500)
    return np.column_stack([regression.fit(train, column).decision_function(val) for column in targets.T])


def markdown(result: dict[str, Any]) -> str:
    """Table with a row for each backbone."""
    rows = [
        [
            f"`{Path(found['weights']).name}`, {found['backbone']}",
            f"{100 * found['head_mAP']:.2f}",
            f"{100 * found['scikit_learn_mAP']:.2f}",
            f"{found['difference_in_points']:+.2f}",
        ]
        for found in result["weights"]
    ]
    first = result["weights"][0]
    about = (
        f"mAP in %, {result['pool']} features at {result['size']} pixels of {first['train_images']:,} images with "
        f"{first['classes']} classes, evaluated on {first['val_images']:,} others; weight decay "
        f"{result['weight_decay']:g}, {result['epochs']} epochs of SGD. The goal is a difference within {GOAL}."
    )
    return about + "\n\n" + table(["backbone", "linear head", "scikit-learn", "difference"], rows)


if __name__ == "__main__":
    main()
