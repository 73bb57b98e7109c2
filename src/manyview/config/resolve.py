"""Merging of layered settings into one frozen configuration, with all mistakes reported at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from manyview.config.choices import CHOICES
from manyview.config.methods import MethodSection
from manyview.config.schema import DataConfig, MonitorConfig, PretrainConfig
from manyview.config.training import BUDGETS, WARMUPS, TrainingConfig
from manyview.config.views import Augmentation, GroupedViewsConfig, ViewGroupConfig, idle_settings
from manyview.errors import UserError
from manyview.options.nearest import nearest
from manyview.parsing import parse_toml

Chosen = Mapping[str, str]
"""The option chosen for each section that is a choice: ``{"views": "blocks", ...}``."""


class ConfigError(UserError):
    """All mistakes in a configuration.

    Attributes:
        problems: one sentence for each mistake, with the nearest valid name where there is one.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        if len(problems) == 1:
            super().__init__(problems[0])
        else:
            super().__init__(f"{len(problems)} mistakes in the configuration: " + "; ".join(problems))


@dataclass(frozen=True)
class Assignment:
    """The value given for one dotted key, and its source."""

    key: str
    value: Any
    source: str
    from_file: bool = False


def parse_assignment(text: str, source: str = "--set") -> Assignment:
    """Parse ``KEY=VALUE``; the value is a TOML value, ``none`` for an unset one, or else plain text.

    Where "none" is one of the names that the setting takes, as with ``training.scaling``, it is that name.

    Raises:
        UserError: there is no ``=`` or no key before it.
    """
    key, separator, raw = text.partition("=")
    key, raw = key.strip(), raw.strip()
    if not separator or not key:
        raise UserError(f"{source} {text!r} is not KEY=VALUE; write for example {source} training.epochs=10")
    if raw.lower() == "none" and any(known == key and _takes(field.annotation, "none") for known, field in _fields()):
        return Assignment(key, "none", source)
    if raw.lower() in ("none", "null"):
        return Assignment(key, None, source)
    try:
        # TOML requires a digit before the point, but people write .5.
        digits = re.sub(r"(?<![\w.])\.(?=\d)", "0.", raw)
        return Assignment(key, parse_toml(f"value = {digits}")["value"], source)
    except ValueError:
        return Assignment(key, raw, source)


def flatten(values: Mapping[str, Any], source: str, prefix: str = "") -> Iterator[Assignment]:
    """Flatten the nested settings of a file or a recipe to dotted assignments."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, source, f"{prefix}{key}.")
        else:
            yield Assignment(prefix + key, value, source, from_file=True)


def resolve(recipe: Mapping[str, Any], user: Sequence[Assignment]) -> PretrainConfig:
    """Override a recipe's settings with the user's and validate the result.

    Args:
        recipe: nested settings of a named recipe; those that do not apply to the views, the method or another option
            that the user chose are dropped.
        user: the user's settings; later ones override earlier ones.

    Returns:
        the frozen configuration.

    Raises:
        ConfigError: unknown keys, values out of range, settings that nothing would read; all reported at once.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    user = _with_one_budget(user, problems)
    for assignment in flatten(recipe, "recipe"):
        if not _is_replaced(assignment, user):
            _store(values, assignment, problems)
    chosen = _chosen(values, user)
    if chosen["method"] != values.get("method", {}).get("name", CHOICES["method"].default):
        values.pop("losses", None)  # chosen for the recipe's method
    _drop_keys_of_other_options(values, chosen)
    for assignment in user:
        if _is_known(assignment, chosen, problems):
            _store(values, assignment, problems)
    try:
        config = PretrainConfig.model_validate(values)
    except ValidationError as error:
        problems += _sentences(error.errors(), user)
        raise ConfigError(problems) from None
    problems += _unused(config, user, {item.key: item.value for item in flatten(recipe, "recipe")})
    if problems:
        raise ConfigError(problems)
    return config


