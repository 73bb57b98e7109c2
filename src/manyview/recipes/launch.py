"""``pretrain``, which is both the command and the Python call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from manyview.config import ConfigError, PretrainConfig, parse_assignment, resolve
from manyview.config.resolve import Assignment, flatten
from manyview.config.resuming import MAY_CHANGE
from manyview.config.training import BUDGETS
from manyview.errors import UserError
from manyview.options.base import StrPath, verb
from manyview.options.channels import read_channels
from manyview.options.pretrain import PretrainOptions, SettingsOptions
from manyview.parsing import parse_json, parse_toml
from manyview.recipes.named import recipe_settings
from manyview.runtime import process_count

if TYPE_CHECKING:
    from torch import nn

    from manyview.evaluation.quality.instrument import QualityInstrument
    from manyview.runs import RunFolder

# Options that are shorthands of configuration keys.
_KEYS = {
    "list": "data.list",
    "labels": "data.labels",
    "label_separator": "data.label_separator",
    "image_column": "data.image_column",
    "label_column": "data.label_column",
    "class_columns": "data.class_columns",
    "class_names": "data.class_names",
    "backbone": "backbone.name",
    "init": "backbone.init",
    "init_license": "backbone.init_license",
    "epochs": "training.epochs",
    "steps": "training.steps",
    "hours": "training.hours",
    "batch_size": "training.batch_size",
    "view_size": "views.size",
    "seed": "training.seed",
    "mean": "views.mean",
    "std": "views.std",
    "bit_depth": "data.bit_depth",
    "eval_labels": "monitor.eval_labels",
    "eval_val_labels": "monitor.eval_val_labels",
    "eval_every": "monitor.eval_every",
    "keep_best": "monitor.keep_best",
}
_PATHS = ("list", "labels", "class_names", "init", "eval_labels", "eval_val_labels")
# Settings of a resumed run that give it another leg.
_LENGTHS = tuple(f"training.{name}" for name in BUDGETS)


@verb(PretrainOptions)
def pretrain(
    images: StrPath | None = None,
    out: StrPath | None = None,
    *,
    advise: bool = True,
    **options: Unpack[PretrainOptions],
) -> RunFolder:
    """Pre-train a backbone on a folder of images; only the recipe ``supervised`` needs labels.

    Later settings override earlier ones: the recipe, the configuration file, the named arguments, ``set``.

    Args:
        images: folder of images, searched recursively, or shards as ``images.image_root`` takes them; where a run is
            resumed it may be left out.
        out: the run's folder; new or empty, or with ``resume`` the one to continue.
        advise: print at the end the commands that go on from here, unless ``quiet``.
        **options: as ``PretrainOptions`` declares them.

    Returns:
        the run's folder; it can be passed wherever weights are expected.

    Raises:
        UserError: a ValueError whose message says what is wrong, where, and what to do.
    """
    from manyview.runs import RunFolder

    if options["resume"] not in (True, False, "auto"):
        raise UserError(f'resume must be True, False or "auto", not {options["resume"]!r}')
    if out is None:
        raise UserError("out is missing: name a new folder for the run")
    folder = RunFolder(Path(out))
    if options["resume"] == "auto":
        options["resume"] = folder.holds_a_run
        if not options["resume"] and images is None and options["config"] is None:
            raise UserError(f"{folder.path} holds no run to go on with: name the folder of images, to start one")
    if not isinstance(options["set"], Mapping):
        options["set"] = tuple(options["set"])
    if process_count() > 1:
        _train_together(images, folder, options, advise)
        return folder
    resolved = _resolved(images, folder, options)
    if (options["devices"] or 1) > 1:
        from manyview.recipes.several import start_processes

        if not options["resume"]:
            folder.check_new()
        start_processes(images, folder.path, resolved.training.device, options)
    else:
        _train(folder, resolved, options, advise)
    return folder


def _resolved(images: StrPath | None, folder: RunFolder, options: Mapping[str, Any]) -> PretrainConfig:
    """The configuration of a new or a resumed run."""
    recipe, resume = options["recipe"], options["resume"]
    user, problems = _user_settings(images, options)
    resolved = _resolve_stored(folder, recipe, user, problems) if resume else _resolve_new(recipe, user, problems)
    if not resume and resolved.backbone.init is not None:
        resolved = _resolve_new(recipe, [*user, *_of_initial(resolved.backbone.init, user)], problems)
    if not resume and resolved.recipe == "continue" and resolved.backbone.init is None:
        raise UserError(
            "recipe continue starts from weights that exist: name them with --init (a run's folder or any checkpoint), "
            "or choose another recipe"
        )
    if options["devices"] is not None and process_count() not in (1, options["devices"]):
        raise UserError(
            f"--devices {options['devices']} starts processes, but {process_count()} are running already, as by "
            "torchrun or srun: leave it out"
        )
    return resolved


def _train_together(images: StrPath | None, folder: RunFolder, options: Mapping[str, Any], advise: bool) -> None:
    """Train as one of several processes, which must all have the same settings."""
    from manyview.distributed import agree, printed_once
    from manyview.recipes.several import compared

    with printed_once():
        config = agree(lambda: _resolved(images, folder, options), lambda config: compared(config, options["resume"]))
        _train(folder, config, options, advise)


def _train(folder: RunFolder, config: PretrainConfig, options: Mapping[str, Any], advise: bool) -> None:
    """Train in this process, which may be one of several."""
    # Heavy imports come only now, so that mistakes are reported at once.
    from manyview.training.run import train

    backbone, quiet = options["backbone"], options["quiet"]
    module = backbone if backbone is not None and not isinstance(backbone, str) else None
    train(config, folder, resume=options["resume"], module=module, instrument=_instrument(config), quiet=quiet)
    _conclude(folder, config, module, quiet=quiet, advise=advise)


@verb(SettingsOptions)
def resolve_settings(images: StrPath | None = None, **options: Unpack[SettingsOptions]) -> PretrainConfig:
    """The configuration that ``pretrain`` would run with the same arguments.

    Args:
        images: folder of images.
        **options: as ``SettingsOptions`` declares them.

    Raises:
        UserError: a ValueError whose message says what is wrong, where, and what to do.
    """
    user, problems = _user_settings(images, options)
    return _resolve_new(options["recipe"], user, problems)


def _instrument(config: PretrainConfig) -> QualityInstrument | None:
    """What measures the backbone as it trains, if anything does."""
    if not config.monitor.measures_quality:
        return None
    from manyview.evaluation.quality.instrument import QualityInstrument

    return QualityInstrument.of(config)


def _conclude(
    folder: RunFolder, config: PretrainConfig, module: nn.Module | None, *, quiet: bool, advise: bool
) -> None:
    """Print one sentence on the health of the weights, and what to do with them, in the main process."""
    from manyview.distributed import rank
    from manyview.evaluation.health.check import check_run
    from manyview.runs.progress import run_console

    if rank() != 0:
        return
    console = run_console(not quiet)
    with console.status("Checking the weights"):
        sentence = check_run(folder, config, module=module)
    console.print(sentence, highlight=False, markup=False)
    if advise and not quiet:
        from manyview.recipes.next_steps import next_steps

        console.print(next_steps(folder.path, config), highlight=False, markup=False)


def read_config_file(path: Path) -> dict[str, Any]:
    """Read settings from a TOML or JSON file.

    Raises:
        UserError: it cannot be read or parsed, or does not hold settings.
    """
    try:
        text = path.read_text()
        content = parse_json(text) if path.suffix == ".json" else parse_toml(text)
    except OSError as error:
        raise UserError(f"configuration file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(
            f"configuration file {path} is not valid {'JSON' if path.suffix == '.json' else 'TOML'}: {error}"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"configuration file {path} does not hold settings by name")
    return content


def _user_settings(images: StrPath | None, options: Mapping[str, Any]) -> tuple[list[Assignment], list[str]]:
    """The user's settings, later ones overriding earlier ones, and errors for those that cannot be parsed."""
    problems: list[str] = []
    user: list[Assignment] = []
    if options["config"] is not None:
        user += flatten(read_config_file(Path(options["config"])), str(options["config"]))
    if images is not None:
        user.append(Assignment("data.images", _absolute(images), "images"))
    for name, key in _KEYS.items():
        value = options.get(name)
        if value is not None:
            plain = _name(value) if name == "backbone" else _absolute(value) if name in _PATHS else value
            user.append(Assignment(key, plain, f"--{name.replace('_', '-')}"))
    settings = options["set"]
    if isinstance(settings, Mapping):
        user += [Assignment(key, value, "set") for key, value in settings.items()]
    else:
        for text in settings:
            try:
                user.append(parse_assignment(text))
            except UserError as error:
                problems.append(str(error))
    return user, problems


