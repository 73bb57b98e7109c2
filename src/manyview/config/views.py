"""View sections: how views are made from each image. ``views.kind`` selects one.

Each section describes its views as groups; a batch holds one tensor per group. Sampling, loader, renderers and
figures only read this layout, so another layout needs no code.
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
"""Probabilities by index of the view in its block or in the whole image, repeated cyclically."""

Overlap = Annotated[
    float, Field(ge=0, le=0.5, description="gamma: a block's side is 1 + 2 gamma times that of a grid cell")
]
Grid = Annotated[tuple[PositiveInt, PositiveInt], Field(description="rows and columns of blocks")]
Placement = Annotated[
    Literal["block", "anywhere"],
    Field(
        description="whether a crop of a block stays in it, or is moved anywhere in the image, its size unchanged: the "
        "control that tells where views lie from how large they are"
    ),
]

_JITTER_SETTINGS = ("brightness", "contrast", "saturation", "hue")
_COLOR_SETTINGS = ("jitter", *_JITTER_SETTINGS, "grayscale", "solarize")


class Augmentation(Section):
    """SimSiam's augmentation (arXiv 2011.10566, Appendix A), and solarization.

    The order is crop, color jitter, grayscale, blur, solarization, flip, as ``manyview.views.render`` applies it.
    ``blur`` and ``solarize`` hold probabilities by view: with two of them, one for the first and one for the second
    view of each positive pair.
    """

    size: Annotated[StrictInt, Field(ge=8)] = Field(224, description="side of a view in pixels")
    scale: tuple[float, float] = Field(
        (0.2, 1.0), description="area of the crop as a fraction of the block or image: minimum and maximum"
    )
    ratio: tuple[float, float] = Field(
        (3 / 4, 4 / 3), description="aspect ratio of the crop, width over height: minimum and maximum"
    )
    flip: Probability = Field(0.5, description="probability of a horizontal flip")
    jitter: Probability = Field(0.8, description="probability of color jitter")
    brightness: NonNegative = Field(0.4, description="maximum change of brightness, as the factor's distance from 1")
    contrast: NonNegative = Field(0.4, description="maximum change of contrast, in the same way")
    saturation: NonNegative = Field(0.4, description="maximum change of saturation, in the same way")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.1, description="maximum change of hue, as a fraction of the color circle"
    )
    grayscale: Probability = Field(0.2, description="probability of conversion to grayscale")
    blur: ByView = Field((0.5, 0.5), description="probability of Gaussian blur, by view of a pair")
    blur_sigma: tuple[Positive, Positive] = Field(
        (0.1, 2.0), description="standard deviation of the blur in pixels: minimum and maximum"
    )
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
    """A group of views of one size: those of each block in turn, then those of the whole image.

    Attributes:
        augmentation: size of the views, and how each is cropped and augmented.
        of_block: number of views of each block.
        of_whole: number of views of the whole image.
        grid: rows and columns of the blocks.
        overlap: of the blocks, as in ``manyview.views.block_boxes``.
        placement: "block", or "anywhere": each view of a block is cropped as from its block, then moved to a uniformly
            random position in the image, so that only its size is still a block's.
    """

    augmentation: Augmentation
    of_block: int = 0
    of_whole: int = 0
    grid: tuple[int, int] = (2, 2)
    overlap: float = 0.2
    placement: Literal["block", "anywhere"] = "block"

    @property
    def size(self) -> int:
        """Side of a view in pixels."""
        return self.augmentation.size

    @property
    def blocks(self) -> int:
        """Number of blocks; 0 without views of blocks."""
        return self.grid[0] * self.grid[1] if self.of_block else 0

    @property
    def shown_blocks(self) -> int:
        """Number of blocks that views lie in; 0 if their crops are moved anywhere."""
        return self.blocks if self.placement == "block" else 0

    @property
    def runs(self) -> tuple[int, ...]:
        """Number of views of each block, then of the whole image if there are any."""
        return (self.of_block,) * self.blocks + ((self.of_whole,) if self.of_whole else ())

    @property
    def count(self) -> int:
        """Number of views per image."""
        return self.of_block * self.blocks + self.of_whole


def idle_settings(group: ViewGroup, colorless: str | None) -> dict[str, str]:
    """Settings of a group of views without effect, each with the reason.

    Args:
        group: the views.
        colorless: the reason why no band is a color; None where some are.
    """
    idle: dict[str, str] = {}
    if not group.blocks:
        idle |= dict.fromkeys(("overlap", "grid", "placement"), "source is whole, not blocks or both")
    if group.blocks == 1:
        idle |= dict.fromkeys(("overlap", "placement"), "grid is a single block, the whole image")
    if not any(group.augmentation.blur):
        idle["blur_sigma"] = "blur is 0"
    if group.augmentation.jitter == 0:
        idle |= dict.fromkeys(_JITTER_SETTINGS, "jitter is 0")
    if colorless is not None:
        idle |= dict.fromkeys(_COLOR_SETTINGS, colorless)
    return idle


def in_pairs(layout: Sequence[ViewGroup]) -> tuple[tuple[int, ...], ...]:
    """Pair consecutive views of a group that show the same block, or the whole image.

    Args:
        layout: the groups; view indices continue from one to the next.

    Returns:
        view indices of each pair; a single one where a block or the whole image has an odd number of views.
    """
    return tuple(_twos(run for group in layout for run in group.runs))


def _twos(runs: Iterator[int]) -> Iterator[tuple[int, ...]]:
    first = 0
    for run in runs:
        yield from (tuple(range(view, min(view + 2, first + run))) for view in range(first, first + run, 2))
        first += run


class ViewsSection(Augmentation):
    """Base class of the view sections."""

    mean: tuple[Finite, ...] | None = Field(
        None,
        description="mean per channel, of values in 0 to 1; unset: ImageNet's for RGB, otherwise measured",
    )
    std: tuple[Positive, ...] | None = Field(None, description="standard deviation per channel; unset: as for the mean")
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
    """Reject more probabilities than a block or the whole image has views; two are always accepted."""
    for key in ("blur", "solarize"):
        count = len(getattr(augmentation, key))
        if count > max(2, views):
            raise ValueError(f"{key} has {count} probabilities, one for each view, but there are only {views} views")


class BlockViewsConfig(ViewsSection):
    """Block-wise Augmentation Module (Section 3.1): overlapping blocks of the image, two views of each."""

    kind: Literal["blocks"] = Field(
        "blocks",
        description="blocks: crops of blocks; whole: crops of the whole image; both; or groups",
    )
    overlap: Overlap = 0.2
    grid: Grid = (2, 2)
    placement: Placement = "block"

    @property
    def layout(self) -> tuple[ViewGroup, ...]:
        """One group: two views of each block."""
        return (ViewGroup(self, of_block=2, grid=self.grid, overlap=self.overlap, placement=self.placement),)


class WholeViewsConfig(ViewsSection):
    """Crops of the whole image, in one or more positive pairs."""

    kind: Literal["whole"] = "whole"
    pairs: PositiveInt = Field(1, description="number of positive pairs of the whole image; each block gives one")

    @property
    def layout(self) -> tuple[ViewGroup, ...]:
        """One group: two views for each pair."""
        return (ViewGroup(self, of_whole=2 * self.pairs),)


class BlockAndWholeViewsConfig(ViewsSection):
    """Two views of each block, and crops of the whole image in one or more positive pairs."""

    kind: Literal["both"] = "both"
    overlap: Overlap = 0.2
    grid: Grid = (2, 2)
    placement: Placement = "block"
    pairs: PositiveInt = Field(1, description="number of positive pairs of the whole image; each block gives one")

    @property
    def layout(self) -> tuple[ViewGroup, ...]:
        """One group: the views of the blocks, then those of the whole image."""
        blocks: dict[str, Any] = {"grid": self.grid, "overlap": self.overlap, "placement": self.placement}
        return (ViewGroup(self, of_block=2, of_whole=2 * self.pairs, **blocks),)


class ViewGroupConfig(Augmentation):
    """One entry of ``views.groups``; augmentation settings that it leaves out are taken from ``views``."""

    source: Literal["whole", "blocks", "both"] = Field(
        "whole", description="whether to crop the whole image, its blocks, or both"
    )
    count: PositiveInt = Field(2, description="number of views per block and of the whole image")
    overlap: Overlap = 0.2
    grid: Grid = (2, 2)
    placement: Placement = "block"

    @property
    def group(self) -> ViewGroup:
        """This entry as a group of the layout."""
        return ViewGroup(
            self,
            of_block=0 if self.source == "whole" else self.count,
            of_whole=0 if self.source == "blocks" else self.count,
            grid=self.grid,
            overlap=self.overlap,
            placement=self.placement,
        )

    @model_validator(mode="after")
    def _probabilities_are_read(self) -> ViewGroupConfig:
        _check_probabilities(self, self.count)
        return self


class GroupedViewsConfig(ViewsSection):
    """Groups of views, each with its own size, source and augmentation, such as multi-crop: 2 x 224 and 6 x 96."""

    kind: Literal["groups"] = "groups"
    groups: tuple[ViewGroupConfig, ...] = Field(
        description="list, such as [{size=224, count=2}, {size=96, count=6, scale=[0.05,0.14]}]; see Views in groups"
    )

    @property
    def layout(self) -> tuple[ViewGroup, ...]:
        """The groups in the given order."""
        return tuple(entry.group for entry in self.groups)

    @field_validator("groups", mode="before")
    @classmethod
    def _fill(cls, groups: Any, info: Any) -> Any:
        """Fill in the settings of all views where a group has none of its own."""
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