def valid_keys(chosen: Chosen | None = None) -> list[str]:
    """All dotted keys; for sections that are a choice, only those of the chosen option, if given."""
    return list(dict.fromkeys(key for key, _ in _fields(chosen)))


def _fields(chosen: Chosen | None = None) -> Iterator[tuple[str, FieldInfo]]:
    """Keys as of ``valid_keys`` with their fields; of a choice, a key for each option that has it."""
    for name, field in PretrainConfig.model_fields.items():
        if name in CHOICES:
            options = CHOICES[name].options
            option = options.get((chosen or {}).get(name, ""))
            for section in [option] if option else options.values():
                yield from _fields_of(section, f"{name}.")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields_of(field.annotation, f"{name}.")
        else:
            yield name, field


def _fields_of(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def _takes(annotation: Any, name: str) -> bool:
    """Whether a type allows a name as one of its literals."""
    alternatives = get_args(annotation)
    if get_origin(annotation) is Literal:
        return name in alternatives
    return any(_takes(each, name) for each in alternatives)


_BUDGETS = tuple(f"training.{name}" for name in BUDGETS)
_WARMUPS = tuple(f"training.{name}" for name in WARMUPS)


def _is_replaced(of_recipe: Assignment, user: Sequence[Assignment]) -> bool:
    """Whether the user sets the length of the run or of the warm-up, for which there are several settings."""
    given = {item.key for item in user if item.value is not None}
    return any(of_recipe.key in keys and not given.isdisjoint(keys) for keys in (_BUDGETS, _WARMUPS))


def _lists_of_tables() -> Iterator[tuple[str, type[BaseModel]]]:
    for choice in CHOICES.values():
        for option in choice.options.values():
            for name, field in option.model_fields.items():
                items = get_args(field.annotation)[:1]
                if items and isinstance(items[0], type) and issubclass(items[0], BaseModel):
                    yield f"{choice.section}.{name}", items[0]


_TABLES = dict(_lists_of_tables())
"""Settings that hold a list of tables, with the class of the tables."""


def _with_one_budget(user: Sequence[Assignment], problems: list[str]) -> list[Assignment]:
    """The user's settings, of which only one sets the length of the run: options win over files."""
    set_by = [item for item in user if item.key in _BUDGETS and item.value is not None]
    set_by = [item for item in set_by if not item.from_file] or set_by
    last = {item.key: item for item in set_by}
    if not last:
        return list(user)
    if len(last) > 1:
        given = " and ".join(f"{item.key}={item.value} ({item.source})" for item in last.values())
        problems.append(f"{given} each set the length of the run; give one of them")
    [kept, *_] = reversed(last.values())
    return [item for item in user if item.key not in _BUDGETS or item is kept]


def _chosen(values: Mapping[str, Any], user: Sequence[Assignment]) -> Chosen:
    named = {assignment.key: assignment.value for assignment in user}
    return {
        choice.section: str(named.get(choice.key, values.get(choice.section, {}).get(choice.tag, choice.default)))
        for choice in CHOICES.values()
    }


def _drop_keys_of_other_options(values: dict[str, Any], chosen: Chosen) -> None:
    """Drop a recipe's settings that the chosen options lack, such as overlap for views of the whole image."""
    for choice in CHOICES.values():
        name = chosen[choice.section]
        if name in choice.options and choice.section in values:
            known = choice.options[name].model_fields
            kept = {key: value for key, value in values[choice.section].items() if key in known}
            values[choice.section] = kept | {choice.tag: name}


def _store(values: dict[str, Any], assignment: Assignment, problems: list[str]) -> None:
    *sections, leaf = assignment.key.split(".")
    node = values
    for section in sections:
        child = node.setdefault(section, {})
        if not isinstance(child, dict):
            problems.append(f"{assignment.key}: {section} is a single setting, it has no {leaf}")
            return
        node = child
    node[leaf] = assignment.value


def _is_known(assignment: Assignment, chosen: Chosen, problems: list[str]) -> bool:
    """Whether the key exists for the chosen options; if not, add a sentence with the nearest one."""
    key = assignment.key
    if key in valid_keys(chosen):
        return True
    where = f"{key} ({assignment.source})"
    if key in valid_keys():
        choice, name = CHOICES[key.partition(".")[0]], key.partition(".")[2]
        options = " or ".join(choice.having(name))
        problems.append(
            f"{where} is read only with {choice.key}={options}, but {choice.key} is {chosen[choice.section]}"
        )
    elif any(valid.startswith(f"{key}.") for valid in valid_keys()):
        inside = ", ".join(valid for valid in valid_keys() if valid.startswith(f"{key}."))
        problems.append(f"{where} is a group of settings; set one of {inside}")
    else:
        problems.append(f"unknown key {where}" + nearest_key(key))
    return False


def nearest_key(key: str) -> str:
    """``; did you mean training.epochs?`` for a key that is misspelled or lacks its section, else an empty string."""
    keys = valid_keys()
    leaf = key.rpartition(".")[2]
    same_leaf = [valid for valid in keys if valid.rpartition(".")[2] == leaf]
    close = same_leaf or nearest(key, keys)
    if not close:
        leaves = {valid.rpartition(".")[2]: valid for valid in keys}
        close = [leaves[name] for name in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.6)]
    return f"; did you mean {' or '.join(close[:2])}?" if close else ""


