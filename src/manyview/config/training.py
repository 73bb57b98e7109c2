"""Sections of the training: steps, schedule, device. ``training.optimizer`` chooses one, by what it alone reads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt, model_validator

from manyview.config.section import NonNegative, Positive, PositiveInt, Section

Momentum = Annotated[float, Field(ge=0, lt=1)]


class TrainingConfig(Section):
    """What all optimizers have in common. The learning rate is base_learning_rate x pairs a step / 256."""

    epochs: PositiveInt = Field(200, description="passes over the images")
    batch_size: Annotated[StrictInt, Field(ge=2)] = Field(128, description="images a step, over all processes")
    accumulate: PositiveInt = Field(1, description="batches whose gradients make one step")
    optimizer: str
    base_learning_rate: Positive = Field(0.05, description="learning rate at 256 pairs a step")
    weight_decay: NonNegative = Field(
        1e-4, description="on every parameter with sgd, as in SimSiam; else on all but norms and biases"
    )
    schedule: Literal["cosine", "constant", "step"] = Field(
        "cosine", description="of the learning rate; step lowers it at milestones"
    )
    schedule_by: Literal["epoch", "step"] = Field("epoch", description="how often the schedule moves on")
    milestones: tuple[Positive, ...] | None = Field(
        None, description="epochs at which schedule=step lowers the rate; unset: at 60 % and 80 % of them, as MoCo"
    )
    milestone_factor: Positive = Field(0.1, description="what it is multiplied by there")
    warmup_epochs: NonNegative = Field(0.0, description="epochs in which the rate rises linearly, before the schedule")
    warmup_steps: Annotated[StrictInt, Field(ge=0)] = Field(0, description="the same in steps")
    constant_predictor_lr: StrictBool = Field(False, description="keep the predictor's learning rate constant")
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = Field(0, description="everything random follows from it")
    device: str = Field("auto", description="auto, cpu, cuda, mps")
    precision: Literal["auto", "float32", "bf16"] = Field("auto", description="bf16 where the hardware has it")
    checkpoint_minutes: Positive = Field(10.0, description="longest time between two checkpoints")
    compile: StrictBool = Field(False, description="torch.compile the backbone")
    renderer: Literal["auto", "cpu", "device", "reference"] = Field(
        "auto",
        description="who makes the views: the workers (cpu), they with Pillow (reference), or they crop and the "
        "training device does the rest (device); auto: cpu, but on an accelerator whichever is measured to be faster",
    )
    threads: PositiveInt | None = Field(None, description="compute threads on a CPU; unset: PyTorch's own choice")

    @property
    def lowered_at(self) -> tuple[float, ...]:
        """The epochs at which ``schedule=step`` lowers the learning rate."""
        return self.milestones or (0.6 * self.epochs, 0.8 * self.epochs)

    @model_validator(mode="after")
    def _warms_up_once(self) -> TrainingConfig:
        if self.warmup_epochs and self.warmup_steps:
            raise ValueError("warmup_epochs and warmup_steps are both set; leave one of them out")
        return self

    @model_validator(mode="after")
    def _milestones_ascend(self) -> TrainingConfig:
        given = list(self.milestones or ())
        if given != sorted(set(given)) or (given and given[-1] >= self.epochs):
            raise ValueError(f"milestones must ascend and lie below the run's {self.epochs} epochs, not {given}")
        return self


class SGDConfig(TrainingConfig):
    """Stochastic gradient descent with momentum, as in SimSiam and MoCo."""

    optimizer: Literal["sgd"] = Field("sgd", description="sgd, adamw or lars")
    momentum: Momentum = Field(0.9, description="share of the last step's direction that is kept")


class AdamWConfig(TrainingConfig):
    """Adam with decoupled weight decay (arXiv 1711.05101); the defaults are those usual for vision transformers."""

    optimizer: Literal["adamw"] = Field("adamw")
    base_learning_rate: Positive = Field(5e-4)
    weight_decay: NonNegative = Field(0.05)
    betas: tuple[Momentum, Momentum] = Field(
        (0.9, 0.999), description="how much is kept of the running means of the gradient and of its square"
    )


class LARSConfig(TrainingConfig):
    """Layer-wise adaptive rates (arXiv 1708.03888), for batches of thousands; the defaults are usual for BYOL."""

    optimizer: Literal["lars"] = Field("lars")
    base_learning_rate: Positive = Field(0.3)
    weight_decay: NonNegative = Field(1e-6)
    momentum: Momentum = Field(0.9, description="share of the last step that is kept")
    trust_coefficient: Positive = Field(0.001, description="a layer's step as a share of its weights' norm, at rate 1")
