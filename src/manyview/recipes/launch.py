"""``pretrain``: what the command and the Python call both are."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from manyview.config import ConfigError, PretrainConfig, parse_assignment, resolve
from manyview.config.resolve import Assignment, flatten
from manyview.errors import UserError
from manyview.options.base import StrPath, verb
from manyview.options.pretrain import PretrainOptions, SettingsOptions
from manyview.recipes.named import recipe_settings

if TYPE_CHECKING:
    from torch import nn

    from manyview.runs import RunFolder

# The options that are settings of the configuration by another name.
_KEYS = {
    "list": "data.list",
    "backbone": "backbone.name",
    "init": "backbone.init",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "view_size": "views.size",
    "seed": "training.seed",
}
# What a resumed run may be given anew, because it does not change the weights that come out.
_MAY_CHANGE = (
    *("data.images", "data.list", "data.workers", "data.max_bad_fraction"),
    *("monitor.on_collapse", "monitor.patience", "training.checkpoint_minutes"),
)


@verb(PretrainOptions)
def pretrain(
    images: StrPath | None = None, out: StrPath | None = None, **options: Unpack[PretrainOptions]
) -> RunFolder:
    """Pre-train a backbone on a folder of unlabeled images.

    Settings are laid over each other in this order: the recipe, the configuration file, the arguments by name, ``set``.

    Args:
        images: folder of images, searched recursively; with ``resume`` it may be left out.
        out: the run's folder; new or empty, or with ``resume`` the one to continue.
        **options: as ``PretrainOptions`` declares them.

    Returns:
        the run's folder; it can be given wherever weights are asked for.

    Raises:
        UserError: a ValueError whose message says what is wrong, where, and what to do.
    """
    from manyview.runs import RunFolder

    if out is None:
        raise UserError("out is missing: name a new folder for the run")
    folder = RunFolder(Path(out))
    backbone, recipe, resume, quiet = options["backbone"], options["recipe"], options["resume"], options["quiet"]
    user, problems = _user_settings(images, options)
    resolved = _resolve_stored(folder, recipe, user, problems) if resume else _resolve_new(recipe, user, problems)
    if not resume and resolved.backbone.init is not None and all(item.key != "backbone.name" for item in user):
        network = _network_of(resolved.backbone.init)
        resolved = _resolve_new(recipe, [*user, Assignment("backbone.name", network, "--init")], problems)

    # Only now the heavy imports: mistakes are told at once.
    from manyview.training.run import train

    module = backbone if backbone is not None and not isinstance(backbone, str) else None
    train(resolved, folder, resume=resume, module=module, quiet=quiet)
    _check(folder, resolved, module, quiet)
    return folder


@verb(SettingsOptions)
def resolve_settings(images: StrPath | None = None, **options: Unpack[SettingsOptions]) -> PretrainConfig:
    """The configuration that ``pretrain`` would run with these arguments, which mean the same there.

    Args:
        images: folder of images.
        **options: as ``SettingsOptions`` declares them.

    Raises:
        UserError: a ValueError whose message says what is wrong, where, and what to do.
    """
    user, problems = _user_settings(images, options)
    return _resolve_new(options["recipe"], user, problems)


def _check(folder: RunFolder, config: PretrainConfig, module: nn.Module | None, quiet: bool) -> None:
    """Say in a sentence how the weights are; of several processes the first one does."""
    from rich.console import Console

    from manyview.distributed import rank
    from manyview.evaluation.health.check import check_run

    if rank() != 0:
        return
    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    with console.status("Checking the weights"):
        sentence = check_run(folder, config, module=module)
    console.print(sentence, highlight=False, markup=False)


def read_config_file(path: Path) -> dict[str, Any]:
    """Settings from a TOML or JSON file.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        text = path.read_text()
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UserError(f"configuration file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(
            f"configuration file {path} is not valid {'JSON' if path.suffix == '.json' else 'TOML'}: {error}"
        ) from (error)
    if not isinstance(content, dict):
        raise UserError(f"configuration file {path} does not hold settings by name")
    return content


def _user_settings(images: StrPath | None, options: Mapping[str, Any]) -> tuple[list[Assignment], list[str]]:
    """All that the user asked for, the strongest last, and what could not be understood of it."""
    problems: list[str] = []
    user: list[Assignment] = []
    if options["config"] is not None:
        user += flatten(read_config_file(Path(options["config"])), str(options["config"]))
    if images is not None:
        user.append(Assignment("data.images", _absolute(images), "images"))
    for name, key in _KEYS.items():
        value = options.get(name)
        if value is not None:
            plain = _name(value) if name == "backbone" else _absolute(value) if name in ("list", "init") else value
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


def _network_of(weights: str) -> str:
    """The network of the weights that a run starts from, which is the run's unless another is asked for."""
    from manyview.backbones import network_of

    return network_of(weights)


def _resolve_stored(
    folder: RunFolder, recipe: str | None, user: list[Assignment], problems: list[str]
) -> PretrainConfig:
    """The stored configuration, unless the user asks for something else now."""
    if not folder.holds_a_run:
        raise UserError(f"{folder.path} holds no run to resume; leave out --resume to start one there")
    stored = folder.read_json("run.json").get("asked", {})
    if recipe is not None:
        user = [Assignment("recipe", recipe, "--recipe"), *user]
    config = _resolve_all(stored, user, problems)
    # Settings that are newer than the run had their defaults.
    before = {item.key: item.value for item in flatten(_resolve_all(stored, [], []).model_dump(mode="json"), "")}
    after = {item.key: item.value for item in flatten(config.model_dump(mode="json"), "")}
    changed = [
        f"{key} was {before.get(key)!r}, now {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and key not in _MAY_CHANGE
    ]
    if changed:
        raise UserError(
            f"{folder.path} was started with other settings: {'; '.join(changed)}; "
            "resume without them, or start a new run in another folder"
        )
    return config


def _resolve_all(base: Mapping[str, Any], user: list[Assignment], problems: list[str]) -> PretrainConfig:
    """Resolve, and report the mistakes found before together with those found now."""
    try:
        config = resolve(base, user)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems, *_unavailable(user)]) from None
    if problems:
        raise ConfigError([*problems, *_unavailable(user)])
    return config


def _unavailable(user: Iterable[Assignment]) -> Iterator[str]:
    """What would only be found later, but belongs to the list once there is a list: paths and the backbone's name."""
    last = {assignment.key: assignment.value for assignment in user}
    images, backbone, init = (last.get(key) for key in ("data.images", "backbone.name", "backbone.init"))
    if isinstance(images, str) and not Path(images).is_dir():
        yield f"there is no folder {images}"
    if isinstance(init, str) and not Path(init).exists():
        yield f"there is no file or folder {init}"
    if isinstance(backbone, str) and not backbone.startswith("own:"):
        from manyview.backbones import check_name

        try:
            check_name(backbone)
        except UserError as error:
            yield str(error)


def _absolute(path: StrPath) -> str:
    return str(Path(path).absolute())


def _name(backbone: str | nn.Module) -> str:
    """A backbone's name; for one that was handed over as a module, the name under which a run remembers it."""
    if isinstance(backbone, str):
        return backbone
    return f"own:{type(backbone).__module__}.{type(backbone).__qualname__}"
