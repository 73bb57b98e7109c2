"""Every option of a verb reaches the Python function under the name and with the default of its signature."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from manyview.cli.main import main
from manyview.cli.parts.command import flag, parsed_type
from manyview.options.base import REQUIRED, Declared, declared
from manyview.options.check import CheckOptions
from manyview.options.detection import FineTuneOptions, StartWeights
from manyview.options.labeled import KnnOptions, LinearOptions, ProbeOptions
from manyview.options.pretrain import PretrainFolders, PretrainOptions
from manyview.options.report import ReportedRuns, ReportOptions, WatchedRun, WatchOptions
from manyview.options.shared import Weights
from manyview.options.unlabeled import CheckWeightsOptions, EmbedOptions, ExportOptions, ImageFolder, NeighboursOptions

VERBS: dict[str, tuple[str, tuple[type, ...]]] = {  # where the verb finds the function; the function's options
    "pretrain": ("manyview.recipes.pretrain", (PretrainFolders, PretrainOptions)),
    "linear": ("manyview.evaluation.linear_evaluation", (Weights, LinearOptions)),
    "knn": ("manyview.evaluation.knn_evaluation", (Weights, KnnOptions)),
    "probe": ("manyview.evaluation.probe.evaluate.low_label_evaluation", (Weights, ProbeOptions)),
    "check": ("manyview.recipes.check.check_images", (ImageFolder, CheckOptions)),
    "embed": ("manyview.evaluation.embed.embed", (Weights, EmbedOptions)),
    "neighbours": ("manyview.evaluation.neighbours.search.nearest_neighbours", (Weights, NeighboursOptions)),
    "check-weights": ("manyview.evaluation.health.check.check_weights", (Weights, CheckWeightsOptions)),
    "detect": ("manyview.detection.finetune.fine_tune", (StartWeights, FineTuneOptions)),
    "export": ("manyview.export.export_backbone", (Weights, ExportOptions)),
    "report": ("manyview.report.page.write_report", (ReportedRuns, ReportOptions)),
    "watch": ("manyview.report.live.watch", (WatchedRun, WatchOptions)),
}
OF_PYTHON = {"progress": VERBS.keys(), "views": {"check-weights"}, "quiet": {"detect"}, "announce": {"watch"}}
"""Parameters that a verb sets itself."""
OF_THE_COMMAND: dict[str, list[object]] = {"neighbours": ["--out", "picture.png"]}
"""Required options that the function does not take."""


class ReachedError(Exception):
    """Ends the verb where it calls the function."""


def call(verb: str, words: list[object], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments by name that the function is called with, which must fit its signature."""
    path, name = VERBS[verb][0].rsplit(".", 1)
    module = importlib.import_module(path)
    signature = inspect.signature(getattr(module, name))
    seen: dict[str, Any] = {}

    def record(*given: Any, **options: Any) -> None:
        seen.update(signature.bind(*given, **options).arguments)
        raise ReachedError

    monkeypatch.setattr(module, name, record)
    monkeypatch.setattr(sys, "argv", ["manyview", verb, *map(str, [*words, *OF_THE_COMMAND.get(verb, [])])])
    with pytest.raises(ReachedError):
        main()
    own = {name for name, verbs in OF_PYTHON.items() if verb in verbs}
    assert signature.parameters.keys() - own == declared(*VERBS[verb][1]).keys()
    return {name: value for name, value in seen.items() if name not in own}


def other_value(each: Declared) -> Any:
    """A value other than the default, as the function should get it."""
    if each.option.word:
        return each.option.word
    return _other(each.option.parsed or parsed_type(each.type), each.option.default)


def _other(of_type: Any, default: Any) -> Any:
    members = [member for member in get_args(of_type) if member is not type(None)]
    if get_origin(of_type) is Literal:
        return next(choice for choice in members if choice != default)
    if get_origin(of_type) is list:
        return _other(members[0], None), _other(members[0], None)
    if members:
        return _other(members[0], default)
    return {bool: not default, int: 7, float: 0.25, str: "word", Path: Path("some/file")}[of_type]


def as_words(each: Declared, value: Any) -> list[object]:
    """An option on the command line."""
    if each.option.argument:
        return list(value) if isinstance(value, tuple) else [value]
    if isinstance(value, bool):
        return [flag(each) if value else flag(each).replace("--", "--no-", 1)]
    return [word for one in (value if isinstance(value, tuple) else (value,)) for word in (flag(each), one)]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_reaches_the_function(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = declared(*VERBS[verb][1])
    values = {name: other_value(each) for name, each in options.items()}
    words = [word for name, each in options.items() for word in as_words(each, values[name])]
    assert call(verb, words, monkeypatch) == values


@pytest.mark.parametrize("verb", VERBS)
def test_without_options_the_function_gets_the_defaults_of_its_signature(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = {"photos", "out", "weights"} if verb == "pretrain" else set()
    options = declared(*VERBS[verb][1])
    given = {
        name: other_value(each)
        for name, each in options.items()
        if each.option.default is REQUIRED or {name, each.option.argument} & needed
    }
    words = [word for name, value in given.items() for word in as_words(options[name], value)]
    defaults = {name: each.option.default for name, each in options.items()}
    assert call(verb, words, monkeypatch) == defaults | given
