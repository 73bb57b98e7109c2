"""Method sections, one class per method. ``method.name`` selects one, and with it the method that is trained.

A new method only needs its class here: the schema's union and the errors about keys follow from the table in
``choices.py``, which finds the classes by their default ``name``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt

from manyview.config.section import NonNegative, Positive, PositiveInt, Probability, Section
from manyview.config.views import ViewsSection, in_pairs
from manyview.errors import UserError

if TYPE_CHECKING:
    from manyview.config.schema import LossesConfig, PretrainConfig


class MethodSection(Section):
    """Base class of the method sections.

    Attributes:
        reads: sections or keys outside of ``method`` that only some methods read, including this one. By default the
            image-aware loss, which any method with projections of pairs can add to its own.
        labeled: whether the method learns from ``data.labels``; its section then has ``classes``.
        predicts: whether the method has predictions p besides the projections z.
    """

    reads: ClassVar[tuple[str, ...]] = ("losses.image_aware",)
    labeled: ClassVar[bool] = False
    predicts: ClassVar[bool] = False
    name: str

    def positives(self, views: ViewsSection) -> tuple[tuple[int, ...], ...]:
        """Positive sets of an image's views; by default the pairs of ``in_pairs``.

        Returns:
            one tuple of view indices per set; indices continue through the groups of ``views.layout``.

        Raises:
            ValueError: the method cannot use these views; the message says what to change.
        """
        for number, group in enumerate(views.layout):
            odd = next((run for run in group.runs if run % 2), None)
            if odd is not None:
                raise ValueError(
                    f"views.groups[{number}].count is {odd}, but method.name is {self.name}, which takes views in "
                    "pairs: give it an even number"
                )
        return in_pairs(views.layout)

    def pairs(self, views: ViewsSection) -> int:
        """Positive pairs per image, which the learning rate scales with."""
        return len(self.positives(views))

    @property
    def label_classes(self) -> tuple[str, ...] | None:
        """Classes of the labels and their order, of a method that learns from labels; None before they are read."""
        return getattr(self, "classes", None)

    def idle(self) -> dict[str, str]:
        """Settings of this section that others of it make useless, with the reason."""
        return {}

    def check_losses(self, losses: LossesConfig) -> None:
        """Check that the method can add the losses of a configuration to its own.

        Raises:
            ValueError: it cannot; the message says what to change.
        """

    def remarks(self, config: PretrainConfig, epochs: float) -> list[str]:
        """What is unusual about these settings in a run of a number of epochs; sentences, printed at its start."""
        return []

    def check(self, config: PretrainConfig, images: int, processes: int = 1) -> None:
        """Check that the method can train with a settled configuration, this number of images and of processes.

        Args:
            config: with the batch size already fitted to the data.
            images: number of images.
            processes: number of processes that train together.

        Raises:
            UserError: it cannot; the message says what to change.
        """


class SimSiamConfig(MethodSection):
    """SimSiam's heads; the default widths are those of the published ResNet-50."""

    reads: ClassVar[tuple[str, ...]] = ("losses.similarity", "losses.image_aware", "training.constant_predictor_lr")
    predicts: ClassVar[bool] = True
    name: Literal["simsiam"] = Field("simsiam", description="pre-training method")
    projection_dim: PositiveInt = Field(2048, description="width of the projector")
    prediction_hidden_dim: PositiveInt = Field(512, description="width of the predictor's bottleneck")


