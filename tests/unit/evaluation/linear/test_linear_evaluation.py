from __future__ import annotations

import hashlib
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from rich.console import Console
from torch import nn

from manyview.backbones import load_backbone
from manyview.errors import UserError
from manyview.evaluation import best_thresholds, extract, format_table, linear_evaluation
from manyview.evaluation.features.dataset import ImageDataset, fixed_view, fixed_views
from manyview.evaluation.linear.head import HeadSettings
from manyview.evaluation.linear.sgd import cached_batches, flipped_images
from manyview.images import ImageFiles
from manyview.labels import read_labels
from manyview.views import render_views
from tests.helpers.tables import cells, percent
from tests.references.multilabel import multilabel

FAST: dict[str, Any] = {
    **{"recipe": "paper", "size": 64, "epochs": 12, "batch_size": 8, "workers": 0, "device": "cpu"},
    "resamples": 20,
}


def evaluate(scenes: Any, **options: Any) -> dict[str, Any]:
    data = {"images": scenes.images, "train_labels": scenes.train, "val_labels": scenes.val}
    return linear_evaluation(scenes.weights, **(data | {"beside": "none"} | FAST | options))


@pytest.fixture(scope="module")
def cached(scenes: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("cached") / "new" / "folder"
    return evaluate(scenes, cached=True, beside="random", out=out), out


def test_the_result_is_the_file(cached: tuple[dict[str, Any], Path]) -> None:
    result, out = cached
    assert json.loads((out / "metrics.json").read_text()) == result
    assert [path.name for path in out.iterdir()] == ["metrics.json"]
    assert set(result) == {"evaluation", "protocol", "results", "differences", "provenance"}
    assert result["evaluation"] == "linear"
    assert set(result["results"]) == {"pretrained", "random_init"}
    for metrics in result["results"].values():
        overall = {"mAP", "OP", "OR", "OF1", "CP", "CR", "CF1"}
        report = {"AP", "precision", "recall", "f1", "rule", "rules", "intervals", "AP_intervals", "false_predictions"}
        assert set(metrics) == overall | report | {"loss_by_epoch", "base_rate_entropy", "measured_epoch", "epochs"}
        assert len(metrics["loss_by_epoch"]) == metrics["epochs"] == metrics["measured_epoch"] == FAST["epochs"]
        assert list(metrics["rules"]) == ["p>=0.5", "logit>=0.6", "top-3", "best F1 on train"]
        assert all(0 <= metrics[name] <= 1 for name in ("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1"))


def test_colored_squares_are_reported_apart(cached: tuple[dict[str, Any], Path]) -> None:
    # Half of the images show each class: chance is about .5.
    assert cached[0]["results"]["pretrained"]["mAP"] > 0.85
    losses = cached[0]["results"]["pretrained"]["loss_by_epoch"]
    assert losses[-1] < losses[0]


def test_the_untrained_backbone_is_another(cached: tuple[dict[str, Any], Path]) -> None:
    results = cached[0]["results"]
    assert results["pretrained"]["loss_by_epoch"] != results["random_init"]["loss_by_epoch"]


def test_the_protocol_says_all_that_decides_the_figures(scenes: Any, cached: tuple[dict[str, Any], Path]) -> None:
    protocol = cached[0]["protocol"]
    expected = {
        "backbone": "timm/test_resnet",
        "weights": str(scenes.weights),
        "weights_sha256": hashlib.sha256(scenes.weights.read_bytes()).hexdigest(),
        "pool": "gamp",
        "feature_dim": 96,
        "size": 64,
        "cached": True,
        "epochs": 12,
        "batch_size": 8,
        "base_learning_rate": 10.0,
        "learning_rate": 10 * 8 / 256,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "threshold": 0.5,
        "seed": 0,
        "precision": "float32",
        "device": "cpu",
        "classes": ["green", "red"],
        "measured": "last",
        "recipe": "paper",
        "crop": "warp",
        "flips": False,
        "average_precision": "all_points",
        "compatibility": None,
        "images_in_both": 0,
    }
    assert {key: protocol[key] for key in expected} == expected
    assert "without augmentation" in protocol["train_transform"]
    assert protocol["normalisation"] == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    assert protocol["versions"]["torch"] == torch.__version__
    for part, file, count in (("train", scenes.train, 24), ("val", scenes.val, 12)):
        assert protocol[part] == {
            "images": str(scenes.images),
            "labels": str(file),
            "labels_sha256": read_labels(file, scenes.images).fingerprint(),
            "count": count,
            "positives": [count // 2, count // 2],
            "difficult": "ignore",
            "ignored": [0, 0],
            "skipped": {"count": 0, "first": []},
        }


def figures(result: dict[str, Any]) -> dict[str, Any]:
    return {key: result[key] for key in ("protocol", "results")}


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("is_cached", [True, False])
def test_the_same_with_any_number_of_workers(scenes: Any, is_cached: bool) -> None:
    none, two = (evaluate(scenes, cached=is_cached, epochs=2, workers=workers) for workers in (0, 2))
    assert figures(none) == figures(two)


def test_full_mode_trains_on_crops_that_the_seed_decides(scenes: Any) -> None:
    first, again, other, without_crops = (
        evaluate(scenes, epochs=2, seed=seed, cached=is_cached)
        for seed, is_cached in ((1, False), (1, False), (2, False), (1, True))
    )
    assert figures(first) == figures(again)
    assert "random crop" in first["protocol"]["train_transform"]
    losses = [result["results"]["pretrained"]["loss_by_epoch"] for result in (first, other, without_crops)]
    assert losses[0] != losses[1]
    # The same head, order and images: but for the crops, the losses would be equal.
    assert losses[0][0] != losses[2][0]


def test_full_mode_learns(scenes: Any) -> None:
    assert evaluate(scenes, epochs=15)["results"]["pretrained"]["mAP"] > 0.8


@pytest.mark.parametrize("is_cached", [True, False])
def test_poolings_differ_and_cat_is_twice_as_wide(scenes: Any, is_cached: bool) -> None:
    kinds = ("gamp", "avg", "max", "avg_minus_max", "cat")
    results = [evaluate(scenes, size=64, pool=kind, epochs=1, cached=is_cached) for kind in kinds]
    assert len({result["results"]["pretrained"]["loss_by_epoch"][0] for result in results}) == len(kinds)
    assert [result["protocol"]["feature_dim"] for result in results] == [96] * 4 + [192]


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> list[nn.Linear]:
    """The heads that evaluations train, as they are in the end."""
    import manyview.evaluation.linear.sgd as module

    found: list[nn.Linear] = []
    real = module.train_head

    def keep(batches: Any, training: Any, *rest: Any, **more: Any) -> None:
        found.append(training.head)
        real(batches, training, *rest, **more)

    monkeypatch.setattr(module, "train_head", keep)
    return found


def predicted(scenes: Any, head: nn.Linear, file: Path, **how: Any) -> tuple[np.ndarray, list[list[int]]]:
    """Probabilities in float64 NumPy, and targets, of the images that a label file names."""
    rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
    names = [row[0] for row in rows]
    pooled = extract(load_backbone(scenes.weights), scenes.images, names, 64, device="cpu", workers=0, **how)
    gamp = ((pooled["avg"] + pooled["max"]) / 2).double().numpy()
    weight, bias = (p.detach().double().numpy() for p in (head.weight, head.bias))
    targets = [[int(name in row[1].split("|")) for name in ("green", "red")] for row in rows]
    return 1 / (1 + np.exp(-np.clip(gamp @ weight.T + bias, -700, None))), targets


@pytest.mark.parametrize("crop", ["warp", "center"])
def test_the_metrics_are_those_of_the_heads_predictions(scenes: Any, heads: list[nn.Linear], crop: str) -> None:
    result = evaluate(scenes, cached=True, threshold=0.3, crop=crop)["results"]["pretrained"]
    probabilities, targets = predicted(scenes, heads[0], scenes.val, crop=crop)
    expected = multilabel(probabilities.tolist(), targets, 0.3)
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, abs=1e-6), name
    train = predicted(scenes, heads[0], scenes.train, crop=crop)
    best = best_thresholds(train[0], np.array(train[1]))
    assert result["rules"]["best F1 on train"]["threshold"] == pytest.approx(best.tolist(), abs=1e-5)


def test_the_best_epoch_is_that_of_the_best_validation_map(scenes: Any, heads: list[nn.Linear]) -> None:
    result = evaluate(scenes, cached=True, measured="best", base_learning_rate=200)["results"]["pretrained"]
    maps = result["mAP_by_epoch"]
    assert result["epochs"] == len(maps) == FAST["epochs"]
    assert result["mAP"] == max(maps)
    assert result["measured_epoch"] == 1 + maps.index(max(maps)) < len(maps)  # so high a rate that it goes up and down
    probabilities, targets = predicted(scenes, heads[0], scenes.val)
    for name, value in multilabel(probabilities.tolist(), targets, 0.5).items():
        assert result[name] == pytest.approx(value, abs=1e-6), name
    shorter = evaluate(scenes, cached=True, measured="best", base_learning_rate=200, seed=1)["results"]["pretrained"]
    assert shorter["mAP_by_epoch"] != maps


def test_flips_train_on_mirrored_images_half_of_the_time(scenes: Any) -> None:
    features, mirrored = torch.zeros(4000, 1), torch.ones(4000, 1)
    settings = HeadSettings(epochs=5, batch_size=64, seed=2)
    targets = torch.arange(4000.0)[:, None]
    shares, epochs = [], []
    batches = cached_batches(features, mirrored, targets, settings)
    for _ in range(5):
        drawn, of = (torch.cat(part) for part in zip(*[next(batches) for _ in range(63)], strict=True))
        assert sorted(of[:, 0].tolist()) == targets[:, 0].tolist()
        shares.append(float(drawn.mean()))
        epochs.append(drawn[of[:, 0].argsort(), 0])
    assert np.mean(shares) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(20_000))
    assert not any(torch.equal(epochs[0], other) for other in epochs[1:])
    assert torch.equal(epochs[1], flipped_images(2, 1, 4000).float())
    plain, flipped = (evaluate(scenes, cached=True, epochs=2, flips=flips) for flips in (False, True))
    assert plain["results"] != flipped["results"]
    assert "mirror image" in flipped["protocol"]["train_transform"]