def nearest_name(name: str, names: Sequence[str]) -> str:
    """``; did you mean resnet18?`` for a misspelled name, else the list of the valid ones."""
    close = nearest(name, names)
    return f"; did you mean {close[0]}?" if close else f"; choose from {', '.join(names)}"


def _sentences(details: Sequence[Any], user: Sequence[Assignment]) -> list[str]:
    """Pydantic's errors as sentences, one per setting, whatever the number of alternatives that it allows."""
    settings: dict[tuple[str, ...], list[Any]] = {}
    for detail in details:
        path = _setting(detail["loc"])
        items = (str(part) for part in detail["loc"] if isinstance(part, int))
        settings.setdefault((path, *items), []).append(detail)
    return [_sentence(path, details, user) for (path, *_), details in settings.items()]


def _setting(location: Sequence[str | int]) -> str:
    """Dotted key of an error, without pydantic's names of alternatives and positions in a list.

    For a list of tables, the table's index and the key in it follow: ``views.groups[1].size``.
    """
    parts = list(location)
    if len(parts) > 1 and parts[0] in CHOICES and parts[1] in CHOICES[str(parts[0])].options:
        parts.pop(1)
    keys, path = valid_keys(), ""
    for index, part in enumerate(parts):
        if isinstance(part, str):
            path = f"{path}.{part}" if path else part
            if path in keys:
                return path + (_inside(parts[index + 1 :]) if path in _TABLES else "")
    return path


def _inside(location: Sequence[str | int]) -> str:
    """Index of a table in a list of tables, and the key in it, if the error is in one."""
    index = [f"[{part}]" for part in location[:1] if isinstance(part, int)]
    return "".join([*index, *(f".{part}" for part in location[1:2])])


