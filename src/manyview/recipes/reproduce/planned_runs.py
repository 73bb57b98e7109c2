"""The pre-training of a row at a scale: its settings, its length, and what tells it apart from other runs."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.config import PretrainConfig
from manyview.config.choices import CHOICES
from manyview.config.methods import MethodSection
from manyview.config.views import GroupedViewsConfig
from manyview.errors import UserError
from manyview.recipes.launch import resolve_settings
from manyview.recipes.named import recipe_settings
from manyview.recipes.reproduce.inputs import Inputs, digest_of
from manyview.recipes.reproduce.scales import Scale
from manyview.recipes.reproduce.tables import Row
from manyview.training.plan import TrainingPlan, make_plan
from manyview.views import views_per_image

# What a run's weights do not depend on, or what is told apart otherwise.
_NOT_TOLD_APART = {
    "data": {"images", "list", "labels", "workers"},
    "training": {"seed", "device", "threads", "checkpoint_minutes", "compile"},
}
# What does not tell the pace of runs apart: device and threads do. Loader processes do not, so that runs of equal time,
# whose length follows from the pace, may be gone on with by other numbers of them.
_NOT_OF_PACE = {
    "data": {"images", "list", "labels", "workers"},
    "training": {"seed", "checkpoint_minutes", "epochs", "steps", "warmup_epochs", "warmup_steps"},
}
_LONGEST_NAME = 60
_ORIGINAL_SIZE = 224  # pixels, of the views that recipes with groups of several sizes are written for


@dataclass(frozen=True)
class PlannedRun:
    """A pre-training with one seed, as it would be started.

    Attributes:
        recipe: name of the recipe.
        settings: for ``set`` of ``pretrain``, seed included.
        config: what they resolve to.
        plan: batches and steps.
        folder: of the run.
        pace_key: tells runs of another pace apart: all but their length and seed.
    """

    recipe: str
    settings: Mapping[str, Any]
    config: PretrainConfig
    plan: TrainingPlan
    folder: Path
    pace_key: str

    @property
    def views(self) -> int:
        """Views that the run sees."""
        return self.plan.steps * self.plan.views_per_step

    @property
    def images(self) -> int:
        """Images that the run sees, each as often as it does."""
        return self.plan.steps * self.plan.batch_size * self.plan.accumulate


@dataclass(frozen=True)
class RowSettings:
    """A row's run but for its length and seed.

    Attributes:
        row: the row.
        settings: for ``set`` of ``pretrain``.
        config: what they resolve to, with the recipe's length.
        plan: batches, and the recipe's steps.
        pace_key: as of ``PlannedRun``.
    """

    row: Row
    settings: Mapping[str, Any]
    config: PretrainConfig
    plan: TrainingPlan
    pace_key: str


def row_settings(row: Row, scale: Scale, inputs: Inputs, user: Mapping[str, Any]) -> RowSettings:
    """Settings of a row's run at a scale.

    The scale's come first, then the scale's for this recipe, the row's, and the user's.

    Args:
        row: with a recipe.
        scale: of the run.
        inputs: images and labels.
        user: settings of all runs, by dotted key.

    Raises:
        UserError: the recipe does not exist, the settings contradict each other, or labels are missing.
    """
    assert row.recipe is not None
    try:
        recipe_settings(row.recipe)
        settings = {**scale.settings(row.recipe), **row.settings, **user}
        settings |= _labels(row, settings, inputs)
        if scale.backbone is not None:
            settings.setdefault("backbone.name", scale.backbone)
        config = _resolved(row, settings, inputs)
        settings |= _view_size(config, scale.view_size, settings)
        settings |= _batch(config, row, scale, settings)
        config = _resolved(row, settings, inputs)
        if config.monitor.eval_patience is not None:
            raise UserError(
                "monitor.eval_patience would end the run early, and rows be of unequal length: leave it out"
            )
        plan = make_plan(config, len(inputs.files))
        fitted = _fitted(config, plan)
        fitted.method.check(fitted, len(inputs.files))
    except UserError as error:
        raise UserError(f"row {row.name!r}: {error}") from error
    return RowSettings(row, settings, config, plan, _digest(config, inputs, length=False))


def planned_run(base: RowSettings, steps: int | None, seed: int, inputs: Inputs, out: Path) -> PlannedRun:
    """The run of a row with a length and a seed.

    Args:
        base: its other settings.
        steps: optimizer steps; None for the row's or the recipe's own length.
        seed: of everything random.
        inputs: images and labels.
        out: folder of the table.
    """
    row, settings = base.row, {**base.settings, "training.seed": seed}
    settings |= _own_length(row) if steps is None else _annealed(base.config, steps)
    try:
        config = _resolved(row, settings, inputs)
        plan = make_plan(config, len(inputs.files))
    except UserError as error:
        raise UserError(f"row {row.name!r}: {error}") from error
    identity = _digest(config, inputs, length=True)
    folder = _folder(out / "runs", f"{slug(row)}", f"{identity}-{seed}")
    assert row.recipe is not None
    return PlannedRun(row.recipe, settings, config, plan, folder, base.pace_key)


def steps_of(base: RowSettings, equal: str, amount: float | int, seconds_per_step: float | None) -> int:
    """Optimizer steps of a row, of which something is equal to other rows; at least one.

    Args:
        base: the row's settings.
        equal: "views", "images", "steps" or "time".
        amount: views, images, steps or hours of a whole row.
        seconds_per_step: for "time".
    """
    share, plan = amount * base.row.share, base.plan
    if equal == "time":
        assert seconds_per_step is not None
        return max(int(3600 * share / seconds_per_step), 1)
    each = {"views": plan.views_per_step, "images": plan.batch_size * plan.accumulate, "steps": 1}[equal]
    # A share of 1/10 of 200,000 must not become one more by rounding.
    return max(math.ceil(round(share / each, 6)), 1)


def _resolved(row: Row, settings: Mapping[str, Any], inputs: Inputs) -> PretrainConfig:
    return resolve_settings(inputs.images, recipe=row.recipe, set=settings)


def _labels(row: Row, settings: Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
    """The training labels, of a method that learns from labels."""
    assert row.recipe is not None
    method = CHOICES["method"]
    named = settings.get(method.key, recipe_settings(row.recipe).get("method", {}).get(method.tag, method.default))
    section = method.options.get(str(named))
    if section is None or not issubclass(section, MethodSection) or not section.labeled:
        return {}
    if inputs.train_labels is None:
        raise UserError(f"{named} learns from labels: give --train-labels and --val-labels, or leave the row out")
    return {"data.labels": str(inputs.train_labels.absolute()), **inputs.layout}


def _view_size(config: PretrainConfig, size: int | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The scale's size of the views; those in groups keep their proportions to views of 224 pixels."""
    if size is None or "views.size" in settings or "views.groups" in settings:
        return {}
    if not isinstance(config.views, GroupedViewsConfig):
        return {"views.size": size}
    groups = [entry.model_dump(mode="json") for entry in config.views.groups]
    return {
        "views.groups": [{**group, "size": max(round(group["size"] * size / _ORIGINAL_SIZE), 8)} for group in groups]
    }


