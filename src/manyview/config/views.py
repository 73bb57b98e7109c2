"""Sections of the views: what each image is turned into. ``views.kind`` chooses one.

Whatever is chosen is laid out in groups: a batch holds one tensor for each of them. Sampling, loader, renderers and
pictures read that layout and not the section, so that another layout is a value and not code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StrictInt, field_validator, model_validator

from manyview.config.section import Finite, NonNegative, Positive, PositiveInt, Probability, Section


def _not_empty(probabilities: tuple[float, ...]) -> tuple[float, ...]:
    if not probabilities:
        raise ValueError("give at least one probability")
    return probabilities


ByView = Annotated[tuple[Probability, ...], AfterValidator(_not_empty)]
"""A probability for the first view of a block or of the whole image, for the second, and so on from the start again."""

Overlap = Annotated[float, Field(ge=0, le=0.5, description="gamma: a block's side is 1 + 2 gamma times a cell's")]
Grid = Annotated[tuple[PositiveInt, PositiveInt], Field(description="rows and columns of blocks")]


class Augmentation(Section):
    """The random operations of SimSiam inside a crop, in their order of application.

    The numbers under ``blur`` and ``solarize`` are probabilities by view: two of them hold for the first and for the
    second view of each positive pair.
    """

    size: Annotated[StrictInt, Field(ge=8)] = Field(224, description="side of a view in pixels")
    scale: tuple[float, float] = Field((0.2, 1.0), description="crop's share of the block's area, from and to")
    ratio: tuple[float, float] = Field((3 / 4, 4 / 3), description="crop's width over height, from and to")
    flip: Probability = Field(0.5, description="probability of mirroring left to right")
    jitter: Probability = Field(0.8, description="probability of a change of colors")
    brightness: NonNegative = Field(0.4, description="largest change of brightness, as a factor's distance from 1")
    contrast: NonNegative = Field(0.4, description="of contrast, likewise")
    saturation: NonNegative = Field(0.4, description="of saturation, likewise")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(0.1, description="of hue, in turns of the color circle")
    grayscale: Probability = Field(0.2, description="probability of taking the colors away")
    blur: ByView = Field((0.5, 0.5), description="probability of blur, by view of a pair")
    blur_sigma: tuple[Positive, Positive] = Field((0.1, 2.0), description="its deviation in pixels, from and to")
    solarize: ByView = Field((0.0, 0.0), description="probability of solarization, by view of a pair")

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Augmentation:
        for key in ("scale", "ratio", "blur_sigma"):
            low, high = getattr(self, key)
            if not 0 < low <= high:
                raise ValueError(f"{key} must be two ascending numbers above 0, not {low:g} and {high:g}")
        if self.scale[1] > 1:
            raise ValueError(f"scale is a share of the area: its upper end must be at most 1, not {self.scale[1]:g}")
        return self


@dataclass(frozen=True, slots=True)
class ViewGroup:
    """Views of one size: first those of each block in turn, then those of the whole image.

    Attributes:
        augmentation: their size, and how each is cropped and altered at random.
        of_block: views of each block.
        of_whole: views of the whole image.
        grid: rows and columns of the blocks.
        overlap: of the blocks, as ``manyview.views.block_boxes`` has it.
    """

    augmentation: Augmentation
    of_block: int = 0
    of_whole: int = 0
    grid: tuple[int, int] = (2, 2)
    overlap: float = 0.2

    @property
    def size(self) -> int:
        """Side of a view in pixels."""
        return self.augmentation.size

    @property
    def blocks(self) -> int:
        """How many blocks views are taken of."""
        return self.grid[0] * self.grid[1] if self.of_block else 0

    @property
    def runs(self) -> tuple[int, ...]:
        """How many views are taken of each block, then of the whole image where any are."""
        return (self.of_block,) * self.blocks + ((self.of_whole,) if self.of_whole else ())

    @property
    def count(self) -> int:
        """Views that one image gives."""
        return self.of_block * self.blocks + self.of_whole


def in_pairs(layout: Sequence[ViewGroup]) -> tuple[tuple[int, ...], ...]:
    """The views of an image two by two: neighbors of one group that are taken of one block, or of the whole image.

    Args:
        layout: the groups, through which the indices of the views count on.

    Returns:
        indices of the views of each pair; one by itself where an odd number is taken of a block or of the whole.
    """
    return tuple(_twos(run for group in layout for run in group.runs))


def _twos(runs: Iterator[int]) -> Iterator[tuple[int, ...]]:
    first = 0
    for run in runs:
        yield from (tuple(range(view, min(view + 2, first + run))) for view in range(first, first + run, 2))
        first += run


class ViewsSection(Augmentation):
    """What all ways to make views have in common."""

    mean: tuple[Finite, ...] | None = Field(
        None, description="taken off each band, of 1; unset: ImageNet's for RGB, else measured on the images"
    )
    std: tuple[Positive, ...] | None = Field(None, description="each band divided by it; unset: likewise")
    kind: str

    @property
    def layout(self) -> tuple[ViewGroup, ...]:
        """The groups of an image's views."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _probabilities_are_read(self) -> ViewsSection:
        for group in self.layout:
            _check_probabilities(group.augmentation, max(group.runs))
        return self