def _sentence(path: str, details: Sequence[Any], user: Sequence[Assignment]) -> str:
    given = next((assignment for assignment in reversed(user) if assignment.key == path.partition("[")[0]), None)
    where = f"{path} ({given.source})" if given and given.source else path
    detail = details[0]
    value = detail["input"]
    if detail["type"] == "missing":
        return f"{where} has too few values: {value!r}" if isinstance(value, list | tuple) else f"{path} is missing"
    if detail["type"] == "too_long":
        return f"{where} has too many values, {detail['ctx']['max_length']} at most: {value!r}"
    if detail["type"] == "extra_forbidden":
        table = _TABLES.get(path.partition("[")[0])
        if table is None:  # of a run's files: the user's own keys are checked before
            return f"unknown key {where}, which another version of manyview may have"
        return f"unknown key {where}" + nearest_name(path.rpartition(".")[2], list(table.model_fields))
    if detail["type"] == "model_type":
        return f"{where} must be a table of settings, as in {{size=96, count=6}}, not {value!r}"
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        choice = CHOICES[path]
        *others, last = (repr(name) for name in choice.options)
        return f"{choice.key} must be {', '.join(others)} or {last}, not {value.get(choice.tag)!r}"
    if detail["type"] == "value_error":
        text = str(detail["msg"]).removeprefix("Value error, ")
        return f"{path}: {text}" if path else text
    demands = [str(detail["msg"]).replace("Input should be ", "") for detail in details]
    text = f"{where} must be {' or '.join(demands)}, not {value!r}"
    if detail["type"] == "literal_error" and isinstance(value, str):
        options = [option.strip(" '") for option in detail["ctx"]["expected"].replace(" or ", ", ").split(",")]
        close = nearest(value, options)
        text += f"; did you mean {close[0]}?" if close else ""
    return text


def _unused(config: PretrainConfig, user: Sequence[Assignment], recipe: Mapping[str, Any]) -> list[str]:
    """Errors for the user's settings that nothing would read.

    Args:
        config: the validated configuration.
        user: the user's settings.
        recipe: the recipe's settings by dotted key.
    """
    image_aware = config.losses.image_aware
    idle = dict.fromkeys(_of_other_methods(config), f"method.name is {config.method.name}, which does not read it")
    idle |= {f"method.{name}": reason for name, reason in config.method.idle().items()}
    if image_aware.weight == 0:
        names = [name for name in type(image_aware).model_fields if name != "weight"]
        idle |= {f"losses.image_aware.{name}": "losses.image_aware.weight is 0" for name in names}
    if image_aware.vectors == "predictions":
        idle["losses.image_aware.stop_gradient"] = "losses.image_aware.vectors is predictions, without any z"
    if not config.method.predicts:
        reason = f"method.name is {config.method.name}, which has only projections"
        idle |= {f"losses.image_aware.{name}": reason for name in ("vectors", "stop_gradient")}
    if not config.method.labeled:
        idle["data.labels"] = f"method.name is {config.method.name}, which learns without labels"
        if config.monitor.eval_labels is None:
            of_labels = ("label_separator", "image_column", "label_column", "class_columns", "class_names")
            idle |= {f"data.{name}": "neither data.labels nor monitor.eval_labels is read" for name in of_labels}
    idle |= _idle_in_views(config)
    idle |= _idle_in_schedule(config.training)
    idle |= _idle_without_initial_weights(config)
    idle |= _idle_in_monitor(config.monitor)
    idle_keys = [
        (assignment.key, assignment.source, idle[assignment.key])
        for assignment in user
        if assignment.key in idle and not _is_restated(assignment, config, recipe)
    ]
    return [
        f"{key} ({source}) has no effect because {reason}; leave one of them out"
        for key, source, reason in (*idle_keys, *_idle_in_groups(config, user, recipe))
    ]


def _idle_in_views(config: PretrainConfig) -> dict[str, str]:
    """Settings of all views that no group reads, and those of color that do not fit the bands."""
    views, idle = config.views, dict[str, str]()
    for name in Augmentation.model_fields:
        if all(getattr(group.augmentation, name) != getattr(views, name) for group in views.layout):
            idle[f"views.{name}"] = "every one of views.groups has its own"
    first, *others = (idle_settings(group, _colorless(config.data)) for group in views.layout)
    everywhere = set(type(views).model_fields).intersection(first, *others)
    idle |= {f"views.{name}": first[name] for name in everywhere}
    if config.data.bands == "rgb":
        idle["data.rgb_bands"] = "data.bands is rgb"
    return idle