class MomentumContrastConfig(MethodSection):
    """Base class of the methods with MoCo v2's head, queue and key encoder (arXiv 1911.05722, 2003.04297)."""

    queue: PositiveInt = Field(65536, description="number of keys kept as negatives")
    momentum: Probability = Field(
        0.999,
        description="weight of the old momentum encoder in its update at each step; byol's and dino's rise from this "
        "to 1",
    )
    dim: PositiveInt = Field(128, description="dimension of the projections")
    hidden_dim: PositiveInt = Field(2048, description="width of the heads' hidden layers")
    temperature: Positive = Field(0.2, description="tau, which divides the cosine similarities")
    shuffled_parts: PositiveInt = Field(
        8, description="parts of the shuffled keys that are batch-normalized separately, as on that many devices"
    )

    def check(self, config: PretrainConfig, images: int, processes: int = 1) -> None:
        """The queue must hold one step's keys to one epoch's; each part needs two keys, and lies on one process."""
        pairs = self.pairs(config.views)
        batch, epoch = config.training.batch_size * pairs, images * pairs
        step = batch * config.training.accumulate
        if self.queue > epoch:
            fitting = max(step, epoch // 2 // step * step)
            raise UserError(
                f"method.queue is {self.queue:,}, but an epoch of {images:,} images gives only {epoch:,} keys, so that "
                f"an image's own keys would be its negatives; set method.queue={fitting}"
            )
        if self.queue < step:
            raise UserError(
                f"method.queue is {self.queue:,}, but one step gives {step:,} keys; set method.queue={step}"
            )
        keys = [config.training.batch_size * (group.count // 2) for group in config.views.layout]
        together = min(keys)
        if together < 2 * self.shuffled_parts:
            raise UserError(
                f"method.shuffled_parts is {self.shuffled_parts}, but a batch has only {together} keys, and each part "
                f"needs two; set method.shuffled_parts={max(1, together // 2)}, or use a larger batch"
            )
        uneven = self.shuffled_parts % processes or any(count % self.shuffled_parts for count in keys)
        if processes > 1 and uneven:
            raise UserError(
                f"method.shuffled_parts is {self.shuffled_parts}, but {processes} processes give the weights of one "
                f"only where it is a multiple of {processes} and divides a batch's keys ({', '.join(map(str, keys))}); "
                f"set method.shuffled_parts={processes}, or use another batch size"
            )


class MoCoConfig(MomentumContrastConfig):
    """MoCo v2 (arXiv 2003.04297); the defaults are those of its released code."""

    name: Literal["moco"] = Field("moco")


class DenseCLConfig(MomentumContrastConfig):
    """DenseCL (arXiv 2011.09157): MoCo v2, and the same loss between the parts of two views."""

    name: Literal["densecl"] = Field("densecl")
    dense_weight: Probability = Field(
        0.5, description="lambda, the weight of the dense loss; that of the global one is 1 - lambda"
    )
    dense_grid: PositiveInt | None = Field(
        None, description="rows and columns of dense vectors of a view; unset: those of the feature map"
    )


class BYOLConfig(MethodSection):
    """BYOL's heads and target network (arXiv 2006.07733)."""

    predicts: ClassVar[bool] = True
    name: Literal["byol"] = Field("byol")
    momentum: Probability = Field(0.996)
    dim: PositiveInt = Field(256)
    hidden_dim: PositiveInt = Field(4096)


class ContrastiveConfig(MethodSection):
    """A contrastive loss alone: its head, its temperature, and which views are positives."""

    name: Literal["contrastive"] = Field("contrastive")
    attract: Literal["image", "pair"] = Field(
        "image",
        description="which views attract each other: all of an image (image-aware), or the two of a pair (SimCLR)",
    )
    form: Literal["outside", "in", "out"] = Field("out", description="Eq. 1, or SupCon's L_in or L_out")
    temperature: Positive = Field(0.15, description="tau, which divides the cosine similarities")
    hidden_dim: PositiveInt = Field(2048, description="width of the projector's hidden layer")
    dim: PositiveInt = Field(256, description="dimension of the projections")

    def idle(self) -> dict[str, str]:
        """The form of the loss, where each view has one positive."""
        return (
            {"form": "method.attract is pair: with one positive, all forms are equal"} if self.attract == "pair" else {}
        )

    def check_losses(self, losses: LossesConfig) -> None:
        """The image-aware loss can only be added to SimCLR's, as it is this loss already."""
        if losses.image_aware.weight > 0 and self.attract == "image":
            raise ValueError(
                f"losses.image_aware.weight is {losses.image_aware.weight:g}, but method.attract is image, which makes "
                "the image-aware loss the only one already: set method.attract=pair to add it to SimCLR's"
            )

    def positives(self, views: ViewsSection) -> tuple[tuple[int, ...], ...]:
        """One set of all views of an image, or the pairs."""
        if self.attract == "pair":
            return super().positives(views)
        return (tuple(range(sum(group.count for group in views.layout))),)

    def pairs(self, views: ViewsSection) -> int:
        """Half the number of views, so that the learning rate depends on the number of views alone."""
        return max(1, sum(group.count for group in views.layout) // 2)


class BarlowTwinsConfig(MethodSection):
    """Barlow Twins' projector and loss (arXiv 2103.03230)."""

    name: Literal["barlowtwins"] = Field("barlowtwins")
    hidden_dim: PositiveInt = Field(8192)
    dim: PositiveInt = Field(8192)
    off_diagonal: Positive = Field(
        0.0051, description="lambda, the weight of the correlations between different dimensions"
    )
    scale: Positive = Field(0.024, description="factor of the loss; it matters only for what LARS does not adapt")


class VICRegConfig(MethodSection):
    """VICReg's expander and the weights of its three terms (arXiv 2105.04906)."""

    name: Literal["vicreg"] = Field("vicreg")
    hidden_dim: PositiveInt = Field(8192)
    dim: PositiveInt = Field(8192)
    invariance: NonNegative = Field(25.0, description="lambda, the weight of the distance between two views")
    variance: NonNegative = Field(25.0, description="mu, the weight of the hinge on each dimension's deviation")
    covariance: NonNegative = Field(1.0, description="nu, the weight of the covariances between dimensions")


class SupervisedConfig(MethodSection):
    """Multi-label classification of each view."""

    reads: ClassVar[tuple[str, ...]] = ("data.labels",)
    labeled: ClassVar[bool] = True
    name: Literal["supervised"] = Field("supervised")
    pool: Literal["avg", "gamp"] = Field("avg", description="pooling of the feature map before the classifier")
    classes: tuple[str, ...] | None = Field(
        None, description="names and order of the classes; unset: those of data.labels"
    )

    def positives(self, views: ViewsSection) -> tuple[tuple[int, ...], ...]:
        """Each view by itself, as no view is compared with another."""
        return tuple((view,) for view in range(sum(group.count for group in views.layout)))

    def pairs(self, views: ViewsSection) -> int:
        """Half the number of views, so that the learning rate depends on the number of views alone."""
        return max(1, sum(group.count for group in views.layout) // 2)


class MultiCropSection(MethodSection):
    """Base class for methods in which other views predict a target of each view of the first group (multi-crop)."""

    def positives(self, views: ViewsSection) -> tuple[tuple[int, ...], ...]:
        """The pairs of a single group; of several groups one set of all views, whose counts must be even, too."""
        pairs = super().positives(views)
        return pairs if len(views.layout) == 1 else (tuple(range(sum(group.count for group in views.layout))),)

    def pairs(self, views: ViewsSection) -> int:
        """Pairs of the first group alone: as in the papers, the learning rate does not depend on the small crops."""
        return views.layout[0].count // 2

    def remarks(self, config: PretrainConfig, epochs: float) -> list[str]:
        """Other groups with larger views than the first one, as where only ``views.size`` was lowered."""
        first, *others = (group.size for group in config.views.layout)
        if max(others, default=0) <= first:
            return []
        return [
            f"Views of {max(others)} pixels predict the targets of views of {first}; set views.groups so that its "
            "first entry has the largest."
        ]


class SwAVConfig(MultiCropSection):
    """SwAV's head, prototypes, codes and queue (arXiv 2006.09882); defaults of its small batches of 256 images."""

    name: Literal["swav"] = Field("swav")
    prototypes: PositiveInt = Field(
        3000, description="number of prototypes; a few hundred for some thousands of images or for small batches"
    )
    queue: Annotated[StrictInt, Field(ge=0)] = Field(
        3840, description="earlier projections of each view of a pair that take part in the codes; 0: none"
    )
    queue_start: NonNegative = Field(15.0, description="epochs after which the queue is filled, and used once full")
    freeze_prototypes_epochs: NonNegative = Field(
        1.0, description="epochs at the start without training the prototypes"
    )
    epsilon: Positive = Field(0.05, description="weight of the entropy in the codes; smaller gives harder codes")
    iterations: PositiveInt = Field(3, description="iterations of Sinkhorn-Knopp")
    temperature: Positive = Field(0.1, description="tau, which divides the cosine similarities")
    dim: PositiveInt = Field(128, description="dimension of the projections")
    hidden_dim: PositiveInt = Field(2048, description="width of the projector's hidden layer")

    def idle(self) -> dict[str, str]:
        """Without a queue, there is no start of it."""
        return {} if self.queue else {"queue_start": "method.queue is 0"}

    def remarks(self, config: PretrainConfig, epochs: float) -> list[str]:
        """A queue that the run is too short for, and more prototypes than projections to share them."""
        found, rows = super().remarks(config, epochs), config.training.batch_size * self.pairs(config.views)
        used = self.queue > 0 and self.queue_start < epochs
        if self.queue and not used:
            found.append(
                f"The run has {epochs:.3g} epochs, so that the queue, which starts after {self.queue_start:g}, is not "
                "used; a lower method.queue_start uses it."
            )
        together = rows + (self.queue if used else 0)
        if self.prototypes > together:
            found.append(
                f"method.prototypes is {self.prototypes:,}, but codes are computed over {together:,} projections, "
                f"which cannot share them out evenly; method.prototypes={max(1, together // 2)} or a larger "
                "method.queue is safer."
            )
        return found

    def check(self, config: PretrainConfig, images: int, processes: int = 1) -> None:
        """The queue must hold more than the projections of one step."""
        step = config.training.batch_size * config.training.accumulate * self.pairs(config.views)
        if 0 < self.queue < step:
            raise UserError(
                f"method.queue is {self.queue:,}, but one step gives {step:,} projections, so that it would hold "
                f"nothing else; set method.queue={4 * step}, or 0 for none"
            )


class DINOConfig(MultiCropSection):
    """DINO's head, temperatures and momenta (arXiv 2104.14294)."""

    name: Literal["dino"] = Field("dino")
    momentum: Probability = Field(
        0.996, description="weight of the old teacher in its update, at the start of a cosine that ends at 1"
    )
    temperature: Positive = Field(0.1, description="tau of the student")
    teacher_temperature: Positive = Field(0.07, description="tau of the teacher, after its warm-up")
    teacher_temperature_start: Positive = Field(0.04, description="tau of the teacher at the start of the warm-up")
    teacher_temperature_epochs: NonNegative = Field(
        30.0, description="epochs of linear warm-up of the teacher's temperature"
    )
    center_momentum: Probability = Field(0.9, description="weight of the old center in its update at each step")
    prototypes: PositiveInt = Field(65536, description="number of outputs; a few thousand for some thousands of images")
    freeze_last_layer_epochs: NonNegative = Field(
        1.0, description="epochs at the start without training the last layer"
    )
    hidden_dim: PositiveInt = Field(2048, description="width of the head's two hidden layers")
    bottleneck_dim: PositiveInt = Field(256, description="width of the head's bottleneck")
    batch_norm: StrictBool = Field(False, description="batch normalization in the head's hidden layers")

    def idle(self) -> dict[str, str]:
        """Without a warm-up, there is no start of it."""
        if self.teacher_temperature_epochs == 0:
            return {"teacher_temperature_start": "method.teacher_temperature_epochs is 0"}
        return {}

    def remarks(self, config: PretrainConfig, epochs: float) -> list[str]:
        """A warm-up of the teacher's temperature that is longer than the run."""
        found, warmup = super().remarks(config, epochs), self.teacher_temperature_epochs
        if warmup < epochs:
            return found
        return [
            *found,
            f"The teacher's temperature does not reach {self.teacher_temperature:g}, as its warm-up takes {warmup:g} "
            f"epochs and the run has {epochs:.3g}; a lower method.teacher_temperature_epochs shortens it.",
        ]