def _check_probabilities(augmentation: Augmentation, views: int) -> None:
    """Refuse more probabilities than there are views of a block or of the whole; two are the default of any."""
    for key in ("blur", "solarize"):
        count = len(getattr(augmentation, key))
        if count > max(2, views):
            raise ValueError(f"{key} has {count} probabilities, one for each view, but there are only {views} views")


class BlockViewsConfig(ViewsSection):
    """Block-wise Augmentation Module (Section 3.1): overlapping blocks of the image, two views of each."""

    kind: Literal["blocks"] = Field(
        "blocks",
        description="blocks; whole: crops of the whole image; both: blocks, and crops of the whole; or groups",
    )
    overlap: Overlap = 0.2
    grid: Grid = (2, 2)

    @property
    def layout(self) -> tuple[ViewGroup, ...]:
        """One group: two views of each block."""
        return (ViewGroup(self, of_block=2, grid=self.grid, overlap=self.overlap),)


class WholeViewsConfig(ViewsSection):
    """The usual views: crops of the whole image, in one or more positive pairs."""

    kind: Literal["whole"] = "whole"
    pairs: PositiveInt = Field(1, description="positive pairs of the whole image; a block gives one")

    @property
    def layout(self) -> tuple[ViewGroup, ...]:
        """One group: two views for each pair."""
        return (ViewGroup(self, of_whole=2 * self.pairs),)


class BlockAndWholeViewsConfig(ViewsSection):
    """Both: two views of each block, and crops of the whole image in one or more positive pairs."""

    kind: Literal["both"] = "both"
    overlap: Overlap = 0.2
    grid: Grid = (2, 2)
    pairs: PositiveInt = Field(1, description="positive pairs of the whole image; a block gives one")

    @property
    def layout(self) -> tuple[ViewGroup, ...]:
        """One group, as all of them have one size: the blocks' views, then those of the whole image."""
        return (ViewGroup(self, of_block=2, of_whole=2 * self.pairs, grid=self.grid, overlap=self.overlap),)


class ViewGroupConfig(Augmentation):
    """One entry of ``views.groups``; what it does not say of the augmentation is taken from ``views``."""

    source: Literal["whole", "blocks", "both"] = Field("whole", description="what is cropped")
    count: PositiveInt = Field(2, description="views of the whole image, of each block, or of each of both")
    overlap: Overlap = 0.2
    grid: Grid = (2, 2)

    @property
    def group(self) -> ViewGroup:
        """The same as part of a layout."""
        return ViewGroup(
            self,
            of_block=0 if self.source == "whole" else self.count,
            of_whole=0 if self.source == "blocks" else self.count,
            grid=self.grid,
            overlap=self.overlap,
        )

    @model_validator(mode="after")
    def _settings_are_read(self) -> ViewGroupConfig:
        _check_probabilities(self, self.count)
        for key in ("overlap", "grid"):
            if self.source == "whole" and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} is read only with source=blocks or both, but source is whole")
        if self.grid == (1, 1) and self.overlap != type(self).model_fields["overlap"].default:
            raise ValueError("overlap has no effect because grid is a single block, the whole image")
        return self


class GroupedViewsConfig(ViewsSection):
    """Groups of views, each with its own size, source and augmentation, such as multi-crop: 2 x 224 and 6 x 96."""

    kind: Literal["groups"] = "groups"
    groups: tuple[ViewGroupConfig, ...] = Field(
        description="groups, as in [{size=224, count=2}, {size=96, count=6, scale=[0.05,0.14]}]; see Views in groups"
    )

    @property
    def layout(self) -> tuple[ViewGroup, ...]:
        """The groups in their order."""
        return tuple(entry.group for entry in self.groups)

    @field_validator("groups", mode="before")
    @classmethod
    def _fill(cls, groups: Any, info: Any) -> Any:
        """Give each group what is set for all views, where it says nothing of its own."""
        if not isinstance(groups, Sequence) or isinstance(groups, str):
            return groups
        usual = {key: value for key, value in info.data.items() if key in Augmentation.model_fields}
        given = [entry.model_dump(exclude_unset=True) if isinstance(entry, BaseModel) else entry for entry in groups]
        return tuple({**usual, **entry} if isinstance(entry, dict) else entry for entry in given)

    @model_validator(mode="after")
    def _more_than_one_view(self) -> GroupedViewsConfig:
        if sum(group.count for group in self.layout) < 2:
            raise ValueError("groups must give at least two views of an image, which are compared with each other")
        return self