def test_mirrored_features_are_those_of_mirrored_images(scenes: Any, tmp_path: Path) -> None:
    names = [line.split(",")[0] for line in scenes.val.read_text().splitlines()[1:5]]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        ImageOps.mirror(Image.open(scenes.images / name)).save(tmp_path / name)
    backbone = load_backbone(scenes.weights)
    ours = extract(backbone, scenes.images, names, 64, device="cpu", workers=0, flip=True)
    theirs = extract(backbone, tmp_path, names, 64, device="cpu", workers=0)
    for kind in ("avg", "max"):
        torch.testing.assert_close(ours[kind], theirs[kind], atol=1e-5, rtol=1e-5)
    files = ImageFiles(scenes.images, names)
    seen, mirrored = (ImageDataset(files, 64, partial(fixed_views, crop="center", flip=flip)) for flip in (False, True))
    for index in range(len(names)):
        assert np.array_equal(mirrored[(0, index)][0], seen[(0, index)][0][..., ::-1])


def test_the_central_square_is_what_pillow_cuts_out() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    view = fixed_view(320, 256, "center")
    assert view.crop == (48, 16, 272, 240)  # 224 of 256
    rendered = render_views(pixels, [view], 224)[0].transpose(1, 2, 0)
    assert np.array_equal(rendered, np.asarray(Image.fromarray(pixels).crop(view.crop)))
    assert fixed_view(1, 1, "center").crop == (0, 0, 1, 1)