def _batch(config: PretrainConfig, row: Row, scale: Scale, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Images a step: the row's or the recipe's, but no more than the scale's views a step."""
    assert row.recipe is not None
    if "training.batch_size" in settings:
        return {}
    own, most = row.batch_size or config.training.batch_size, scale.step_views(row.recipe)
    if most is not None:
        own = min(own, max(most // views_per_image(config.views), 2))
    return {"training.batch_size": own}


def _fitted(config: PretrainConfig, plan: TrainingPlan) -> PretrainConfig:
    """The configuration with the batch that fits the images, as a run settles it."""
    values = config.model_dump()
    values["training"] |= {"batch_size": plan.batch_size, "accumulate": plan.accumulate}
    return PretrainConfig.model_validate(values)


def _own_length(row: Row) -> dict[str, Any]:
    return {} if row.epochs is None else {"training.epochs": row.epochs}


def _annealed(config: PretrainConfig, steps: int) -> dict[str, Any]:
    """A schedule over these steps, whose warm-up has the share of the run that it has in the recipe."""
    training = config.training
    settings: dict[str, Any] = {"training.steps": steps}
    if training.warmup_epochs and training.epochs:
        share = training.warmup_epochs / training.epochs
        settings |= {"training.warmup_epochs": 0.0, "training.warmup_steps": int(share * steps)}
    return settings


def _digest(config: PretrainConfig, inputs: Inputs, *, length: bool) -> str:
    """Eight hexadecimal digits that tell runs apart by what their weights depend on, but for the seed.

    Without ``length`` instead by what their pace depends on.

    Settings with their defaults do not count, so that settings added later change no digest.
    """
    values = config.model_dump(mode="json", exclude_defaults=True, exclude={"recipe", "monitor"})
    for section, names in (_NOT_TOLD_APART if length else _NOT_OF_PACE).items():
        values[section] = {name: value for name, value in values.get(section, {}).items() if name not in names}
    values["chosen"] = {
        choice.section: getattr(getattr(config, choice.section), choice.tag) for choice in CHOICES.values()
    }
    values["images"] = inputs.digest
    if config.data.labels is not None:
        values["labels"] = digest_of(Path(config.data.labels))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def slug(row: Row) -> str:
    """A row's recipe and settings as the beginning of a file name."""
    parts = [
        row.recipe or row.given or row.weights or "",
        *(f"{key.rpartition('.')[2]}-{value}" for key, value in row.settings.items()),
    ]
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(parts)).strip("-.")[:_LONGEST_NAME]


def _folder(root: Path, name: str, identity: str) -> Path:
    """The folder of an identity: the one that a row of any name has made, or a new one."""
    made = sorted(root.glob(f"*-{identity}"))
    return made[0] if made else root / f"{name}-{identity}"
