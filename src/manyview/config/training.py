"""Training sections: steps, schedule, device. ``training.optimizer`` selects the class with its own settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, model_validator

from manyview.config.section import NonNegative, Positive, PositiveInt, Section

BUDGETS = ("epochs", "steps", "hours")
"""Settings for the length of a run, of which one is set."""

WARMUPS = ("warmup_epochs", "warmup_steps", "warmup_share")
"""Settings for the length of the warm-up, of which one at most is above 0."""

Momentum = Annotated[float, Field(ge=0, lt=1)]


class LegConfig(Section):
    """An earlier length of a run: it was one of so many epochs or steps until a step, when it got another length."""

    until: PositiveInt = Field(description="optimizer steps done by then")
    epochs: PositiveInt | None = Field(None, description="passes over the images")
    steps: PositiveInt | None = Field(None, description="optimizer steps, instead of epochs")

    @model_validator(mode="after")
    def _has_one_length(self) -> LegConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("each of legs has one of epochs and steps, beside until")
        if self.steps is not None and self.steps < self.until:
            raise ValueError(f"a leg of {self.steps} steps in all cannot last until step {self.until}")
        return self


class TrainingConfig(Section):
    """Settings for every optimizer. One of epochs, steps and hours is set; epochs are 200 where none is."""

    epochs: PositiveInt | None = Field(200, description="passes over the images; unset with steps or hours")
    steps: PositiveInt | None = Field(
        None, description="optimizer steps, instead of epochs; the last epoch may be partial"
    )
    hours: Positive | None = Field(
        None, description="hours, instead of epochs: the number of steps follows from the pace measured at the start"
    )
    batch_size: Annotated[StrictInt, Field(ge=2)] = Field(128, description="images per batch, over all processes")
    accumulate: PositiveInt = Field(1, description="number of batches whose gradients are accumulated for one step")
    optimizer: str
    base_learning_rate: Positive = Field(0.05, description="learning rate at 256 positive pairs per step")
    scaling: Literal["linear", "sqrt", "none"] = Field(
        "linear",
        description="how the learning rate follows the pairs per step: base_learning_rate x pairs / 256 (linear), "
        "x sqrt(pairs / 256) (sqrt), or base_learning_rate (none)",
    )
    weight_decay: NonNegative = Field(
        1e-4,
        description="of all parameters with sgd, as in SimSiam; otherwise norms and biases are excluded",
    )
    weight_decay_end: NonNegative | None = Field(
        None,
        description="weight decay at the end of the run, reached along a cosine as in DINO; unset: the same throughout",
    )
    clip_norm: Positive | None = Field(
        None,
        description="norm to which the gradient of all trained parameters together is shortened; unset: not at all",
    )
    schedule: Literal["cosine", "constant", "step"] = Field(
        "cosine", description="learning rate schedule; step lowers the rate at milestones"
    )
    schedule_by: Literal["epoch", "step"] = Field(
        "epoch", description="whether the schedule is updated every epoch or every step; with steps or hours every step"
    )
    milestones: tuple[Positive, ...] | None = Field(
        None,
        description="epochs at which schedule=step lowers the rate; unset: at 60 % and 80 % of the run, as in MoCo",
    )
    milestone_factor: Positive = Field(0.1, description="factor applied to the rate at each milestone")
    warmup_epochs: NonNegative = Field(0.0, description="epochs of linear warm-up before the schedule")
    warmup_steps: Annotated[StrictInt, Field(ge=0)] = Field(
        0, description="steps of linear warm-up, instead of warmup_epochs"
    )
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of the run's steps that are linear warm-up, instead of warmup_epochs"
    )
    constant_predictor_lr: StrictBool = Field(False, description="keep the predictor's learning rate constant")
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = Field(
        0, description="random seed of initialization, augmentation and shuffling"
    )
    device: str = Field("auto", description="auto, cpu, cuda, mps")
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="auto, float32 or bf16; auto: bf16 where the hardware multiplies it faster than float32"
    )
    checkpoint_minutes: Positive = Field(10.0, description="maximum minutes between two checkpoints")
    compile: StrictBool = Field(False, description="torch.compile the backbone")
    renderer: Literal["auto", "cpu", "device", "reference"] = Field(
        "auto",
        description="where views are rendered: by the workers with compiled code (cpu) or Pillow (reference), or "
        "cropped by the workers and augmented on the training device (device); auto: cpu, but on an accelerator the "
        "faster of cpu and device, as measured",
    )
    threads: PositiveInt | None = Field(None, description="compute threads on a CPU; unset: PyTorch's default")
    norm_statistics: Literal["batch", "keep"] = Field(
        "batch",
        description="what the backbone's batch norms normalize by: each batch, or the initial weights' running "
        "statistics, which are kept; their scales and shifts are trained either way",
    )
    freeze_backbone_steps: Annotated[StrictInt, Field(ge=0)] = Field(
        0, description="steps at the start in which only the heads are trained, on the initial weights' features"
    )
    backbone_learning_rate_factor: Positive = Field(
        1.0, description="learning rate of the backbone as a multiple of the heads'"
    )
    l2_sp: NonNegative = Field(
        0.0,
        description="alpha of L2-SP, the penalty alpha/2 |w - w0|^2 on the backbone's distance from the initial "
        "weights, in place of its weight decay",
    )
    blend: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="share of the trained weights in the written backbone, the rest being the initial weights: "
        "(1 - blend) w0 + blend w",
    )

    legs: tuple[LegConfig, ...] = Field(
        (),
        description="earlier lengths of a run that got another one, as {until=800, epochs=100}, written by "
        "pretrain --resume --epochs N: each schedule is that of the length which held at the step",
    )

    def leg_at(self, step: int) -> TrainingConfig:
        """These settings with the length that held at an optimizer step, from 0, and the legs before it."""
        for index, leg in enumerate(self.legs):
            if step < leg.until:
                return self.model_copy(update={"epochs": leg.epochs, "steps": leg.steps, "legs": self.legs[:index]})
        return self

    @property
    def by_step(self) -> bool:
        """Whether the schedule is updated every step."""
        return self.schedule_by == "step" or self.epochs is None

    def total_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps of the run, whose hours have been settled into steps."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None, "settle() turns hours into steps"
        return self.epochs * steps_per_epoch

    def scale(self, pairs: int) -> float:
        """The learning rate's factor at this number of positive pairs per step, 1 at 256, by ``scaling``.

        - "linear": pairs / 256, for SGD: the same path over the images with larger steps (arXiv 1706.02677,
          Section 2.1), the rule of SimSiam (arXiv 2011.10566, Section 4) and the paper.
        - "sqrt": sqrt(pairs / 256), for Adam and others that divide by the gradient's size (arXiv 2205.10287,
          Section 5.2, without its changes of betas and epsilon).
        - "none": 1.
        """
        return {"linear": pairs / 256, "sqrt": math.sqrt(pairs / 256), "none": 1.0}[self.scaling]

    @model_validator(mode="before")
    @classmethod
    def _has_no_epochs_beside_another_budget(cls, values: Any) -> Any:
        """Leave epochs unset where steps or hours are given, and epochs are not."""
        if not isinstance(values, Mapping) or "epochs" in values:
            return values
        others = any(values.get(name) is not None for name in ("steps", "hours"))
        return {**values, "epochs": None} if others else values

    @model_validator(mode="after")
    def _has_one_budget(self) -> TrainingConfig:
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"set one of epochs, steps and hours, not {' and '.join(given) or 'none'}")
        return self

    @model_validator(mode="after")
    def _legs_ascend(self) -> TrainingConfig:
        ends = [leg.until for leg in self.legs]
        if ends != sorted(set(ends)) or (self.steps is not None and ends and ends[-1] >= self.steps):
            below = f" and lie below the run's {self.steps} steps" if self.steps else ""
            raise ValueError(f"the ends of legs must ascend{below}, not {ends}")
        return self

    @model_validator(mode="after")
    def _warms_up_once(self) -> TrainingConfig:
        given = [name for name in WARMUPS if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both set; leave one of them out")
        return self

    @model_validator(mode="after")
    def _milestones_ascend(self) -> TrainingConfig:
        given = list(self.milestones or ())
        beyond = self.epochs is not None and given and given[-1] >= self.epochs
        if given != sorted(set(given)) or beyond:
            below = f" and lie below the run's {self.epochs} epochs" if self.epochs else ""
            raise ValueError(f"milestones must ascend{below}, not {given}")
        return self


class SGDConfig(TrainingConfig):
    """Stochastic gradient descent with momentum, as in SimSiam and MoCo."""

    optimizer: Literal["sgd"] = Field("sgd", description="sgd, adamw or lars")
    momentum: Momentum = Field(0.9, description="momentum")


class AdamWConfig(TrainingConfig):
    """Adam with decoupled weight decay (arXiv 1711.05101); the defaults are common for vision transformers."""

    optimizer: Literal["adamw"] = Field("adamw")
    base_learning_rate: Positive = Field(5e-4)
    weight_decay: NonNegative = Field(0.05)
    betas: tuple[Momentum, Momentum] = Field(
        (0.9, 0.999), description="decay rates of the running means of the gradient and of its square"
    )


class LARSConfig(TrainingConfig):
    """Layer-wise adaptive rate scaling (arXiv 1708.03888), for batches of thousands; defaults as is common for BYOL."""

    optimizer: Literal["lars"] = Field("lars")
    base_learning_rate: Positive = Field(0.3)
    weight_decay: NonNegative = Field(1e-6)
    momentum: Momentum = Field(0.9, description="momentum")
    trust_coefficient: Positive = Field(
        0.001, description="ratio of a layer's step to the norm of its weights, at learning rate 1"
    )
