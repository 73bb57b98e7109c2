"""The seam between a method and the rest of the program: nothing outside of ``methods/`` knows more of one than this.

A new method is a module of this folder with a subclass of ``Method``, a section in ``config/methods.py``, and a recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from manyview.backbones import Backbone
from manyview.config import MethodSection, PretrainConfig
from manyview.heads import Head


class MethodBatch(NamedTuple):
    """What a method sees in one forward pass of one process; a named tuple, as Lightning Fabric wants to take it apart.

    Attributes:
        groups: one tensor for each group of views, Float[Tensor, "images views channels height width"], normalized.
            Views of a group are of one size. Which of them belong together is the method's business.
        image_ids: Int[Tensor, " images"], which image each row of every group shows, over all processes.
        permutation: of a count to Int[Tensor, " count"], a uniform permutation that is drawn for this batch, the same
            on all processes and whenever it is asked for.
    """

    groups: tuple[Tensor, ...]
    image_ids: Tensor
    permutation: Callable[[int], Tensor]


class Method(nn.Module):
    """From a batch of views to its loss. Its state is its ``state_dict``: what a checkpoint keeps, queues included.

    Attributes:
        section: the class of its settings, whose default ``name`` is the method's.
        parts: names of the submodules that an evaluation may ask for, by what they are: "backbone", and of heads
            "projector" and "predictor".
        advice: what to try where the representation collapses.
        backbone: what is exported; images to feature map.
    """

    section: ClassVar[type[MethodSection]]
    parts: ClassVar[Mapping[str, str]] = {"backbone": "backbone"}
    advice: ClassVar[str] = "try a larger batch or a smaller training.base_learning_rate"
    backbone: Backbone

    @classmethod
    def build(cls, backbone: Backbone, config: PretrainConfig) -> Method:
        """The method around a backbone, whose heads are drawn from PyTorch's generator.

        Args:
            backbone: with the weights that the run starts from.
            config: settled, its ``method`` being of this class's section.
        """
        raise NotImplementedError

    def forward(self, batch: MethodBatch) -> dict[str, Tensor]:
        """Loss of one batch.

        Returns:
            ``loss``, from which gradients flow; ``z`` (vectors, dim), detached projections for the collapse monitor;
            and detached scalars to log by their names.
        """
        raise NotImplementedError

    def parameter_groups(self, config: PretrainConfig) -> list[dict[str, Any]]:
        """What the optimizer is given: all that is trainable, as one group.

        Returns:
            groups with their "params"; where "constant" is True, the group keeps the learning rate that others begin
            with.
        """
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    def after_step(self) -> None:
        """Called after each optimizer step, for momentum encoders, queues and centers."""

    def synchronize_norms(self) -> None:
        """Let batch norms see the batch of all processes; called on several CUDA devices, before the first step."""
        for name, child in list(self.named_children()):
            setattr(self, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))

    def remedies(self, config: PretrainConfig) -> list[str]:
        """Settings that work against collapse and that the run does not use yet, the surest first."""
        return [f"a smaller training.base_learning_rate (it was {config.training.base_learning_rate:g})"]

    def describe(self, config: PretrainConfig) -> dict[str, Any]:
        """Plain data for ``run.json``: all that an evaluation of the run may want to know of the method."""
        return {
            "name": config.method.name,
            "parts": {part: _describe(self, name) for part, name in self.parts.items()},
            "remedies": self.remedies(config),
        }


def _describe(method: Method, name: str) -> dict[str, Any]:
    """Where a part's weights are in a checkpoint, and its layers if it is a head."""
    module = method.get_submodule(name)
    return {"module": name, **({"layers": module.describe()} if isinstance(module, Head) else {})}
