"""What holds for every option that is declared."""

from __future__ import annotations

import importlib
import pkgutil
from typing import ForwardRef

import pytest
from beartype.door import is_bearable

from manyview import options
from manyview.options.base import REQUIRED, declared

MODULES = [
    importlib.import_module(f"manyview.options.{module.name}")
    for module in pkgutil.iter_modules(options.__path__)
    if module.name != "base"
]
GROUPS = {
    name: value
    for module in MODULES
    for name, value in vars(module).items()
    if hasattr(value, "__required_keys__") and value.__module__ == module.__name__
}


@pytest.mark.parametrize("group", GROUPS)
def test_what_has_no_default_is_required(group: str) -> None:
    required = {name for name, each in declared(GROUPS[group]).items() if each.option.default is REQUIRED}
    assert required == GROUPS[group].__required_keys__


@pytest.mark.parametrize("group", GROUPS)
def test_defaults_are_of_the_type(group: str) -> None:
    for name, each in declared(GROUPS[group]).items():
        of_type = each.option.parsed if isinstance(each.type, ForwardRef) else each.type
        assert each.option.default is REQUIRED or is_bearable(each.option.default, of_type), name


@pytest.mark.parametrize("group", GROUPS)
def test_help_is_a_sentence_and_python_has_its_own_only_where_it_says_more(group: str) -> None:
    for name, each in declared(GROUPS[group]).items():
        assert each.option.help.endswith("."), name
        assert each.option.doc == "" or each.option.doc.endswith("."), name
        assert each.option.doc.lower() != each.option.help.lower(), name


def test_a_name_means_the_same_wherever_labeled_images_are_evaluated() -> None:
    linear, knn, probe = (declared(GROUPS[name]) for name in ("LinearOptions", "KnnOptions", "ProbeOptions"))
    for name in declared(GROUPS["LabeledOptions"]):
        if name == "pool":  # of which linear's heads can learn one more
            assert linear[name].option.default == knn[name].option.default
            assert linear[name].option.doc.startswith(knn[name].option.doc.removesuffix("."))
            assert linear[name].option.help.startswith(knn[name].option.help.removesuffix("."))
        elif linear[name] != knn[name]:
            assert "or the recipe's" in linear[name].option.help, name  # only a recipe of linear's may decide
            assert linear[name].option.default is None, name
            continue
        assert (linear[name].type, linear[name].option.default) == (probe[name].type, probe[name].option.default), name
