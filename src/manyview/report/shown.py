"""Images with their views, prepared for pictures and pages, and the text that describes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from manyview.config import ViewGroup, ViewsConfig, in_pairs
from manyview.text import printable
from manyview.views import ViewParameters, render_views, sample_groups

# Okabe and Ito's colors, which stay apart for color-blind readers too; but olive for yellow, for names on white.
_COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", "#000000")
_CORNERS = ("top left block", "top right block", "bottom left block", "bottom right block")
_PERCENT = "\u00a0%"  # never at the beginning of a line
_LONGEST = 1000  # pixels of the larger side of a displayed image
_SAMPLE = 500  # rows and columns, at most, from which the contrast of bands is taken
_DARK, _BRIGHT = 1, 99  # percentiles that become black and white

Pixels = UInt8[np.ndarray, "_ _ 3"]
Bands = UInt8[np.ndarray, "height width bands"] | UInt16[np.ndarray, "height width bands"]
BandViews = UInt8[np.ndarray, "*views height width bands"] | UInt16[np.ndarray, "*views height width bands"]
Colors = tuple[int, int, int] | None
Positives = Sequence[Sequence[int]]


@dataclass(frozen=True)
class BandDisplay:
    """Conversion of images with many bands or 16 bits to 8-bit RGB for display.

    Attributes:
        bands: number of the image's bands.
        shown: bands shown as red, green and blue, or thrice the one shown in gray.
        low: value shown as black.
        high: value shown as white.
    """

    bands: int
    shown: tuple[int, int, int]
    low: float
    high: float

    @classmethod
    def of(cls, image: Bands, rgb: tuple[int, int, int] | None) -> BandDisplay:
        """Choose bands and contrast for an image (height, width, bands); the contrast is one for all bands shown.

        Args:
            image: the image.
            rgb: indices of its red, green and blue bands; None: the first band is shown in gray.
        """
        height, width, bands = image.shape
        shown = rgb or (0, 0, 0)
        sample = image[:: -(-height // _SAMPLE), :: -(-width // _SAMPLE), list(shown)]
        low, high = np.percentile(sample, (_DARK, _BRIGHT))
        return cls(bands, shown, float(low), float(max(high, low + 1)))

    def __call__(self, pixels: BandViews) -> UInt8[np.ndarray, "*views height width 3"]:
        """Convert the image or its views to 8-bit RGB."""
        shares = (pixels[..., list(self.shown)].astype(np.float32) - self.low) / (self.high - self.low)
        return (shares.clip(0, 1) * 255 + 0.5).astype(np.uint8)

    @property
    def words(self) -> str:
        """Bands shown and their contrast, as the end of a sentence."""
        red, green, blue = self.shown
        if red == green == blue:
            which = f"band {red} of {self.bands} is shown, in gray"
        else:
            which = f"bands {red}, {green} and {blue} of {self.bands} are shown, as red, green and blue"
        return f"{which}, with stretched contrast (bands count from 0)"


@dataclass(frozen=True)
class Views:
    """Views of an image.

    Attributes:
        parameters: crop and augmentations of each view, in the order of their indices.
        captions: augmentations of each view in a few words.
        pixels: RGB pixels of each view; those of one group have one size.
    """

    parameters: tuple[ViewParameters, ...]
    captions: tuple[str, ...]
    pixels: tuple[UInt8[np.ndarray, "_size _size 3"], ...]


@dataclass(frozen=True)
class Column:
    """One or two views that are positives of each other, shown one above the other.

    Attributes:
        name: of the part of the image; empty where the column continues the one to its left.
        positives: number of the views' set of positives, which determines their color.
        views: indices of the views.
        outlined: whether they are the first of their block.
    """

    name: str
    positives: int
    views: tuple[int, ...]
    outlined: bool


@dataclass(frozen=True)
class ShownImage:
    """One image with its views, small enough to keep many of them.

    Attributes:
        name: of the image.
        bands: words on the bands shown and their contrast, if it is not ordinary RGB.
        width: of the original image in pixels, to which the views' boxes refer.
        height: of the original image in pixels.
        picture: the image, downscaled if it is large.
        views: of the run.
        usual: views of usual cropping for comparison, if requested.
    """

    name: str
    bands: str | None
    width: int
    height: int
    picture: Pixels
    views: Views
    usual: Views | None


def show(
    name: str,
    image: Bands,
    config: ViewsConfig,
    usual: ViewsConfig | None = None,
    *,
    seed: int,
    epoch: int,
    index: int,
    rgb: Colors = (0, 1, 2),
) -> ShownImage:
    """Sample and render an image's views for display.

    Args:
        name: of the image.
        image: pixels; those that are not 8-bit RGB are shown with stretched contrast.
        config: the run's views.
        usual: views of usual cropping, for comparison.
        seed: the run's seed.
        epoch: from 0.
        index: of the image in the run.
        rgb: indices of the red, green and blue bands; None: the first band is shown in gray.
    """
    height, width, bands = image.shape
    display = None if image.dtype == np.uint8 and bands == 3 and rgb == (0, 1, 2) else BandDisplay.of(image, rgb)

    def views(of: ViewsConfig) -> Views:
        groups = sample_groups(of.layout, width, height, seed=seed, epoch=epoch, image=index)
        pixels: list[Pixels] = []
        for group, its_views in zip(of.layout, groups, strict=True):
            rendered = render_views(image, its_views, group.size, rgb=rgb).transpose(0, 2, 3, 1)
            pixels.extend(np.ascontiguousarray(rendered) if display is None else display(rendered))
        parameters = tuple(chain.from_iterable(groups))
        captions = tuple(deeds(view, colors=rgb is not None) for view in parameters)
        return Views(parameters, captions, tuple(pixels))

    return ShownImage(
        printable(name, kept=""),
        None if display is None else display.words,
        width,
        height,
        _reduced(image if display is None else display(image)),
        views(config),
        None if usual is None else views(usual),
    )


def _reduced(image: Pixels) -> Pixels:
    """The image downscaled to a larger side of at most ``_LONGEST`` pixels."""
    picture = Image.fromarray(image)
    picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    return np.array(picture)


def one_color(config: ViewsConfig, positives: Positives | None = None) -> str:
    """What has one color: a pair, another set of positives, or a single view."""
    sizes = {len(views) for views in positives or in_pairs(config.layout)}
    return {1: "view", 2: "pair"}.get(max(sizes), "set of positives") if len(sizes) == 1 else "set of positives"


def color_of(positives: int) -> str:
    """Color of a set of positives."""
    return _COLORS[positives % len(_COLORS)]


def columns(config: ViewsConfig, positives: Positives | None = None) -> tuple[Column, ...]:
    """All views of an image in columns, in the order of their indices.

    Args:
        config: the views.
        positives: sets of indices of views that are positives of each other in the method; unset: pairs.
    """
    sets = positives or in_pairs(config.layout)
    each_alone = all(len(views) == 1 for views in sets)
    set_of = {view: number for number, views in enumerate(sets) for view in views}
    found: list[Column] = []
    first = 0
    for number, group in enumerate(config.layout):
        for source, run in enumerate(group.runs):
            part_name = _part_name(config.layout, number, source)
            # Views of one block, or of the whole image, that are positives of each other stand side by side.
            parts = [tuple(part) for _, part in groupby(range(first, first + run), key=set_of.__getitem__)]
            for count, views in enumerate(parts):
                positive = set_of[views[0]]
                which = (
                    f"view {count + 1}" if each_alone else _which(len(sets[positive]), len(views), count, len(parts))
                )
                name = [part_name, which if len(parts) > 1 or not part_name else "", _group_name(config.layout, number)]
                outlined = source < group.shown_blocks and count == 0
                found += _in_twos(Column(", ".join(filter(None, name)), positive, views, outlined))
            first += run
    return tuple(found)


def _in_twos(column: Column) -> Iterator[Column]:
    """Split a column into columns of up to two views; the first keeps the name."""
    yield replace(column, views=column.views[:2])
    for start in range(2, len(column.views), 2):
        yield Column("", column.positives, column.views[start : start + 2], outlined=False)


def _part_name(layout: Sequence[ViewGroup], number: int, source: int) -> str:
    """Name of the part that a run of ``ViewGroup.runs`` is cropped from; empty if all are of the whole image."""
    group = layout[number]
    if source < group.blocks:
        return _block_name(group, source)
    return "whole image" if any(other.blocks for other in layout) else ""


def _which(positives: int, views: int, part: int, parts: int) -> str:
    """Name of a set of positives within a block or the whole image."""
    if positives == 1:
        return "single view"
    if positives == 2:
        return f"pair {part + 1}"
    return f"set {part + 1}" if parts > 1 else f"{views} views"


def _group_name(layout: Sequence[ViewGroup], number: int) -> str:
    """Name of a group where there are several: its view size, if no other group has the same."""
    sizes = [group.size for group in layout]
    if len(sizes) == 1:
        return ""
    return f"{sizes[number]} px" if len(set(sizes)) == len(sizes) else f"group {number + 1}"


def _block_name(group: ViewGroup, block: int) -> str:
    if not group.shown_blocks:
        return f"block {block + 1}, moved"
    if group.grid == (2, 2):
        return _CORNERS[block]
    row, column = divmod(block, group.grid[1])
    return f"row {row + 1}, column {column + 1}"


def deeds(parameters: ViewParameters, colors: bool = True) -> str:
    """Augmentations of a view in a few words; those of colors are left out unless ``colors``."""
    done = {
        "mirrored": parameters.flip,
        "recolored": colors and parameters.jitter is not None and not parameters.grayscale,
        "gray": colors and parameters.grayscale,
        f"blur\u00a0{parameters.blur_sigma or 0:.1f}": parameters.blur_sigma is not None,
        "solarized": colors and parameters.solarize,
    }
    return ", ".join(name for name, was_done in done.items() if was_done) or "only cropped"


def title(config: ViewsConfig) -> str:
    """Title of the whole picture."""
    moved = not any(group.shown_blocks for group in config.layout)
    blocks = "Block-wise views" + (", moved anywhere" if moved else "")
    if not any(group.of_whole for group in config.layout):
        return blocks
    blocks = blocks if any(group.blocks for group in config.layout) else ""
    return f"{blocks} and views of the whole image" if blocks else "Views of the whole image"


def explanation(config: ViewsConfig, usual: ViewsConfig | None, positives: Positives | None = None) -> str:
    """Text on what the picture shows."""
    first, *others = config.layout
    sets = positives or in_pairs(config.layout)
    pairs = all(len(views) == 2 for views in sets)
    if others or not pairs or (first.blocks and first.of_whole):
        words = _explain_groups(config.layout, sets)
    elif first.blocks:
        moved = "" if first.shown_blocks else "moved to a random position in the image "
        words = (
            f"Each image gives {_blocks(first)} (overlap {first.overlap:g}). Of each block two random crops are "
            f"taken, {_percents(first)} of its area, {moved}and augmented: the two views of a pair, which training "
            "pulls together."
        )
    else:
        words = (
            f"Of each image random crops are taken, {_percents(first)} of its area, and augmented. "
            "Two of them at a time are the views of a pair, which training pulls together."
        )
    if usual is not None:
        words += (
            " On the right, for comparison, the pair that usual cropping gives: two random crops of the whole "
            f"image, {_percents(usual.layout[0])} of its area."
        )
    return words


def _explain_groups(layout: Sequence[ViewGroup], positives: Positives) -> str:
    """Text on views of several sources or sizes, or in other sets than pairs."""
    parts = []
    for group in layout:
        size = f" of {group.size} x {group.size} pixels" if len(layout) > 1 else ""
        if group.blocks:
            blocks = f"{_blocks(group)} (overlap {group.overlap:g})"
            moved = "" if group.shown_blocks else ", moved to a random position in the image"
            share = f"{_percents(group)} of the block's area{moved}"
            parts.append(f"{_views(group.of_block)}{size} of each of {blocks}, {share}")
        if group.of_whole:
            parts.append(f"{_views(group.of_whole)}{size} of the whole image, {_percents(group)} of its area")
    crops = f"Each image gives random crops, which are augmented: {'; '.join(parts)}."
    if all(len(views) == 1 for views in positives):
        return f"{crops} None of them are pulled together: each is learned from by itself."
    those = "the two views of a pair" if all(len(views) == 2 for views in positives) else "positives of each other"
    return f"{crops} Views of one color are {those}, which training pulls together."


def settings(config: ViewsConfig, seed: int, epoch: int, images: Sequence[ShownImage]) -> str:
    """Text on the settings behind the picture."""
    shown = dict.fromkeys(image.bands for image in images if image.bands)
    bands = f" Of each image {' or '.join(shown)}." if shown else ""
    sizes = " and ".join(dict.fromkeys(f"{group.size} x {group.size}" for group in config.layout))
    return f"Views of {sizes} pixels, seed {seed}, epoch {epoch}.{bands}"


def _blocks(group: ViewGroup) -> str:
    """Number, position and size of the blocks in words."""
    rows, columns = group.grid
    high, wide = (f"{100 * min(1, (1 + 2 * group.overlap) / cells):.3g}" for cells in group.grid)
    size = (
        f"{wide}{_PERCENT} of its width and height"
        if high == wide
        else f"{wide}{_PERCENT} of its width, {high}{_PERCENT} of its height"
    )
    where = "four blocks, one at each corner" if group.grid == (2, 2) else f"{rows} x {columns} blocks"
    return f"{where}, {size}"


def _percents(group: ViewGroup) -> str:
    low, high = (f"{100 * share:.3g}" for share in group.augmentation.scale)
    return f"{low} to {high}{_PERCENT}"


def _views(count: int) -> str:
    return "1 view" if count == 1 else f"{count} views"
