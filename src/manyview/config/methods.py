"""Method sections, one class per method. ``method.name`` selects one, and with it the method that is trained.

A new method only needs its class here: the schema's union and the errors about keys follow from the table in
``choices.py``, which finds the classes by their default ``name``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from manyview.config.section import Positive, PositiveInt, Probability, Section
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


class MoCoConfig(MethodSection):
    """MoCo v2's head, queue and key encoder (arXiv 1911.05722, 2003.04297)."""

    name: Literal["moco"] = Field("moco")
    queue: PositiveInt = Field(65536, description="number of keys kept as negatives")
    momentum: Probability = Field(0.999, description="weight of the old key encoder in its update at each step")
    dim: PositiveInt = Field(128, description="dimension of queries and keys")
    hidden_dim: PositiveInt = Field(2048, description="width of the head's hidden layer")
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
