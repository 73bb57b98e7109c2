"""What is meant by names that are not valid."""

from __future__ import annotations

import sys

import pytest

from manyview.cli.main import main
from manyview.config.resolve import nearest_key, valid_keys
from manyview.options.nearest import SYNONYMS, nearest


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("lr", "training.base_learning_rate"),
        ("training.lr", "training.base_learning_rate"),
        ("bs", "training.batch_size"),
        ("bsz", "training.batch_size"),
        ("batchSize", "training.batch_size"),
        ("wd", "training.weight_decay"),
        ("imgsz", "views.size"),
        ("epoch", "training.epochs"),
        ("momentum", "method.momentum or training.momentum"),
        ("num_workers", "data.workers"),
        ("optimizer.opt", "training.optimizer"),
        ("amp", "training.precision"),
        ("arch", "backbone.name"),
        ("ema", "method.momentum"),
    ],
)
def test_settings_by_the_names_of_other_tools(given: str, meant: str) -> None:
    assert nearest_key(given) == f"; did you mean {meant}?"


@pytest.mark.parametrize(
    ("given", "names", "meant"),
    [
        ("TensorRT", ["timm", "onnx"], ["onnx"]),
        ("coco", ["voc-24k", "coco-1x"], ["coco-1x"]),
        ("faster_rcnn", ["c4", "fpn"], ["fpn"]),
        ("epohcs", ["epochs", "steps"], ["epochs"]),
        ("size", ["batch_size", "short_side"], ["short_side"]),
        ("zzz", ["epochs"], []),
    ],
)
def test_of_other_names(given: str, names: list[str], meant: list[str]) -> None:
    assert nearest(given, names) == meant


def test_a_valid_name_is_never_answered_with_another() -> None:
    for key in valid_keys():
        assert nearest(key, valid_keys())[0] == key


def test_synonyms_are_spelled_as_they_are_looked_up() -> None:
    assert all(word.isalnum() and word == word.lower() for word in SYNONYMS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["pretrain", "p", "--lr", ".1"],
            "No such option: --lr; did you mean the setting --set training.base_learning_rate=VALUE? See ",
        ),
        (["pretrain", "p", "--bs", "8"], "No such option: --bs; did you mean --batch-size? See "),
        (
            ["linear", "w", "--imgsz", "96"],
            "No such option: --imgsz; did you mean --size? See ",
        ),
        (["detect", "w", "--lr", "1"], "No such option: --lr; did you mean --learning-rate? See"),
        (
            ["detect", "w", "--architecture", "fasterrcnn"],
            "'fasterrcnn' is not one of 'c4', 'fpn'; did you mean fpn? See",
        ),
        (["detect", "w", "--recipe", "coco"], "is not one of 'voc-24k', 'coco-1x'; did you mean coco-1x?"),
        (["knn", "w", "--qqq"], "No such option: --qqq; see "),
        (["detect", "w", "--recipe", "qqq"], "'qqq' is not one of 'voc-24k', 'coco-1x'; see "),
        (["pretrain", "p", "--epochs", "many"], "Invalid value for '--epochs': Input should be a valid integer"),
        (["export", "w", "--to", "tensorrt", "--out", "x"], "unknown format 'tensorrt'; did you mean onnx?"),
    ],
)
def test_on_the_command_line(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["manyview", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