def _idle_in_groups(
    config: PretrainConfig, user: Sequence[Assignment], recipe: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Key, source and reason of each setting that a group has for itself, but does not read."""
    views, given = config.views, [assignment for assignment in user if assignment.key == "views.groups"]
    if not given or not isinstance(views, GroupedViewsConfig):
        return
    usual = {name: getattr(views, name, field.default) for name, field in ViewGroupConfig.model_fields.items()}
    # As in ``_is_restated``: a file may repeat the recipe's groups.
    known = dict(enumerate(recipe.get("views.groups", ()))) if given[-1].from_file else {}
    for index, entry in enumerate(views.groups):
        of_recipe = known.get(index, {})
        for name, reason in idle_settings(entry.group, _colorless(config.data)).items():
            if getattr(entry, name) not in (usual[name], of_recipe.get(name, usual[name])):
                yield f"views.groups[{index}].{name}", given[-1].source, reason


def _colorless(data: DataConfig) -> str | None:
    """Why no band is a color; None where some are."""
    if data.color_channels is not None:
        return None
    return f"data.rgb_bands names none of the {data.bands} bands as red, green and blue"


def _idle_in_monitor(monitor: MonitorConfig) -> dict[str, str]:
    idle: dict[str, str] = {}
    if monitor.on_collapse == "warn":
        idle["monitor.patience"] = "monitor.on_collapse is warn"
    if monitor.eval_labels is None:
        idle["monitor.eval_images"] = "monitor.eval_labels names no labels"
    if not monitor.measures_quality:
        idle["monitor.eval_size"] = "nothing is measured without monitor.eval_labels, eval_every or keep_best"
    return idle


def _idle_in_schedule(training: TrainingConfig) -> dict[str, str]:
    idle: dict[str, str] = {}
    reason = f"training.schedule is {training.schedule}"
    if training.epochs is None:
        idle["training.schedule_by"] = "the schedule of a run of training.steps or training.hours moves with every step"
    if training.schedule == "constant":
        idle["training.schedule_by"] = reason
    if training.schedule == "constant" and not any(getattr(training, name) for name in WARMUPS):
        idle["training.constant_predictor_lr"] = reason
    if training.schedule != "step":
        idle |= {"training.milestones": reason, "training.milestone_factor": reason}
    return idle


def _idle_without_initial_weights(config: PretrainConfig) -> dict[str, str]:
    """Settings that need initial weights; a module of one's own may hold some, but there is no file of them."""
    training, backbone = config.training, config.backbone
    if backbone.init is not None:
        return {}
    needing = {"l2_sp": training.l2_sp > 0, "blend": training.blend < 1}
    if not backbone.name.startswith("own:"):
        needing["norm_statistics"] = training.norm_statistics == "keep"
        needing["freeze_backbone_steps"] = training.freeze_backbone_steps > 0
    keys = ["backbone.init_license", *(f"training.{key}" for key, set_to_use in needing.items() if set_to_use)]
    return dict.fromkeys(keys, "backbone.init is unset, so that there are no initial weights")


def _of_other_methods(config: PretrainConfig) -> list[str]:
    """Keys outside of ``method`` that only other methods read."""
    sections = [section for section in CHOICES["method"].options.values() if issubclass(section, MethodSection)]
    others = {start for section in sections for start in section.reads} - set(config.method.reads)
    return [key for key in valid_keys() if any(key == start or key.startswith(f"{start}.") for start in others)]


def _is_restated(assignment: Assignment, config: PretrainConfig, recipe: Mapping[str, Any]) -> bool:
    """Whether a file repeats the recipe's value, as a run's own file does for unused settings too; not an error."""
    section, _, leaf = assignment.key.rpartition(".")
    group: Any = config
    for name in section.split("."):
        group = getattr(group, name)
    unchanged = recipe.get(assignment.key, type(group).model_fields[leaf].default)
    given = tuple(assignment.value) if isinstance(assignment.value, list) else assignment.value
    return assignment.from_file and bool(given == unchanged)