def test_classes_without_validation_images_and_images_in_both(scenes: Any, tmp_path: Path) -> None:
    lines = scenes.train.read_text().splitlines()
    val = tmp_path / "val.csv"
    val.write_text("\n".join([lines[0], *(line for line in lines[1:] if "green" not in line)]) + "\n")
    result = evaluate(scenes, val_labels=val, cached=True, epochs=1, out=tmp_path / "out")
    metrics = result["results"]["pretrained"]
    assert metrics["AP"][0] is None
    assert metrics["mAP"] == metrics["AP"][1]
    assert result["protocol"]["images_in_both"] == 12
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result
    text = printed(result)
    assert "12 of 12 validation images are also training images" in text
    assert "1 of 2 classes have no validation image" in text


def test_validation_images_may_lie_elsewhere(scenes: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    for line in scenes.val.read_text().splitlines()[1:]:
        name = line.split(",")[0]
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).write_bytes((scenes.images / name).read_bytes())
    there = evaluate(scenes, val_images=elsewhere, cached=True, epochs=1)
    assert there["results"] == evaluate(scenes, cached=True, epochs=1)["results"]
    assert there["protocol"]["val"]["images"] == str(elsewhere)


def printed(result: dict[str, Any]) -> str:
    stream = io.StringIO()
    Console(file=stream, width=120).print(format_table(result))
    return stream.getvalue()


def test_the_table_shows_every_figure_in_percent(cached: tuple[dict[str, Any], Path]) -> None:
    result, _ = cached
    lines = printed(result).splitlines()
    for name, label in (("pretrained", "pre-trained"), ("random_init", "random init")):
        report = result["results"][name]
        rows = [cells(line) for line in lines]
        for rule, figures in report["rules"].items():
            (shown,) = (row[2:] for row in rows if row[:2] == [label, rule])
            others = [percent(figures[metric]) for metric in ("OP", "OR", "OF1", "CP", "CR", "CF1")]
            assert shown == [percent(report["mAP"]), *others]
    (row,) = (line for line in lines if line.strip(" │").startswith("green"))
    aps = [percent(metrics["AP"][0]) for metrics in result["results"].values()]
    assert cells(row) == ["green", "12", "6", *aps]
    assert any("features extracted once" in line for line in lines)