def _resolve_new(recipe: str | None, user: list[Assignment], problems: list[str]) -> PretrainConfig:
    for assignment in user:
        if assignment.key == "recipe" and recipe not in (None, assignment.value):
            problems = [*problems, f"the recipe is {recipe}, but {assignment.value} in {assignment.source}; name one"]
        elif assignment.key == "recipe":
            recipe = str(assignment.value)
    base: dict[str, Any] = {}
    try:
        base = recipe_settings(recipe or "paper")
    except UserError as error:
        problems = [str(error), *problems]
    user = [assignment for assignment in user if assignment.key != "recipe"]
    return _resolve_all(base, user, problems)


def _of_initial(weights: str, user: list[Assignment]) -> Iterator[Assignment]:
    """What follows the initial weights where the user does not say it: the network, and the depth of 16-bit files."""
    from manyview.backbones.weights import network_of, record_of

    given = {assignment.key for assignment in user}
    if {"backbone.name", "data.bit_depth"} <= given:
        return
    record = record_of(weights)
    if "backbone.name" not in given:
        yield Assignment("backbone.name", record.name or network_of(weights), "--init")
    if "data.bit_depth" not in given and record.bit_depth is not None:
        yield Assignment("data.bit_depth", record.bit_depth, "--init")


def _resolve_stored(
    folder: RunFolder, recipe: str | None, user: list[Assignment], problems: list[str]
) -> PretrainConfig:
    """The stored configuration of a run; refuses changed settings."""
    if not folder.holds_a_run:
        raise UserError(f"{folder.path} holds no run to resume; leave out --resume to start one there")
    stored = folder.read_record(MAY_CHANGE).run.get("asked", {})
    if recipe is not None:
        user = [Assignment("recipe", recipe, "--recipe"), *user]
    config = _resolve_all(_without_legs(stored, user), user, problems)
    may_change = {*MAY_CHANGE, *_LENGTHS}
    if all(assignment.key != "training.legs" for assignment in user):
        may_change.add("training.legs")
    # Settings that were added after the run started had their defaults.
    before = {item.key: item.value for item in flatten(_resolve_all(stored, [], []).model_dump(mode="json"), "")}
    after = {item.key: item.value for item in flatten(config.model_dump(mode="json"), "")}
    changed = [
        f"{key} was {before.get(key)!r}, now {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and key not in may_change
    ]
    if changed:
        raise UserError(
            f"{folder.path} was started with other settings: {'; '.join(changed)}; "
            "resume without them, or start a new run in another folder"
        )
    return config


