"""What an architecture is made of, and the numbers that both architectures read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from manyview.detection.models.roi_heads import RegionHeads
from manyview.detection.models.rpn import ProposalNetwork
from manyview.errors import UserError


@dataclass(frozen=True)
class HeadSizes:
    """Numbers of the heads.

    Args:
        classes: without the background.
        masks: whether to predict masks.
        regions: sampled for training, of an image; 512 in the protocols.
        test_proposals: kept of an image in test; 1,000 in the protocols.

    Raises:
        UserError: a number under 1.
    """

    classes: int
    masks: bool
    regions: int
    test_proposals: int

    def __post_init__(self) -> None:
        for name in ("classes", "regions", "test_proposals"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} of a detector must be at least 1, not {getattr(self, name)}")


class Parts(NamedTuple):
    """Body, proposal network and heads; the sides of a batch of images are to be multiples of ``multiple``."""

    body: nn.Module
    proposals: ProposalNetwork
    heads: RegionHeads
    multiple: int