def test_progress_goes_through_phases_to_their_end(scenes: Any) -> None:
    calls: list[tuple[int, int, str]] = []
    evaluate(scenes, cached=True, epochs=3, progress=lambda *call: calls.append(call))
    phases = list(dict.fromkeys(phase for *_, phase in calls))
    assert phases == [
        "pre-trained: validation features",
        "pre-trained: training features",
        "pre-trained: training the linear head",
        "pre-trained: confidence intervals",
    ]
    for phase, total in zip(phases, (12, 24, 3, 20), strict=True):
        steps = [(done, of) for done, of, name in calls if name == phase]
        assert steps[0] == (0, total)
        assert steps[-1] == (total, total)


def test_a_folder_with_a_result_is_refused_before_any_work(scenes: Any, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match=r"already holds a metrics\.json"):
        evaluate(scenes, images=tmp_path / "missing", out=tmp_path)
    assert (tmp_path / "metrics.json").read_text() == "{}"


def test_unusable_output_folders_are_named(scenes: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for out, message in ((file, "is a file"), (file / "below", "cannot make the folder")):
        with pytest.raises(UserError, match=message):
            evaluate(scenes, out=out)


@pytest.mark.parametrize("part", ["train_labels", "val_labels"])
@pytest.mark.parametrize("is_cached", [True, False])
def test_an_unreadable_image_is_named(scenes: Any, tmp_path: Path, part: str, is_cached: bool) -> None:
    name = scenes.train.read_text().splitlines()[1].split(",")[0]
    for path in scenes.images.rglob("*.png"):
        copy = tmp_path / "images" / path.relative_to(scenes.images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "images" / name).write_bytes(b"no image")
    labels = {part: scenes.train}
    if part == "val_labels":
        labels["train_labels"] = scenes.val
    else:
        labels["val_labels"] = scenes.val
    with pytest.raises(UserError, match=rf"cannot read .*{name}"):
        evaluate(scenes, images=tmp_path / "images", cached=is_cached, out=tmp_path / "out", **labels)
    # What was extracted before is kept: with the image mended, --resume goes on.
    assert not (tmp_path / "out" / "metrics.json").exists()
    assert (tmp_path / "out" / "unfinished").exists() == (part == "train_labels")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "mean"}, "pool must be one of gamp, avg, max, avg_minus_max, cat, not 'mean'"),
        ({"size": 4}, "size must be at least 8 pixels, not 4"),
        ({"threshold": 1.5}, "threshold is a probability"),
        ({"workers": -1}, "workers must be at least 0"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"precision": "fp16"}, "precision must be"),
        ({"crop": "centre"}, "crop must be one of warp, center, not 'centre'"),
        ({"recipe": "papers"}, "recipe must be one of logistic, sgd, paper, released, voc, not 'papers'"),
        ({"measured": "first"}, r'measured \(--epoch\) must be "last" or "best", not \'first\''),
        ({"flips": True}, "flips are for cached features"),
        ({"resamples": -1}, "resamples must be at least 0"),
        ({"resume": True}, "cannot be resumed: name it with --out"),
        ({"cached": True, "base_learning_rate": 1e39}, "the linear head diverged in epoch 1 of 12"),
        ({"weights": "nowhere"}, "nowhere"),
    ],
)
def test_mistakes_are_named(scenes: Any, options: dict[str, Any], message: str) -> None:
    weights = options.get("weights", scenes.weights)
    options = {key: value for key, value in options.items() if key != "weights"}
    data = {"images": scenes.images, "train_labels": scenes.train, "val_labels": scenes.val}
    with pytest.raises(UserError, match=message):
        linear_evaluation(weights, **(data | FAST | options))


def test_a_run_folder_will_do_for_weights(scenes: Any) -> None:
    result = linear_evaluation(
        scenes.weights.parent,
        images=str(scenes.images),
        train_labels=str(scenes.train),
        val_labels=str(scenes.val),
        cached=True,
        **(FAST | {"epochs": 1, "beside": "none"}),
    )
    assert result["protocol"]["weights"] == str(scenes.weights)


def test_difficult_labels_are_left_out(scenes: Any, tmp_path: Path) -> None:
    """Pascal VOC's 0: the class's figures are those of the other images alone."""
    names = [row.split(",")[0] for row in scenes.train.read_text().splitlines()[1:]]
    folder = (scenes.images / names[0]).parent
    stems = sorted(Path(name).stem for name in names if (scenes.images / name).parent == folder)[:12]
    for part in ("train", "val"):
        marks = [("1", "-1", "0")[number % 3] for number in range(12)]
        lines = [f"{stem} {mark}\n" for stem, mark in zip(stems, marks, strict=True)]
        (tmp_path / f"thing_{part}.txt").write_text("".join(lines))
    result = linear_evaluation(
        scenes.weights,
        images=folder,
        train_labels=tmp_path / "thing_train.txt",
        val_labels=tmp_path / "thing_val.txt",
        threshold=0.0,
        cached=True,
        beside="none",
        **FAST,
    )
    assert result["results"]["pretrained"]["CP"] == pytest.approx(0.5)  # as many positives as negatives are left
