"""Protection of good initial weights: kept norm statistics, heads trained first, L2-SP, and a blend that is written.

L2-SP (arXiv 1802.01483, Section 3) adds to the loss, for the backbone's weights w and their initial values w0,

    alpha/2 |w - w0|^2

and takes the place of the backbone's weight decay. The blend (arXiv 2109.01903, Section 3) is

    (1 - b) w0 + b w

of all weights and running statistics. Training goes on from w, which checkpoints hold; only the weights that are
written for use are blended.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from manyview.backbones import Backbone
from manyview.backbones.files import read_tensors
from manyview.backbones.weights import blended, own_weights, save_backbone
from manyview.config import TrainingConfig
from manyview.errors import UserError
from manyview.methods import Method
from manyview.runs import RunFolder


class Protection:
    """What keeps a method's backbone near its initial weights.

    Args:
        method: on the device. Norm statistics are kept, or are not updated in frozen steps, in all its backbones, which
            includes momentum encoders.
        config: L2-SP, blend, frozen steps, norm statistics.
        initial: the backbone's initial weights on the CPU, by their names in its ``state_dict``; None where
            ``needs_initial`` is False.
    """

    def __init__(self, method: Method, config: TrainingConfig, initial: Mapping[str, Tensor] | None) -> None:
        assert initial is not None or not needs_initial(config)
        self.backbone = method.backbone
        self.exported = method.exported
        self.config = config
        self.initial = initial
        self._all_backbones = [module for module in method.modules() if isinstance(module, Backbone)]
        self._anchors: list[tuple[nn.Parameter, Tensor]] = []
        if initial is not None and config.l2_sp > 0:
            self._anchors = _anchors(self.backbone, initial)

    def is_frozen(self, step: int) -> bool:
        """Whether a step (from 0) trains only the heads."""
        return step < self.config.freeze_backbone_steps

    def before_step(self, step: int) -> None:
        """Set which statistics the norms of a step (from 0) normalize by."""
        keep = self.config.norm_statistics == "keep" or self.is_frozen(step)
        for backbone in self._all_backbones:
            if backbone.statistics_kept != keep:
                backbone.keep_statistics(keep)

    @torch.no_grad()
    def after_backward(self, step: int) -> None:
        """Drop the backbone's gradients of a frozen step (from 0), or add those of L2-SP.

        Without a gradient, an optimizer neither moves a parameter nor makes a state for it.
        """
        if self.is_frozen(step):
            for parameter in self.backbone.parameters():
                parameter.grad = None
            return
        for parameter, anchor in self._anchors:
            if parameter.grad is not None:
                parameter.grad.add_(parameter - anchor, alpha=self.config.l2_sp)

    def written_backbone(self) -> Backbone:
        """The backbone for use: the exported one, or a copy with the blend of its weights and the initial ones."""
        if self.config.blend == 1:
            return self.exported
        assert self.initial is not None
        copied = copy.deepcopy(self.exported)
        copied.load_state_dict(blended(self.initial, own_weights(self.exported), self.config.blend))
        return copied

    def metadata(self) -> dict[str, str]:
        """Entries for the header of the written weights."""
        return {"blend": f"{self.config.blend:g}"} if self.config.blend < 1 else {}


def needs_initial(config: TrainingConfig) -> bool:
    """Whether a run needs its initial weights after the start."""
    return config.l2_sp > 0 or config.blend < 1


def risk(backbone: Backbone, config: TrainingConfig) -> str | None:
    """What a run risks that starts from good weights without protecting them; None if it protects them."""
    norms = any(isinstance(module, _NormBase) and module.running_mean is not None for module in backbone.modules())
    if config.norm_statistics == "batch" and norms:
        return (
            "The statistics of the initial weights' norms are replaced by those of augmented crops, which made good "
            "weights worse in the first minutes (by 12 mAP where it was measured); --recipe continue keeps them, and "
            "training.norm_statistics=keep does in any recipe."
        )
    if config.blend == 1 and config.l2_sp == 0 and config.backbone_learning_rate_factor == 1:
        return (
            "The initial weights are trained at the rate of the new heads, which can make good weights worse; "
            "--recipe continue trains them gently and averages the result with them."
        )
    return None


def write_initial(backbone: Backbone, folder: RunFolder) -> None:
    """Write the initial weights into the run's folder, so that resuming does not need the file they came from."""
    save_backbone(backbone, folder.initial, {"step": "0"})


def read_initial(folder: RunFolder) -> dict[str, Tensor]:
    """Read the initial weights of a resumed run.

    Raises:
        UserError: the file is missing or damaged.
    """
    file = folder.initial
    if not file.is_file():
        raise UserError(f"{file} is missing, without which the run cannot be resumed; start a new one")
    return dict(read_tensors(file).tensors)


def _anchors(backbone: Backbone, initial: Mapping[str, Tensor]) -> list[tuple[nn.Parameter, Tensor]]:
    """Trainable parameters of a backbone with their initial values, of the same device and memory format."""
    found = []
    for name, parameter in backbone.state_dict(keep_vars=True).items():
        if isinstance(parameter, nn.Parameter) and parameter.requires_grad:
            found.append((parameter, torch.empty_like(parameter).detach().copy_(initial[name])))
    return found
