"""Interface between methods and the rest of the program, which relies on nothing else of a method.

A new method is a file in this folder with a subclass of ``Method``, a section in ``config/methods.py``, and a recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from manyview import distributed
from manyview.backbones import Backbone
from manyview.config import MethodSection, PretrainConfig
from manyview.heads import Head


class Moment(NamedTuple):
    """How far a run is when a batch is seen; schedules of momentum, temperature and the like are functions of it.

    Attributes:
        step: optimizer steps done.
        steps: optimizer steps of the whole run.
        steps_per_epoch: optimizer steps of an epoch.
    """

    step: int
    steps: int
    steps_per_epoch: int

    @property
    def progress(self) -> float:
        """Share of the run that is done, from 0 to below 1."""
        return self.step / self.steps

    @property
    def epoch(self) -> float:
        """Epochs done, with the fraction of the current one."""
        return self.step / self.steps_per_epoch


class MethodBatch(NamedTuple):
    """Input of a method's forward pass in one process; a named tuple, so that Lightning Fabric can move its tensors.

    Attributes:
        groups: one tensor for each group of views, Float[Tensor, "images views channels height width"], normalized.
            Views of a group have one size. The method decides which of them are positives.
        image_ids: Int[Tensor, " images"], index of the image of each row of every group, unique over all processes.
        permutation: function of a count that returns Int[Tensor, " count"], a uniform permutation for this batch, the
            same on all processes and at each call.
        moment: how far the run is.
    """

    groups: tuple[Tensor, ...]
    image_ids: Tensor
    permutation: Callable[[int], Tensor]
    moment: Moment = Moment(0, 1, 1)


class Method(nn.Module):
    """A pre-training method: a module from a batch of views to its loss. Checkpoints save its ``state_dict``.

    Attributes:
        section: class of the method's settings, whose default ``name`` is the method's.
        parts: names of the submodules that evaluations may load, by role: "backbone", the exported network, and the
            heads "projector" and "predictor".
        backbone: the trained network, from images to feature maps. Usually it is the exported one, too; a method whose
            momentum encoder is the result names that in ``parts``.
    """

    section: ClassVar[type[MethodSection]]
    parts: ClassVar[Mapping[str, str]] = {"backbone": "backbone"}
    backbone: Backbone

    @classmethod
    def build(cls, backbone: Backbone, config: PretrainConfig) -> Method:
        """Build the method around a backbone; its heads are initialized from PyTorch's generator.

        By default, the constructor takes the backbone, the method's own settings, and those of the image-aware loss
        that is added to its own.

        Args:
            backbone: backbone with the run's initial weights.
            config: settled configuration, whose ``method`` is an instance of ``section``.
        """
        assert isinstance(config.method, cls.section)
        return cls(backbone, config.method, config.losses.image_aware)

    def take_targets(self, targets: Float[Tensor, "all_images classes"]) -> None:
        """Take the labels of all images of the run, by ``image_ids``; called once, before the first batch.

        Only of methods whose section is ``labeled``.

        Args:
            targets: on the method's device; 1 for a class that the image shows, 0 for another, NaN for an unknown one.
        """
        raise NotImplementedError

    def forward(self, batch: MethodBatch) -> dict[str, Tensor]:
        """Compute the loss of one batch.

        Returns:
            ``loss``, with gradients; ``z`` (vectors, dim), detached projections for the collapse monitor; and detached
            scalars to log, by name.
        """
        raise NotImplementedError

    def parameter_groups(self, config: PretrainConfig) -> list[dict[str, Any]]:
        """Parameter groups for the optimizer; by default one group of all trainable parameters.

        Args:
            config: settled configuration, as for ``build``.

        Returns:
            groups with "params"; where "constant" is True, the group keeps the initial learning rate.
        """
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    @property
    def exported(self) -> Backbone:
        """The network that is measured and written: the part "backbone"."""
        network = self.get_submodule(self.parts["backbone"])
        assert isinstance(network, Backbone)
        return network

    def after_backward(self, moment: Moment) -> None:
        """Called with the gradients of a step, before they are clipped and applied.

        A parameter whose ``grad`` is set to None is not moved by the step, not even by weight decay.

        Args:
            moment: that of the step's batches.
        """

    def after_step(self, moment: Moment) -> None:
        """Called after each optimizer step, to update momentum encoders, queues and centers.

        Args:
            moment: that of the step's batches.
        """

    def synchronize_norms(self) -> None:
        """Convert batch norms to those over all processes; called where there are several, before the first step."""
        for name, child in list(self.named_children()):
            setattr(self, name, distributed.synchronize_norms(child))

    def remedies(self, config: PretrainConfig) -> list[str]:
        """What may help where the run's representation collapses and is not in use yet, the most reliable first.

        Args:
            config: settled configuration, as for ``build``.

        Returns:
            one phrase each, which follows "try".
        """
        return [f"a smaller training.base_learning_rate (it was {config.training.base_learning_rate:g})"]

    def describe(self, config: PretrainConfig) -> dict[str, Any]:
        """Plain data for ``run.json``: what evaluations of the run need to know about the method."""
        return {
            "name": config.method.name,
            "parts": {part: _describe(self, name) for part, name in self.parts.items()},
            "remedies": self.remedies(config),
        }


def _describe(method: Method, name: str) -> dict[str, Any]:
    """Module name of a part, which prefixes its weights in a checkpoint, and its layers if it is a head."""
    module = method.get_submodule(name)
    return {"module": name, **({"layers": module.describe()} if isinstance(module, Head) else {})}
