"""Sections of the views: what each photograph is turned into. ``views.kind`` chooses one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt, model_validator

from manyview.config.section import Finite, NonNegative, Positive, PositiveInt, Probability, Section


class Augmentation(Section):
    """The random operations of SimSiam inside a crop, in their order of application.

    A pair of numbers under ``blur`` and ``solarize`` holds the probability for the first and for the second view
    of each positive pair.
    """

    size: Annotated[StrictInt, Field(ge=8)] = Field(224, description="side of a view in pixels")
    scale: tuple[float, float] = Field((0.2, 1.0), description="crop's share of the block's area, from and to")
    ratio: tuple[float, float] = Field((3 / 4, 4 / 3), description="crop's width over height, from and to")
    flip: Probability = Field(0.5, description="probability of mirroring left to right")
    jitter: Probability = Field(0.8, description="probability of a change of colours")
    brightness: NonNegative = Field(0.4, description="largest change of brightness, as a factor's distance from 1")
    contrast: NonNegative = Field(0.4, description="of contrast, likewise")
    saturation: NonNegative = Field(0.4, description="of saturation, likewise")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(0.1, description="of hue, in turns of the colour circle")
    grayscale: Probability = Field(0.2, description="probability of taking the colours away")
    blur: tuple[Probability, Probability] = Field((0.5, 0.5), description="probability of blur, by view of a pair")
    blur_sigma: tuple[Positive, Positive] = Field((0.1, 2.0), description="its deviation in pixels, from and to")
    solarize: tuple[Probability, Probability] = Field(
        (0.0, 0.0), description="probability of solarisation, by view of a pair"
    )
    mean: tuple[Finite, ...] | None = Field(
        None, description="taken off each band, of 1; unset: ImageNet's for RGB, else measured on the photographs"
    )
    std: tuple[Positive, ...] | None = Field(None, description="each band divided by it; unset: likewise")

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Augmentation:
        for key in ("scale", "ratio", "blur_sigma"):
            low, high = getattr(self, key)
            if not 0 < low <= high:
                raise ValueError(f"{key} must be two ascending numbers above 0, not {low:g} and {high:g}")
        if self.scale[1] > 1:
            raise ValueError(f"scale is a share of the area: its upper end must be at most 1, not {self.scale[1]:g}")
        return self


class BlockViewsConfig(Augmentation):
    """Block-wise Augmentation Module (Section 3.1): overlapping blocks of the photograph, two views of each."""

    kind: Literal["blocks"] = Field("blocks", description="blocks, or whole: crops of the whole photograph")
    overlap: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.2, description="gamma: a block's side is 1 + 2 gamma times a cell's"
    )
    grid: tuple[PositiveInt, PositiveInt] = Field((2, 2), description="rows and columns of blocks")

    @property
    def pairs(self) -> int:
        """Positive pairs that one photograph gives: one for each block."""
        return self.grid[0] * self.grid[1]


class WholeViewsConfig(Augmentation):
    """The usual views: crops of the whole photograph, in one or more positive pairs."""

    kind: Literal["whole"] = "whole"
    pairs: PositiveInt = Field(1, description="positive pairs a photograph; a block gives one")