def _without_legs(stored: Mapping[str, Any], user: Iterable[Assignment]) -> Mapping[str, Any]:
    """Stored settings, without the earlier legs if a length is given, which they may not fit; training adds them."""
    if not any(assignment.key in _LENGTHS for assignment in user):
        return stored
    return {**stored, "training": {**stored.get("training", {}), "legs": []}}


def _resolve_all(base: Mapping[str, Any], user: list[Assignment], problems: list[str]) -> PretrainConfig:
    """Resolve the configuration, and report earlier problems together with new ones."""
    user = _by_channel(base, user)
    try:
        config = resolve(base, user)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems, *_unavailable(user)]) from None
    if problems:
        raise ConfigError([*problems, *_unavailable(user)])
    return config


def _by_channel(base: Mapping[str, Any], user: list[Assignment]) -> list[Assignment]:
    """The settings, in which the options for mean and standard deviation have a value for each channel.

    Raises:
        UserError: their values are no means or standard deviations of the channels.
    """
    bands = {item.key: item.value for item in (*flatten(base, ""), *user)}.get("data.bands")
    channels = bands if isinstance(bands, int) and bands > 0 else 3
    return [
        replace(item, value=list(read_channels(item.value, channels, item.source.removeprefix("--"))))
        if item.source in ("--mean", "--std")
        else item
        for item in user
    ]


def _unavailable(user: Iterable[Assignment]) -> Iterator[str]:
    """Further errors to report together with others: missing paths and unknown backbones."""
    last = {assignment.key: assignment.value for assignment in user}
    images, backbone = last.get("data.images"), last.get("backbone.name")
    if isinstance(images, str) and not _is_there(images):
        yield f"there is no folder {images}"
    for key in ("data.labels", "backbone.init", "monitor.eval_labels", "monitor.eval_val_labels"):
        path = last.get(key)
        if isinstance(path, str) and not Path(path).exists():
            yield f"there is no file or folder {path}"
    if isinstance(backbone, str) and not backbone.startswith("own:"):
        from manyview.backbones import check_name

        try:
            check_name(backbone)
        except UserError as error:
            yield str(error)


def _is_there(images: str) -> bool:
    """Whether there is such a folder, or what is named stands for shards."""
    if Path(images).is_dir():
        return True
    from manyview.images.sources.root import is_there

    return is_there(images)


def _absolute(path: StrPath) -> str:
    if ":" in os.fspath(path):  # perhaps an address
        from manyview.images.sources.root import absolute_root

        return absolute_root(path)
    return str(Path(path).absolute())


def _name(backbone: str | nn.Module) -> str:
    """Name of a backbone; for a module, the name that the run records."""
    if isinstance(backbone, str):
        return backbone
    return f"own:{type(backbone).__module__}.{type(backbone).__qualname__}"
