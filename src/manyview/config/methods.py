"""Sections of the methods, a class for each. ``method.name`` chooses one, and thereby the method that is trained.

A new method needs its class here, no more: the schema's union and the errors about keys follow from the table in
``choices.py``, which finds the classes by their default ``name``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from manyview.config.section import PositiveInt, Section

if TYPE_CHECKING:
    from manyview.config.schema import PretrainConfig, ViewsConfig


class MethodSection(Section):
    """What the sections of all methods have in common.

    Attributes:
        reads: sections or keys outside of ``method`` that only some methods read, this one among them.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    name: str

    def pairs(self, views: ViewsConfig) -> int:
        """Positive pairs that one image gives, from which the learning rate follows."""
        return views.pairs

    def check(self, config: PretrainConfig, images: int) -> None:
        """See whether the method can work with a settled run.

        Args:
            config: with the batch that fits the data.
            images: how many there are.

        Raises:
            UserError: it cannot; the message says what to change.
        """


class SimSiamConfig(MethodSection):
    """SimSiam's heads; the widths are those of its published ResNet-50."""

    reads: ClassVar[tuple[str, ...]] = ("losses", "training.constant_predictor_lr")
    name: Literal["simsiam"] = Field("simsiam", description="the method; the recipes differ in views and losses")
    projection_dim: PositiveInt = Field(2048, description="width of the projector")
    prediction_hidden_dim: PositiveInt = Field(512, description="width of the predictor's bottleneck")
