"""Another length for a run that is resumed: its next leg, and what is recorded of it.

From the leg's first step on, everything that follows a schedule is what a run of the new length has at that step
(``config.training.TrainingConfig.leg_at``); the steps before it keep theirs. The record of both, ``training.legs``, is
part of the configuration, so that the run is the same function of its configuration as any other: it can be stopped
and resumed in any leg, and repeated from its ``config.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manyview.config import PretrainConfig, TrainingConfig
from manyview.config.training import BUDGETS, LegConfig
from manyview.errors import UserError
from manyview.runs import provenance
from manyview.runs.record import RunRecord
from manyview.training.loop import Training
from manyview.training.optimizer import learning_rate


def with_length(config: PretrainConfig, folder: Path, record: RunRecord, step: int) -> PretrainConfig:
    """The configuration of a resumed run, with another leg if its length is another than it was.

    Args:
        config: as asked for now, which differs from the run's in the length at most.
        folder: of the run.
        record: its record.
        step: optimizer steps done.

    Raises:
        UserError: the run has passed the new length, or it is given in hours.
    """
    about, ran = record.run, record.config
    before = PretrainConfig.model_validate(about["asked"]).training
    if all(getattr(before, name) == getattr(config.training, name) for name in BUDGETS):
        return config.model_copy(update={"training": config.training.model_copy(update={"legs": before.legs})})
    if config.training.hours is not None:
        raise UserError(
            f"{folder} was started with {spell_length(before)}; give another length by --epochs or --steps, as "
            "hours are measured only at the start"
        )
    settled = before.model_copy(update={"hours": None, "steps": ran["training"]["steps"]}) if before.hours else before
    per_epoch = int(about["plan"]["steps_per_epoch"])
    total = config.training.total_steps(per_epoch)
    if total == settled.total_steps(per_epoch):
        kept = {name: getattr(before, name) for name in (*BUDGETS, "legs")}
        return config.model_copy(update={"training": config.training.model_copy(update=kept)})
    if step == 0:
        return config.model_copy(update={"training": config.training.model_copy(update={"legs": ()})})
    if total <= step:
        raise UserError(
            f"{folder} has done {step:,} steps, and {spell_length(config.training)} would be {total:,}: give "
            "more, or leave the length out; a run cannot be shortened to what it has passed"
        )
    held = settled.leg_at(step - 1)
    leg = LegConfig(until=step, epochs=held.epochs, steps=held.steps)
    legs = (*(each for each in settled.legs if each.until < step), leg)
    return config.model_copy(update={"training": config.training.model_copy(update={"legs": legs})})


def spell_length(training: TrainingConfig) -> str:
    """The length of a run in words: "100 epochs"."""
    [name] = [name for name in BUDGETS if getattr(training, name) is not None]
    count = getattr(training, name)
    return f"{count:,} {name if count != 1 else name[:-1]}"


def record_leg(training: Training) -> None:
    """Record the leg that a resumed run begins, if it does, and say what it changes; called by all processes."""
    settled, record = training.settled, training.record
    assert record is not None, "of a resumed run"
    about = record.run
    asked, ran = settled.asked.model_dump(mode="json"), settled.config.model_dump(mode="json")
    is_recorded = all(
        _length(then["training"]) == _length(now["training"])
        for then, now in ((about["asked"], asked), (record.config, ran))
    )
    if is_recorded:
        return
    legs = settled.config.training.legs
    if training.step and legs and legs[-1].until == training.step:
        per_epoch = settled.plan.steps_per_epoch
        last, now = (learning_rate(settled.config, step, per_epoch) for step in (training.step - 1, training.step))
        training.display.say(
            f"The run is now one of {spell_length(settled.config.training)}: {settled.plan}. From here on it goes on "
            f"as one of that length would; the learning rate, last {last:.4g}, is {now:.4g} in the next step."
        )
    earlier = [leg for leg in about.get("legs", []) if leg["from"] < training.step]
    plan = {**about["plan"], "steps": settled.plan.steps}
    begun = {"from": training.step, "steps": settled.plan.steps, **provenance()}
    about = {**about, "asked": asked, "plan": plan, "legs": [*earlier, begun]}
    training.record = RunRecord(about, ran, record.free)
    if training.is_main:
        training.folder.write_record(training.record, before=record)


def _length(training: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a recorded section says of the run's length; runs of earlier versions know nothing of legs."""
    return *(training.get(name) for name in BUDGETS), training.get("legs") or []
